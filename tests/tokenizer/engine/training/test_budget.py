"""The time budget of a training: it bounds time, decisions are on disk before they act, and a resume repeats them."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from tokenizer.artifact import read_artifact
from tokenizer.commands.cli import main
from tokenizer.config import NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.cli_options import note_on_budget
from tokenizer.engine.config import to_dict
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import save_state
from tokenizer.engine.training import budget
from tokenizer.engine.training.budget import Plan, StepBudget
from tokenizer.engine.training.checkpoint import load_latest
from tokenizer.engine.training.run import RunFolder, RunOptions
from tokenizer.training import train
from tokenizer.training.train import train_tokenizer

PLAN = Plan(steps=100_000, budget_s=64.0, validate_every=10_000, checkpoint_every=10_000)


class Clock:
    """Shows what the test wants."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(budget, "monotonic", clock)
    return clock


def decisions(folder):
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]


def walk(schedule, clock, cost, validation=0.0):
    """Take every step at ``cost(step)`` seconds; progress after each."""
    way = []
    while schedule.steps_left:
        clock.now += cost(schedule.step)
        schedule.advance()
        way.append(schedule.progress)
        if schedule.due("validation"):
            with schedule.timed("validation"):
                clock.now += validation
    return way


def test_a_fixed_number_of_steps_looks_at_no_clock(tmp_path, clock):
    schedule = StepBudget(tmp_path, Plan(10, 0.0, validate_every=4, checkpoint_every=3))
    seen = []
    while schedule.steps_left:
        clock.now += 1e9
        assert schedule.progress == schedule.step / 10 and schedule.progress_per_step == pytest.approx(0.1)
        step = schedule.advance()
        seen.append((step, schedule.due("validation"), schedule.due("checkpoint")))
    assert [step for step, validates, _ in seen if validates] == [4, 8, 10]
    assert [step for step, _, saves in seen if saves] == [3, 6, 9, 10] and schedule.progress == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("steps", "every"), [(12_000, 500), (200_000, 2500), (1000, 1), (77, 13)])
def test_validations_stand_where_they_stood(tmp_path, steps, every):
    schedule = StepBudget(tmp_path, Plan(steps, 0.0, validate_every=every, checkpoint_every=steps))
    at = []
    while schedule.steps_left:
        if schedule.advance() and schedule.due("validation"):
            at.append(schedule.step)
    assert at == [step for step in range(1, steps + 1) if step % every == 0 or step == steps]


