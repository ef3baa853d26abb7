"""Options, checkpoints, run folders, schedules."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import pytest
import torch

from tokenizer.body import skeleton
from tokenizer.engine import config as options
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files import atomic, state_files
from tokenizer.engine.training import checkpoint
from tokenizer.engine.training.averaging import WeightAverage
from tokenizer.engine.training.precision import resolve_device
from tokenizer.engine.training.run import RunFolder
from tokenizer.engine.training.schedule import grown, warmup_cosine, warmup_share


@dataclass(frozen=True)
class Inner:
    lr: float = 1e-3
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    levels: tuple[int, ...] = (8, 8)
    name: str | None = None


def test_later_settings_win(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"inner": {"lr": 0.5, "kind": "b"}, "levels": [4]}))
    config = options.resolve(Outer(), file=file, assignments=["inner.lr=2", "name=x"])
    assert config == Outer(Inner(2.0, "b"), (4,), "x")
    assert options.from_dict(Outer, options.to_dict(config)) == config


@dataclass(frozen=True)
class Renamed:
    RENAMED: ClassVar[dict[str, str]] = {"rate": "lr"}
    lr: float = 1e-3


@dataclass(frozen=True)
class OuterRenamed:
    RENAMED: ClassVar[dict[str, str]] = {"inside": "inner"}
    inner: Renamed = field(default_factory=Renamed)


def test_former_keys_are_read_and_settings_say_their_present_name(tmp_path, capsys):
    assert options.from_dict(OuterRenamed, {"inside": {"rate": 2}}) == OuterRenamed(Renamed(2.0))
    assert capsys.readouterr().err == ""
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"inner": {"rate": 0.5}}))
    assert options.resolve(OuterRenamed(), file=file) == OuterRenamed(Renamed(0.5))
    assert options.resolve(OuterRenamed(), assignments=["inside.rate=3"]) == OuterRenamed(Renamed(3.0))
    assert capsys.readouterr().err.splitlines() == [
        "note: inner.rate is now inner.lr",
        "note: inside is now inner",
        "note: inner.rate is now inner.lr",
    ]
    assert options.to_dict(OuterRenamed()) == {"inner": {"lr": 1e-3}}
    with pytest.raises(UserError, match="given twice"):
        options.from_dict(Renamed, {"lr": 1, "rate": 2})
    with pytest.raises(UserError, match="Unknown configuration key 'RENAMED'"):
        options.resolve(Renamed(), assignments=["RENAMED={}"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("inner.lrr=1", "Did you mean 'lr'"),
        ("inner.lr=fast", "wrong type"),
        ("inner=3", "is a group"),
        ("inner.kind=c", "one of 'a', 'b'"),
        ("levels=[1.5]", "wrong type"),
        ("nothing", "key=value"),
    ],
)
def test_bad_settings_say_what_is_wrong(text, says):
    with pytest.raises(UserError, match=says):
        options.resolve(Outer(), assignments=[text])


def test_messages_have_the_house_form():
    assert str(fail("A went wrong", got=1, expected=2, next_step="Do B")) == "A went wrong; got 1; expected 2. Do B."


def test_checkpoints_keep_the_last_two_and_pass_over_a_damaged_one(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save_checkpoint(tmp_path, step, {"weights": torch.full((3,), float(step))})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step_000000002.pt", "step_000000003.pt"]
    newest = tmp_path / "step_000000003.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    state = checkpoint.load_latest(tmp_path)
    assert state["step"] == 2 and state["weights"].tolist() == [2.0, 2.0, 2.0]
    (tmp_path / "step_000000002.pt").write_bytes(b"")
    with pytest.raises(UserError, match="Cannot read checkpoint"):
        checkpoint.load_latest(tmp_path)
    assert checkpoint.load_latest(tmp_path / "none") is None


def test_a_flipped_byte_in_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "x.pt"
    state_files.save_state(path, {"weights": torch.arange(1000.0)})
    data = bytearray(path.read_bytes())
    position = data.find(torch.arange(1000.0).numpy().tobytes()[400:800])
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="checksum"):
        state_files.load_state(path)


def test_a_hostile_checkpoint_does_not_run(tmp_path):
    import os

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"x": Hostile()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="Cannot read"):
        state_files.load_state(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a"
    atomic.write_text_atomically(path, "old")

    def half(file):
        file.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        atomic.write_atomically(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    run = RunFolder.start(tmp_path / "run", {"a": 1})
    for step in (10, 20, 30):
        run.log({"step": step})
        if step == 20:
            checkpoint.save_checkpoint(run.checkpoints, step, {"seconds": 5.0})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')
    resumed = RunFolder.resume(tmp_path / "run")
    assert [record["step"] for record in resumed.metrics()] == [10, 20]
    assert resumed.state["step"] == 20 and resumed.config == {"a": 1} and resumed.seconds >= 5.0
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder.start(tmp_path / "run", {})
    with pytest.raises(UserError, match="No run"):
        RunFolder.resume(tmp_path / "other")


def test_schedule_golden():
    at = [warmup_cosine(step / 10, 0.1, warmup=0.2) for step in range(10)]
    assert at[:2] == pytest.approx([1 / 3, 2 / 3])
    assert at[2] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5 / 8)))
    assert all(a > b for a, b in pairwise(at[2:])) and at[-1] > 0
    assert warmup_share(100, 4000) == 0.025 and warmup_share(100, 200) == 0.25
    assert [warmup_share(warmup, 4000, 60.0) for warmup in (0, 100, 400, 2000)] == [0, 0.05, 0.1, 0.25]


def test_weight_average_follows():
    module = torch.nn.Linear(1, 1)
    average = WeightAverage(module, 0.9)
    with torch.no_grad():
        before = average.module.weight.clone()
        module.weight.add_(1.0)
    average.update(module, 10_000)
    assert torch.allclose(average.module.weight, before + 0.1, atol=1e-6)
    assert not average.module.weight.requires_grad


def test_absent_devices_get_words():
    with pytest.raises(UserError, match="cannot be used"):
        resolve_device("cuda:99")


def test_joints_by_name():
    assert skeleton.index("left_knee") == 4 and skeleton.body_index("left_knee") == 3
    with pytest.raises(UserError, match="left_knee"):
        skeleton.index("left_kne")
    for names in (skeleton.JOINT_NAMES, skeleton.KEYPOINT_NAMES):
        permutation = skeleton.mirror_permutation(names)
        assert [permutation[i] for i in permutation] == list(range(len(names)))
    assert len(skeleton.KEYPOINT_NAMES) == 44


def test_growth_by_hand():
    assert [grown(progress, 0.5) for progress in (0, 0.25, 0.5, 1)] == [0, 0.5, 1, 1]
    assert [grown(progress, 1) for progress in (0, 0.25, 1)] == [0, 0.25, 1] and grown(0, 0) == 1
