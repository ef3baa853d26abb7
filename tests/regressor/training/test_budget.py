"""The time budget of a regressor's training: killed at each decision it ends as an unbroken run does."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import pytest

from regressor.config import PRESETS
from regressor.datasets.crop_dataset import open_crops
from regressor.training import train as training
from regressor.training.train import train_regressor
from tokenizer.engine.files.state_files import load_state, save_state
from tokenizer.engine.training import budget
from tokenizer.engine.training.checkpoint import load_latest
from tokenizer.engine.training.run import RunOptions


@pytest.fixture(scope="module")
def crops(crops_file):
    return open_crops(crops_file)


@pytest.fixture
def config(tiny_config):
    """As many steps as fit eight seconds."""
    optim = replace(tiny_config.optim, steps=1000, budget_s=8.0)
    return replace(tiny_config, optim=optim, pictures=0, validate_every=500, checkpoint_every=250)


@pytest.fixture
def steady(monkeypatch):
    """A clock by which each step takes a second; few decisions and events."""

    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    def forward_backward(*arguments):
        clock.now += 1.0
        return original(*arguments)

    clock, original = Clock(), training.forward_backward
    monkeypatch.setattr(training, "forward_backward", forward_backward)
    for name, value in (("monotonic", clock), ("_INTERVAL", 0.2), ("_INTERVAL_OF_REST", 0.4), ("_APART_S", 2.0)):
        monkeypatch.setattr(budget, name, value)
    return clock


class Killed(BaseException):
    """As by a signal."""


def weights(path):
    return load_state(path)["network"]


def same(a, b):
    return a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())


def test_killed_at_each_decision_the_weights_are_those_of_an_unbroken_run(
    tmp_path, crops, tokenizer, config, open_body, steady, monkeypatch
):
    whole = train_regressor(crops, tokenizer, tmp_path / "whole", config, open_body)
    made = (tmp_path / "whole" / "decisions.jsonl").read_text()
    append, killings, resumed = budget.append_line, [], None

    def killing(*arguments, **options):
        killings.append(len(killings))
        if len(killings) % 2 == 0:
            append(*arguments, **options)
        raise Killed

    monkeypatch.setattr(budget, "append_line", killing)
    while resumed is None:
        steady.now += 1e6  # downtime
        go_on = (tmp_path / "cut").exists()
        try:
            resumed = train_regressor(
                crops, tokenizer, tmp_path / "cut", config, open_body, options=RunOptions(resume=go_on)
            )
        except Killed:
            continue
    assert len(killings) == 2 * len(made.splitlines()) > 8
    assert (tmp_path / "cut" / "decisions.jsonl").read_text() == made and same(weights(resumed), weights(whole))

    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for path in (tmp_path / "again" / "checkpoints").iterdir():
        path.unlink()
    monkeypatch.setattr(budget, "monotonic", random.Random(0).random)
    again = train_regressor(crops, tokenizer, tmp_path / "again", config, open_body, options=RunOptions(resume=True))
    assert same(weights(again), weights(whole)), "the same decisions, whatever the clock shows"


def test_run_folders_of_before_go_on(tmp_path, crops, tokenizer, tiny_config, open_body):
    """They hold neither decisions, nor progress, nor the newer setting."""
    whole = train_regressor(crops, tokenizer, tmp_path / "whole", tiny_config, open_body)
    shutil.copytree(tmp_path / "whole", tmp_path / "old")
    (tmp_path / "old" / "checkpoints" / "step_000000008.pt").unlink()
    settings = json.loads((tmp_path / "old" / "config.json").read_text())
    del settings["regressor"]["keep_checkpoints"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(settings))
    state = load_latest(tmp_path / "old" / "checkpoints")
    assert state.pop("schedule")["progress"] == 0.75
    save_state(tmp_path / "old" / "checkpoints" / "step_000000006.pt", state)
    old = train_regressor(crops, tokenizer, tmp_path / "old", tiny_config, open_body, options=RunOptions(resume=True))
    assert same(weights(old), weights(whole))


def test_old_checkpoints_are_pruned_and_those_of_large_networks_are_rare(
    tmp_path, crops, tokenizer, tiny_config, open_body
):
    train_regressor(crops, tokenizer, tmp_path / "run", replace(tiny_config, keep_checkpoints=3), open_body)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step_{step:09d}.pt" for step in (4, 6, 8)]
    every = {name: config.checkpoint_every for name, config in PRESETS.items()}
    assert every == {
        "small": 500,
        "small-6d": 500,
        "keypoints": 1000,
        **dict.fromkeys(("vit-s", "vit-b", "vit-l", "vit-h"), 2000),
    }
