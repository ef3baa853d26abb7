"""Kills at the border of every stage: the chain goes on, forgets nothing, and ends at the same weights."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from report_page import Page

from pipelines.history import last_runs
from pipelines.stages import Settings, stages
from regressor.checkpoints.regressor_file import load_regressor
from tokenizer import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from pipelines import demo, history, stages
stages.PRESETS["tiny"] = stages.Preset(400, "compact", 1, "suit", (32, 16, 16), "small", 1)

def of_fixed_steps(settings):
    # A budget of minutes gives other steps on every machine.
    words = {"--minutes": "--set", "1": "optim.steps=6"}
    chain = plain_stages(settings)
    return [replace(s, commands=tuple(tuple(words.get(word, word) for word in c) for c in s.commands)) for s in chain]

def killed(runs, record):
    if record["stage"] == stage:
        os.kill(os.getpid(), signal.SIGKILL)
    plain_append(runs, record)

runs, stage = Path(sys.argv[1]), sys.argv[2]
plain_stages, demo.stages = demo.stages, of_fixed_steps
plain_append, history._append = history._append, killed
demo.run_demo(stages.Settings(runs, "tiny"), print)
"""
"""Kills itself when the stage has left its file and its record is about to be written."""


def run(runs: Path, killed_at: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(runs), killed_at], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == (-signal.SIGKILL if killed_at else 0), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kills_at_every_border_change_no_weight_and_lose_no_command(tmp_path):
    run(tmp_path / "whole", "")
    names = [stage.name for stage in stages(Settings(tmp_path))]
    for name in names:
        run(tmp_path / "broken", name)
    run(tmp_path / "broken", "")
    one, other = (
        load_regressor(folder / "regressor.pt", tokenizer=load_tokenizer(folder / "tokenizer.h5"))
        for folder in (tmp_path / "whole", tmp_path / "broken")
    )
    assert one.tokenizer.digest == other.tokenizer.digest
    weights, others = one.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    runs = last_runs(tmp_path / "broken")
    assert [(name, runs[name]["attempts"]) for name in names] == [(name, 2) for name in names]
    page = "".join(Page((tmp_path / "broken" / "report.html").read_text()).text)
    assert all(line in page for name in names for line in runs[name]["commands"])
    seconds = sum(record["seconds"] for record in runs.values())
    assert seconds > sum(record["seconds"] for record in last_runs(tmp_path / "whole").values())