@pytest.mark.parametrize("change", [1.0, 4.0, 0.25])
def test_the_steps_follow_the_time(tmp_path, clock, change):
    """A first step of two seconds, then 8 a second; from half the time on as fast as the machine then is."""

    def cost(step):
        return 2.0 if step == 0 else 0.125 if clock.now < 1032 else 0.125 * change

    way = walk(StepBudget(tmp_path, PLAN), clock, cost)
    took = clock.now - 1000
    assert 64 - 0.125 * max(1, change) <= took <= 64 + 0.125 * max(1, change)
    assert len(way) == pytest.approx(240 + 256 / change, rel=0.05)
    assert way[-1] == 1 and all(0 < b - a < 0.05 for a, b in itertools.pairwise(way))
    assert way[len(way) * 240 // (240 + int(256 / change))] == pytest.approx(0.5, abs=0.05)
    assert 40 < len(decisions(tmp_path)) < 100


@pytest.mark.parametrize("seconds", [0.3, 5.9, 7.0, 100.0])
def test_six_seconds_are_at_most_six_seconds_and_one_step(tmp_path, clock, seconds):
    """However long a step takes, the first one of all included."""
    way = walk(StepBudget(tmp_path, replace(PLAN, budget_s=6.0)), clock, lambda step: seconds)
    assert clock.now - 1000 < 6 + seconds and len(way) >= max(1, int(6 / seconds)) and way[-1] == 1


def test_validations_are_inside_the_budget(tmp_path, clock, monkeypatch):
    """Three of four seconds each; that after the last step is guessed before one was measured."""
    monkeypatch.setattr(budget, "_APART_S", 20.0)
    plan = replace(PLAN, validate_every=PLAN.steps // 3 + 1, validation_steps=32)
    way = walk(StepBudget(tmp_path, plan), clock, lambda step: 0.125, validation=4.0)
    assert 63.5 <= clock.now - 1000 <= 64.125 and len(way) == pytest.approx(52 * 8, abs=4)
    first = decisions(tmp_path)[1]
    assert first["step"] == 2 and first["left"] == int((64 - 0.25 - 4) / 0.125)


def test_a_slow_first_step_leaves_time_for_the_validation_after_the_last(tmp_path, clock):
    plan = replace(PLAN, budget_s=6.0, validation_steps=2)
    walk(StepBudget(tmp_path, plan), clock, lambda step: 5.0, validation=2.5)
    assert clock.now - 1000 == 7.5


def test_a_budget_spends_little_on_validations_it_did_not_plan_for(tmp_path, clock):
    """At most one for each minute of the budget, though 500 of 100,000 steps apart were asked for."""
    schedule, count = StepBudget(tmp_path, replace(PLAN, budget_s=192.0, validate_every=500)), 0
    while schedule.steps_left:
        clock.now += 0.125
        schedule.advance()
        count += schedule.due("validation")
    assert count == 4


def test_a_decision_is_on_disk_before_the_step_that_uses_it(tmp_path, clock, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (fsync(file), synced.append(decisions(tmp_path)[-1]["step"])))
    schedule = StepBudget(tmp_path, PLAN)
    for _ in range(5):
        clock.now += 1
        schedule.advance()
        assert synced[-1] == decisions(tmp_path)[-1]["step"] == schedule.step


def test_a_decision_cut_off_while_written_is_made_again(tmp_path, clock):
    walk(StepBudget(tmp_path, PLAN), clock, lambda step: 1.0)
    file, whole = tmp_path / "decisions.jsonl", decisions(tmp_path)
    file.write_text(file.read_text()[:-1])
    clock.now = 5000.0
    walk(StepBudget(tmp_path, PLAN), clock, lambda step: 1.0)
    assert decisions(tmp_path) == whole
    file.write_text('{"step": 3, "left"\n')
    with pytest.raises(UserError, match=r"decisions.jsonl does not hold what a training has decided"):
        StepBudget(tmp_path, PLAN)


FIRST = {"step": 1, "left": 9, "next": 2, "seconds": 1.0, "pace": None}


@pytest.mark.parametrize(
    "damage",
    [
        {"seconds": None},
        {"left": 2.5},
        {"next": 1},
        {"left": math.nan},
        {"pace": "x"},
        {"seconds": math.inf},
        {"step": "1"},
        {"step": True},
        {"left": -1},
        {"seconds": -1.0},
        b"\xff\n",
        b"\0\n",
        b"\n",
        b"[]\n",
        b"{}\n",
    ],
    ids=str,
)
def test_damaged_decisions_are_one_message(tmp_path, damage):
    file = tmp_path / "decisions.jsonl"
    good = json.dumps(FIRST).encode() + b"\n"
    file.write_bytes(good + (damage if isinstance(damage, bytes) else json.dumps({**FIRST, **damage}).encode() + b"\n"))
    with pytest.raises(UserError, match=r"does not hold what a training has decided.* line 2.*or remove it"):
        StepBudget(tmp_path, PLAN)
    file.write_bytes(good + b"\xff\0 cut off")
    StepBudget(tmp_path, PLAN)
    assert file.read_bytes() == good


def test_without_its_decisions_a_training_goes_on_by_the_clock(tmp_path, clock):
    """From the place of its checkpoint, for as much time as was left there."""
    schedule = StepBudget(tmp_path, PLAN)
    for _ in range(64):
        clock.now += 0.5
        schedule.advance()
    state = {"step": 64, "schedule": schedule.state_dict()}
    (tmp_path / "decisions.jsonl").unlink()
    clock.now += 1e6
    began = clock.now
    way = walk(StepBudget(tmp_path, PLAN, state), clock, lambda step: 0.5)
    assert clock.now - began == 32 and len(way) == 64 and way[0] == pytest.approx(0.508, abs=0.01) and way[-1] == 1
    assert decisions(tmp_path)[0]["step"] > 64


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_a_budget_is_a_finite_number(seconds):
    with pytest.raises(UserError, match=r"optim.budget_s is no finite number"):
        replace(SMALL.optim, budget_s=seconds)


@pytest.mark.parametrize(("stage", "others"), [("tokenizer", {}), ("regressor", {"tokenizer": "0a1b2c"})])
def test_a_resumed_run_says_that_its_budget_stays(tmp_path, capsys, stage, others):
    def said(seconds, minutes):
        (tmp_path / "config.json").write_text(json.dumps({stage: {"optim": {"budget_s": seconds}}, **others}))
        note_on_budget(tmp_path, minutes)
        return capsys.readouterr().err

    assert said(144.0, 2.4) == said(144.0, None) == said(0.0, None) == ""
    assert "--minutes 10 is ignored: this run resumes with a budget of 2.4 minutes" in said(144.0, 10)
    assert "with a fixed number of steps" in said(0.0, 10)


def test_the_command_says_that_the_budget_stays(store, tmp_path, monkeypatch):
    def stop(*arguments, **options):
        raise UserError("stopped")

    monkeypatch.setattr(train, "train_tokenizer", stop)
    RunFolder.start(tmp_path / "run", {"tokenizer": to_dict(SMALL)})
    command = ["train", str(store.path), "--device", "cpu", "--run"]
    again = CliRunner().invoke(main, [*command, str(tmp_path / "run"), "--resume", "--minutes", "1"])
    assert "--minutes 1 is ignored" in again.output and "stopped" in again.output
    refused = CliRunner().invoke(main, [*command, str(tmp_path / "new"), "--minutes", "nan"])
    assert refused.exit_code == 2 and "optim.budget_s is no finite number" in refused.output
    assert not (tmp_path / "new").exists()


def test_what_is_decided_is_repeated_whatever_the_clock_shows(tmp_path, clock):
    """Only where nothing is decided the clock counts, from the last decision on."""
    way = walk(StepBudget(tmp_path, PLAN), clock, lambda step: 0.5)
    file = tmp_path / "decisions.jsonl"
    assert walk(StepBudget(tmp_path, PLAN), clock, lambda step: 100.0) == way
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:10]))
    replayed = walk(
        StepBudget(tmp_path, PLAN), clock, lambda step: 100.0 if step < json.loads(lines[9])["step"] else 0.5
    )
    assert replayed == way and decisions(tmp_path) == [json.loads(line) for line in lines]


