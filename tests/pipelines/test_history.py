"""The history of stages: interrupted attempts add up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import history


def worked(runs: Path, name: str, seconds: float, *, ends: bool, resumed: bool = False, recipe: str = "x") -> None:
    """Leave the record of an attempt in the history."""
    record = {
        "stage": name,
        "commands": [recipe],
        "recipe": [recipe],
        "inputs": {},
        "resumed": resumed,
        "seconds": seconds,
        "began": time.time(),
        **({"finished": "now"} if ends else {}),
    }
    with (runs / "history.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_times_of_interrupted_attempts_add_up(tmp_path):
    worked(tmp_path, "train", 7, ends=True, recipe="another")
    for _ in range(3):
        worked(tmp_path, "train", 10, ends=False)
    worked(tmp_path, "train", 20, ends=True, resumed=True)
    worked(tmp_path, "train", 2, ends=True, resumed=True)  # `--only train`, when it had ended
    worked(tmp_path, "plain", 30, ends=True)
    worked(tmp_path, "plain", 40, ends=True)  # made anew: the first time is no part of it
    runs = history.last_runs(tmp_path)
    assert {name: (record["seconds"], record["attempts"]) for name, record in runs.items()} == {
        "train": (52, 5),
        "plain": (40, 1),
    }


def test_a_stage_begun_anew_does_not_hide_what_it_last_made(tmp_path):
    worked(tmp_path, "train", 20, ends=True)
    worked(tmp_path, "train", 5, ends=False, recipe="another")
    assert history.last_runs(tmp_path)["train"]["seconds"] == 20
    worked(tmp_path, "train", 6, ends=True, recipe="another")
    assert history.last_runs(tmp_path)["train"]["seconds"] == 11


@pytest.mark.parametrize("torn", [False, True])
def test_a_stage_killed_before_its_record_is_not_forgotten(tmp_path, torn):
    """The product is there, the record is not: only what was noted down while it was at work tells of it."""
    code = (
        "import os, signal, sys, time; from pathlib import Path; from pipelines.history import attempt\n"
        "with attempt(Path(sys.argv[1]), {'stage': 'crops', 'commands': ['make'], 'recipe': ['make'], 'inputs': {}}):\n"
        "    time.sleep(1.6)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    if torn:
        (tmp_path / "history.jsonl").write_text('{"stage": "poses", "comma')
    crops = history.last_runs(tmp_path)["crops"]
    assert crops["commands"] == ["make"] and 1 <= crops["seconds"] < 3
    assert "crops" not in history.last_finished(tmp_path)
    history.take_over(tmp_path)
    history.take_over(tmp_path)
    assert [record["stage"] for record in history.records(tmp_path)] == ["crops"]
    about = {"stage": "crops", "commands": ["make"], "recipe": ["make"], "inputs": {}}
    with history.attempt(tmp_path, about) as record:
        assert history.last_runs(tmp_path)["crops"]["attempts"] == 2, "a page written now shows the stage at work"
        record["finished"] = "now"
    again = history.last_runs(tmp_path)["crops"]
    assert again["attempts"] == 2 and again["seconds"] >= crops["seconds"] and again["finished"] == "now"
    assert not (tmp_path / "attempt.json").exists()
