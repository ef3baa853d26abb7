"""Running stages: what is current stays, a cut-off training goes on, a run made otherwise is put aside."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path

import click
import h5py
import pytest

from pipelines import demo
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


def test_newer_inputs_and_other_commands_make_a_stage_stale(tmp_path, ran):
    data(tmp_path / "data.h5", "one")
    stage = training(tmp_path)
    demo.run_stage(stage, tmp_path, str)
    assert demo.is_current(stage, tmp_path)
    assert not demo.is_current(training(tmp_path, "--die"), tmp_path)
    later = stage.makes.stat().st_mtime + 5
    os.utime(tmp_path / "data.h5", (later, later))
    assert not demo.is_current(stage, tmp_path)


def test_a_cut_off_training_goes_on(tmp_path, ran):
    data(tmp_path / "data.h5", "one")
    stage = training(tmp_path, "--die")
    for _ in range(2):
        with pytest.raises(SystemExit):
            demo.run_stage(stage, tmp_path, str)
    assert ran == [["make"], ["make", "--resume"]]
    assert demo.last_runs(tmp_path) == {}


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
    assert len(ran) == 4