SMALL = TokenizerConfig(
    network=NetworkConfig(width=16, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4), groups=4, layers=2),
    optim=OptimConfig(steps=1000, budget_s=10.0, batch=8, warmup=4, lr=0.01),
    device="cpu",
    precision="fp32",
    val_poses=8,
    validate_every=250,
    checkpoint_every=150,
)


@pytest.fixture
def steady(clock, monkeypatch):
    """Each step takes a second, and there are few decisions."""

    def draw(*arguments):
        clock.now += 1.0
        return draw_batch(*arguments)

    draw_batch = train.draw_batch
    monkeypatch.setattr(train, "draw_batch", draw)
    monkeypatch.setattr(budget, "_INTERVAL", 0.2)
    monkeypatch.setattr(budget, "_INTERVAL_OF_REST", 0.4)
    monkeypatch.setattr(budget, "_APART_S", 3.0)
    return clock


def digest(path):
    return read_artifact(path).tokenizer.state_dict()


def same(a, b):
    return all(value.equal(b[name]) for name, value in a.items())


class Killed(BaseException):
    """As by a signal."""


def killed_at_each_decision(monkeypatch, go_on):
    """Call ``go_on()`` until it ends, killed once before and once after each decision is written; how often it was."""
    append, killings = budget.append_line, []

    def killing(*arguments, **options):
        killings.append(len(killings))
        if len(killings) % 2 == 0:
            append(*arguments, **options)
        raise Killed

    monkeypatch.setattr(budget, "append_line", killing)
    while True:
        try:
            return go_on(), len(killings)
        except Killed:
            pass


