"""The Makefile: the same chain as ``stages``, real file targets, settings that are not forgotten, a careful clean."""

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
    program.write_text('#!/bin/sh\necho "$@" >> calls\n[ ! -e fail ] || { : > "runs/demo/$3"; exit 1; }\n'
                       'while [ "$1" != --only ]; do shift; done\ntouch "runs/demo/$2"\n')  # fmt: skip
    program.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def make(folder: Path, *words: str, fails: bool = False) -> str:
    """What make prints; its own options and variables of the caller's environment are kept out."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run(["make", *words], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout + done.stderr


def made(folder: Path) -> list[str]:
    """Products asked of pose-pipeline since last asked."""
    calls = folder / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return [re.search(r"--only (\S+)", line).group(1) for line in lines]


CHAIN = [stage.makes.name for stage in stages(Settings(Path("runs/demo")))]


def test_the_chain_is_that_of_the_stages():
    text = (ROOT / "Makefile").read_text()
    rules = dict(re.findall(r"^\$\(RUNS\)/([\w.]+):(.*)$", text, flags=re.MULTILINE))
    assert list(rules) == CHAIN
    for stage in stages(Settings(Path("runs/demo"))):
        assert {path.name for path in stage.needs} <= set(re.findall(r"\$\(RUNS\)/(\w[\w.]*)", rules[stage.makes.name]))
        assert re.search(rf"^{stage.name}: \$\(RUNS\)/{re.escape(stage.makes.name)} ", text, flags=re.MULTILINE)
    assert f"PRESET={'|'.join(PRESETS)} " in text


def test_what_is_up_to_date_is_not_made_again(clone):
    printed = make(clone, "demo")
    assert made(clone) == CHAIN
    assert printed.splitlines()[-1] == "runs/demo/report.html"
    assert make(clone, "demo").splitlines() == ["runs/demo/report.html"]
    assert made(clone) == []
    (clone / "runs/demo/crops.h5").unlink()
    make(clone, "demo")
    assert made(clone) == CHAIN[2:]


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (["MOCAP=../some where"], CHAIN),
        (["PRESET=smoke"], CHAIN),
        (["PHOTO=me.jpg"], CHAIN[-1:]),
        (["BOX=1,2,3,4"], CHAIN[-1:]),
    ],
)
def test_another_source_is_not_served_the_old_result(clone, words, again):
    make(clone, "demo")
    made(clone)
    make(clone, "demo", *words)
    assert made(clone) == again
    make(clone, "demo", *words)
    assert made(clone) == []


def test_one_stage_makes_what_it_needs_and_no_more(clone):
    make(clone, "tokenizer")
    assert made(clone) == CHAIN[:2]


def test_a_failed_stage_leaves_no_target(clone):
    (clone / "fail").touch()
    make(clone, "poses", fails=True)
    assert not (clone / "runs/demo/poses.h5").exists()
    (clone / "fail").unlink()
    made(clone)
    make(clone, "poses")
    assert made(clone) == CHAIN[:1]


def test_folders_with_a_target_name_do_not_count(clone):
    for name in ("tokenizer", "regressor", "pipelines", "tests"):
        (clone / name).mkdir()
    make(clone, "regressor")
    assert made(clone) == CHAIN[:4]


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
    assert [name for name in names if name != "FORCE" and f"make {name} " not in printed] == []


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


def test_runs_must_be_one_path(clone):
    assert "RUNS must be one path" in make(clone, "demo", "RUNS=a b", fails=True)


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
