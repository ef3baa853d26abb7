"""Running stages: what is current stays, a cut-off training goes on, a run made otherwise is put aside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import click
import cv2
import h5py
import numpy as np
import pytest

from pipelines import demo, history
from pipelines.stages import Stage
from tokenizer.engine.errors import UserError


@pytest.fixture
def ran(monkeypatch):
    """Stands in for the real programs: notes every call, writes --out, makes a run folder; 'die' fails."""
    calls: list[list[str]] = []
    group = click.Group("fake")

    @group.command()
    @click.option("--out", type=click.Path(path_type=Path))
    @click.option("--run", "run_path", type=click.Path(path_type=Path))
    @click.option("--resume", is_flag=True)
    @click.option("--die", is_flag=True)
    def make(out, run_path, resume, die):
        calls.append(["make", *(["--resume"] if resume else [])])
        if run_path:
            (run_path / "config.json").write_text("{}")
        if die:
            raise SystemExit(2)
        out.write_text("made")

    module = types.ModuleType("fake_program")
    module.main = group
    monkeypatch.setitem(sys.modules, "fake_program", module)
    monkeypatch.setitem(demo.PROGRAMS, "fake", "fake_program")
    return calls


def data(path: Path, digest: str) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["digest"] = digest
    return path


def training(folder: Path, *extra: str) -> Stage:
    out, run = folder / "made.h5", folder / "run"
    command = ("fake", "make", "--out", str(out), "--run", str(run), *extra)
    return Stage("train", "a test", out, (folder / "data.h5",), (command,), run=run)


def test_a_stage_says_runs_and_notes_down(tmp_path, ran):
    said: list[str] = []
    stage = Stage("plain", "a test", tmp_path / "made", (), (("fake", "make", "--out", str(tmp_path / "made")),))
    assert not demo.is_current(stage, tmp_path)
    demo.run_stage(stage, tmp_path, said.append)
    assert ran == [["make"]]
    assert any(str(stage.makes) in line for line in said) and f"$ {stage.command_lines()[0]}" in said
    record = json.loads((tmp_path / "history.jsonl").read_text())
    assert record["commands"] == stage.command_lines() and record["torch"] and record["machine"]
    assert demo.is_current(stage, tmp_path)


def test_other_inputs_and_other_commands_make_a_stage_stale(tmp_path, ran):
    data(tmp_path / "data.h5", "one")
    stage = training(tmp_path)
    demo.run_stage(stage, tmp_path, str)
    assert demo.is_current(stage, tmp_path)
    assert not demo.is_current(training(tmp_path, "--die"), tmp_path)
    later = stage.makes.stat().st_mtime + 5
    os.utime(tmp_path / "data.h5", (later, later))
    assert demo.is_current(stage, tmp_path), "times say nothing"
    data(tmp_path / "data.h5", "two")
    assert not demo.is_current(stage, tmp_path)
    data(tmp_path / "data.h5", "one")
    assert demo.is_current(stage, tmp_path)
    stage.makes.write_text("damaged")
    assert not demo.is_current(stage, tmp_path)


def test_a_copy_of_the_folder_is_as_current_as_the_folder(tmp_path, ran):
    (tmp_path / "one").mkdir()
    data(tmp_path / "one" / "data.h5", "same")
    demo.run_stage(training(tmp_path / "one"), tmp_path / "one", str)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for path in (tmp_path / "two").rglob("*"):
        os.utime(path, (0, 0) if path.name == "made.h5" else None)
    shutil.rmtree(tmp_path / "one")
    assert demo.is_current(training(tmp_path / "two"), tmp_path / "two")
    (tmp_path / "two" / "made.h5").unlink()
    demo.run_stage(training(tmp_path / "two"), tmp_path / "two", str)
    assert ran == [["make"], ["make", "--resume"]], "its training goes on as well"


def test_a_folder_of_an_earlier_version_is_current_by_its_times(tmp_path, ran):
    data(tmp_path / "data.h5", "one")
    stage = training(tmp_path)
    stage.makes.write_text("made")
    record = {
        "stage": stage.name,
        "commands": stage.command_lines(),
        "resumed": False,
        "seconds": 5.0,
        "finished": "2026-01-01T00:00:00+00:00",
    }
    (tmp_path / "history.jsonl").write_text(json.dumps(record) + "\n")
    assert demo.is_current(stage, tmp_path)
    later = stage.makes.stat().st_mtime + 5
    os.utime(tmp_path / "data.h5", (later, later))
    assert not demo.is_current(stage, tmp_path)
    (tmp_path / "run").mkdir()
    about = {"commands": stage.command_lines(), "data": ["one"]}
    (tmp_path / "run" / "stage.json").write_text(json.dumps(about))
    (tmp_path / "run" / "config.json").write_text("{}")
    demo.run_stage(stage, tmp_path, str)
    assert ran == [["make", "--resume"]], "a training it began goes on"


def test_another_photo_under_the_same_name_makes_the_page_anew(tmp_path, ran):
    photo, page = tmp_path / "me.jpg", tmp_path / "made"
    photo.write_bytes(b"one")
    stage = Stage("plain", "a test", page, (), (("fake", "make", "--out", str(page)),), given=(photo,))
    demo.run_stage(stage, tmp_path, str)
    assert demo.is_current(stage, tmp_path)
    photo.write_bytes(b"two")
    assert not demo.is_current(stage, tmp_path)


def test_a_cut_off_training_goes_on(tmp_path, ran):
    data(tmp_path / "data.h5", "one")
    stage = training(tmp_path, "--die")
    for _ in range(2):
        with pytest.raises(SystemExit):
            demo.run_stage(stage, tmp_path, str)
    assert ran == [["make"], ["make", "--resume"]]
    assert not demo.is_current(stage, tmp_path) and history.last_runs(tmp_path)["train"]["attempts"] == 2


def test_the_same_data_written_again_does_not_start_over(tmp_path, ran):
    data(tmp_path / "data.h5", "one")
    demo.run_stage(training(tmp_path), tmp_path, str)
    data(tmp_path / "data.h5", "one")
    demo.run_stage(training(tmp_path), tmp_path, str)
    assert ran[-1] == ["make", "--resume"]


@pytest.mark.parametrize("change", ["data", "command"])
def test_a_run_made_otherwise_is_put_aside(tmp_path, ran, change):
    data(tmp_path / "data.h5", "one")
    demo.run_stage(training(tmp_path), tmp_path, str)
    (tmp_path / "run" / "precious").write_text("kept")
    if change == "data":
        data(tmp_path / "data.h5", "two")
    demo.run_stage(training(tmp_path, *(["--resume"] if change == "command" else [])), tmp_path, str)
    assert (tmp_path / "run.previous" / "precious").read_text() == "kept"
    assert not (tmp_path / "run" / "precious").exists()


def test_one_stage_alone_needs_its_inputs(tmp_path):
    settings = demo.Settings(tmp_path)
    with pytest.raises(UserError, match=r"no .*poses\.h5"):
        demo.run_one(settings, "tokenizer.h5", str)
    with pytest.raises(UserError, match="Unknown stage"):
        demo.run_one(settings, "tokeniser", str)


def test_the_whole_chain_skips_what_is_current(tmp_path, ran, monkeypatch):
    first = Stage("one", "", tmp_path / "a", (), (("fake", "make", "--out", str(tmp_path / "a")),))
    second = Stage("two", "", tmp_path / "b", (first.makes,), (("fake", "make", "--out", str(tmp_path / "b")),))
    monkeypatch.setattr(demo, "stages", lambda settings: [first, second])
    assert demo.run_demo(demo.Settings(tmp_path), str) == second.makes
    assert len(ran) == 2
    demo.run_demo(demo.Settings(tmp_path), str)
    assert len(ran) == 2
    first.makes.unlink()
    demo.run_demo(demo.Settings(tmp_path), str)
    assert len(ran) == 3, "the same again: what was made from it stays"
    first.makes.write_text("other")
    second.makes.unlink()
    demo.run_demo(demo.Settings(tmp_path), str)
    assert len(ran) == 5


def test_the_chain_stops_where_it_is_told(tmp_path, ran, monkeypatch):
    chain = [Stage(name, "", tmp_path / name, (), (("fake", "make", "--out", str(tmp_path / name)),)) for name in "abc"]
    monkeypatch.setattr(demo, "stages", lambda settings: chain)
    assert demo.run_demo(demo.Settings(tmp_path), str, until="b") == tmp_path / "b"
    assert len(ran) == 2
    with pytest.raises(UserError, match="Unknown stage 'd'; expected one of a, b, c"):
        demo.run_demo(demo.Settings(tmp_path), str, until="d")


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"photo": "nowhere.jpg"}, "No image at nowhere.jpg"),
        ({"photo": "words.jpg"}, "words.jpg"),
        ({"photo": "me.png", "box": "1,2,3"}, "four numbers"),
        ({"photo": "me.png", "box": "100,100,200,200"}, "outside the image; got 100,100,200,200; .*within 0,0,40,30"),
        ({"photo": "me.png", "box": "20,20,10,25"}, "no area"),
        ({"box": "1,2,3,4"}, "no photo that it belongs to"),
        ({"mocap": "nowhere"}, "No file or folder at nowhere"),
        ({"mocap": "empty"}, "no motion to learn from in empty"),
        ({"preset": "demoo"}, "demo, smoke, varied"),
    ],
)
def test_what_the_caller_gives_is_checked_before_anything_is_made(tmp_path, ran, monkeypatch, choice, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.jpg").write_text("words")
    cv2.imwrite("me.png", np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(UserError, match=says):
        demo.run_demo(demo.Settings(Path("runs"), **choice), str)
    with pytest.raises(UserError, match=says):
        demo.run_one(demo.Settings(Path("runs"), **choice), "report", str)
    assert ran == [] and not (tmp_path / "runs").exists()


def test_a_second_demo_in_one_folder_waits(tmp_path, ran, monkeypatch):
    first = Stage("one", "", tmp_path / "a", (), (("fake", "make", "--out", str(tmp_path / "a")),))
    monkeypatch.setattr(demo, "stages", lambda settings: [first])
    code = (
        "import sys, time; from pathlib import Path; from tokenizer.engine.files.cache import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('at work', flush=True)\n    sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    said = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "at work\n"

        def say(text):
            said.append(text)
            if "at work" in text:
                assert ran == []
                other.stdin.close()

        demo.run_demo(demo.Settings(tmp_path), say)
    assert said[0].startswith(f"Another process is at work in {tmp_path}; waiting") and len(ran) == 1