def test_killed_at_each_decision_the_weights_are_those_of_an_unbroken_run(
    store, tmp_path, open_body, steady, monkeypatch
):
    whole = train_tokenizer(store, tmp_path / "whole", SMALL, open_body)
    made = decisions(tmp_path / "whole")

    def go_on():
        steady.now += 1e6  # downtime
        return train_tokenizer(
            store, tmp_path / "cut", SMALL, open_body, options=RunOptions(resume=(tmp_path / "cut").exists())
        )

    cut, killings = killed_at_each_decision(monkeypatch, go_on)
    assert killings == 2 * len(made) > 6
    assert decisions(tmp_path / "cut") == made and same(digest(cut), digest(whole))
    figures = [[json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("whole", "cut")]
    assert [line["step"] for line in figures[0]] == [line["step"] for line in figures[1]] and len(figures[0]) == 4


def test_given_the_same_decisions_the_clock_changes_nothing(store, tmp_path, open_body, steady, monkeypatch):
    whole = train_tokenizer(store, tmp_path / "whole", SMALL, open_body)
    state = load_latest(tmp_path / "whole" / "checkpoints")
    assert state["schedule"]["progress"] == 1 and state["step"] == 10
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for path in (tmp_path / "again" / "checkpoints").iterdir():
        path.unlink()
    monkeypatch.setattr(budget, "monotonic", random.Random(0).random)
    again = train_tokenizer(store, tmp_path / "again", SMALL, open_body, options=RunOptions(resume=True))
    assert same(digest(again), digest(whole)) and decisions(tmp_path / "again") == decisions(tmp_path / "whole")


def test_run_folders_of_before_go_on(store, tmp_path, open_body):
    """They hold neither decisions, nor progress, nor the newer settings."""
    optim = replace(SMALL.optim, steps=20, budget_s=0.0)
    config = replace(SMALL, optim=optim, val_poses=50, validate_every=5, checkpoint_every=8)
    whole = train_tokenizer(store, tmp_path / "whole", config, open_body)
    shutil.copytree(tmp_path / "whole", tmp_path / "old")
    (tmp_path / "old" / "checkpoints" / "step_000000020.pt").unlink()
    settings = json.loads((tmp_path / "old" / "config.json").read_text())
    for name in ("val_poses", "keep_checkpoints"):
        del settings["tokenizer"][name]
    (tmp_path / "old" / "config.json").write_text(json.dumps(settings))
    state = load_latest(tmp_path / "old" / "checkpoints")
    assert state.pop("schedule")["progress"] == 0.8
    save_state(tmp_path / "old" / "checkpoints" / "step_000000016.pt", state)
    old = train_tokenizer(store, tmp_path / "old", config, open_body, options=RunOptions(resume=True))
    assert same(digest(old), digest(whole))


def test_a_budget_not_yet_decided_on_counts_the_time_of_before(tmp_path, clock):
    """A checkpoint of an older version, killed in its first steps."""
    way = walk(StepBudget(tmp_path, PLAN, {"step": 20, "seconds": 60.0}), clock, lambda step: 0.5)
    assert clock.now - 1000 == 4 and len(way) == 8


def test_validation_looks_at_a_fixed_part_of_many_poses(store, tmp_path, open_body, monkeypatch):
    seen = []

    def evaluate(tokenizer, poses, body):
        seen.append(poses)
        return {"mpjpe_mm": 1.0}

    monkeypatch.setattr(train, "evaluate_tokenizer", evaluate)
    config = replace(SMALL, val_poses=8, optim=replace(SMALL.optim, steps=2, budget_s=0.0), validate_every=1)
    train_tokenizer(store, tmp_path / "run", config, open_body)
    assert len(seen) == 2 and np.array_equal(seen[0], store.poses("val")[[0, 7, 14, 21, 28, 35, 42, 49]])
    assert seen[1].equal(seen[0])
    with pytest.raises(UserError, match="val_poses is too small"):
        replace(SMALL, val_poses=0)


def test_short_budgets_are_not_spent_on_validation():
    at = [budget.num_validation_samples(10_000, seconds) for seconds in (0, 6, 60, 120, 3600)]
    assert at == [10_000, 500, 5000, 10_000, 10_000]
    assert [budget.num_validation_samples(50, 6.0), budget.num_validation_samples(5, 6.0)] == [16, 5]
    assert [budget.num_validation_samples(8, seconds, least=0) for seconds in (6, 60, 300)] == [0, 4, 8]


def test_old_checkpoints_are_pruned_as_configured(store, tmp_path, open_body):
    config = replace(SMALL, optim=replace(SMALL.optim, steps=12, budget_s=0.0), checkpoint_every=2, keep_checkpoints=3)
    train_tokenizer(store, tmp_path / "run", config, open_body)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step_{step:09d}.pt" for step in (8, 10, 12)]
    with pytest.raises(UserError, match="keep_checkpoints is too small"):
        replace(SMALL, keep_checkpoints=0)
