"""The Makefile: the same chain as ``stages``, values that arrive as they were given, a careful clean."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.stages import PRESETS, Settings, stages

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def clone(tmp_path):
    """A folder with the Makefile, an installation that counts as done, and a pose-pipeline that notes its arguments."""
    for name in ("Makefile", "constraints.txt", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    program = tmp_path / ".venv" / "bin" / "pose-pipeline"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$#" "$@" >> calls\n[ ! -e fail ]\n')
    program.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def make(folder: Path, *words: str, fails: bool = False) -> str:
    """What make prints; its own options and variables of the caller's environment are kept out."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run(["make", *words], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout + done.stderr


def asked(folder: Path) -> list[list[str]]:
    """The calls of pose-pipeline since last asked, each a list of its arguments."""
    file = folder / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    calls = []
    while lines:
        count = int(lines[0])
        calls.append(lines[1 : count + 1])
        lines = lines[count + 1 :]
    return calls


def given(*, runs: str = "runs/demo", **others: str) -> list[str]:
    """The arguments of the chain with these values."""
    values = {"runs": runs, "preset": "demo", "mocap": "", "photo": "", "box": "", **others}
    return ["demo", *(word for name, value in values.items() for word in (f"--{name}", value))]


NAMES = [stage.name for stage in stages(Settings(Path("runs/demo")))]


def test_the_chain_is_that_of_the_stages():
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"^STAGES := (.*)$", text, flags=re.MULTILINE).group(1).split() == NAMES
    for name in NAMES:
        assert re.search(rf"^{name}: \$\(READY\)  ## ", text, flags=re.MULTILINE)
    assert f"PRESET={'|'.join(PRESETS)} " in text


@pytest.mark.parametrize("name", NAMES)
def test_one_stage_makes_what_it_needs_and_no_more(clone, name):
    make(clone, name)
    assert asked(clone) == [[*given(), "--until", name]]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["MOCAP=../some where"], {"mocap": "../some where"}),
        (["PRESET=smoke"], {"preset": "smoke"}),
        (["BOX=1,2,3,4"], {"box": "1,2,3,4"}),
        (['PHOTO=Anna\'s dog "x" $HOME `id` \\.jpg'], {"photo": 'Anna\'s dog "x" $HOME `id` \\.jpg'}),
        (["RUNS=it's mine"], {"runs": "it's mine"}),
    ],
)
def test_values_arrive_as_they_were_given(clone, words, values):
    make(clone, "demo", *words)
    assert asked(clone) == [given(**values)]


def test_other_commands_take_the_same_values(clone):
    words = ["RUNS=it's mine/demo", "MOCAP=Anna's"]
    make(clone, "drift", "bench", "bench-tokenizer", *words)
    runs = "it's mine/demo"
    assert asked(clone) == [
        [*given(runs=runs, mocap="Anna's"), "--until", "tokenizer"],
        ["drift", "--runs", runs],
        ["bench", "--runs", runs, "--mocap", "Anna's"],
        ["bench-tokenizer", "--out", "it's mine/bench", "--mocap", "Anna's", "--minutes", "1", "--seeds", "3"],
    ]


def test_what_fails_ends_make(clone):
    (clone / "fail").touch()
    assert "Error 1" in make(clone, "drift", fails=True)
    assert len(asked(clone)) == 1


def test_folders_with_a_target_name_do_not_count(clone):
    for name in ("tokenizer", "regressor", "pipelines", "tests"):
        (clone / name).mkdir()
    make(clone, "regressor")
    assert asked(clone) == [[*given(), "--until", "regressor"]]


def test_clean_keeps_runs_and_data(clone):
    for name in ("tokenizer", "regressor", "pipelines", "tests"):
        (clone / name / "__pycache__").mkdir(parents=True)
    for name in ("build", "x.egg-info", ".pytest_cache", "runs/demo/tokenizer", "data"):
        (clone / name).mkdir(parents=True)
    make(clone, "clean")
    assert {path.name for path in clone.iterdir()} >= {"runs", "data", ".venv", "tokenizer"}
    assert not {path.name for path in clone.rglob("*")} & {"build", "x.egg-info", ".pytest_cache", "__pycache__"}
    assert (clone / "runs/demo/tokenizer").exists()


def test_help_names_every_target(clone):
    printed = make(clone)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE).group(1)
    names = phony.replace("$(STAGES)", " ".join(stage.name for stage in stages(Settings(Path("x"))))).split()
    assert [name for name in names if f"make {name} " not in printed] == []


def test_an_old_python_is_told_in_words(clone):
    (clone / ".venv" / ".installed").unlink()
    old = clone / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    printed = make(clone, "install", "PYTHON=./old-python", fails=True)
    assert "Python 3.10 or newer is needed" in printed and "./old-python" in printed
    assert not (clone / ".venv" / ".installed").exists()


def test_an_interrupted_installation_is_done_again(clone):
    (clone / ".venv" / ".installed").unlink()
    assert "Installing into .venv" in make(clone, "-n", "install")
    (clone / ".venv" / ".installed").touch()
    assert "Installing" not in make(clone, "-n", "install")


def test_a_crashed_test_worker_ends_the_run_at_once_with_its_name(tmp_path):
    """With the options of `make test`: hanging or starting anew would give no verdict for minutes."""
    command = make(ROOT, "--dry-run", "test").splitlines()[-1]
    (tmp_path / "test_crash.py").write_text(
        "import os, time\n\ndef test_dies():\n    os.abort()\n\n"
        + "".join(f"def test_waits_{i}():\n    time.sleep(0.5)\n\n" for i in range(100))
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    words = command.replace(".venv/bin/python", sys.executable)
    done = subprocess.run(words, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "test_crash.py::test_dies" in done.stdout and "crashed" in done.stdout and "100 passed" not in done.stdout


def test_weights_are_made_in_a_folder_of_their_own(clone):
    make(clone, "weights")
    make(clone, "weights", "MOCAP=../some where", "RUNS=out/demo")
    (clone.parent / "shared" / "mocap").mkdir(parents=True)
    make(clone, "weights")
    assert asked(clone) == [
        ["weights", "--runs", "runs/weights", "--mocap", ""],
        ["weights", "--runs", "out/weights", "--mocap", "../some where"],
        ["weights", "--runs", "runs/weights", "--mocap", "../shared/mocap"],
    ]
