"""Training: it learns, it refuses what it cannot use, and a kill at any moment changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from regressor import train as training
from regressor.config import AugmentConfig
from regressor.datasets.store import open_crops, write_crops
from regressor.train import train_regressor
from tokenizer.engine.checkpoint import load_state
from tokenizer.engine.errors import UserError
from tokenizer.engine.options import to_dict

OTHER_FIGURES = {"val_mpjpe_mm", "gradient_norm", "images_per_s", "data_wait"}


@pytest.fixture(scope="module")
def crops(crops_file):
    return open_crops(crops_file)


def other_crops(path, annotated_people, counts, **changes):
    with write_crops(path, 32, counts, {}) as writer:
        for split, count in counts.items():
            writer.append(split, {k: v.numpy() for k, v in {**annotated_people(count, seed=7), **changes}.items()})
    return open_crops(path)


def weights_of(path):
    return load_state(path)["network"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_leaves_a_run_folder(tmp_path, crops, tokenizer, tiny_config, open_body):
    seen = []
    config = replace(
        tiny_config, optim=replace(tiny_config.optim, steps=60, batch=12, lr=1e-2), checkpoint_every=60,
        augment=AugmentConfig(rotate_deg=0, scale=0, shift=0, colour=0, noise=0),
    )  # fmt: skip
    path = train_regressor(crops, tokenizer, tmp_path / "run", config, open_body,
                           progress=lambda *figures: seen.append(figures))  # fmt: skip
    assert path == tmp_path / "run" / "regressor.pt" and [step for step, _, _ in seen] == list(range(1, 61))
    first, last = (
        sum(figures[name] for name in figures.keys() - OTHER_FIGURES) for _, _, figures in (seen[0], seen[-1])
    )
    assert last < 0.8 * first
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"val_mpjpe_mm", "val_pa_mpjpe_mm", "val_orientation_deg"} <= records[-1].keys()
    state = load_state(path)
    assert state["tokenizer"] == tokenizer.digest and state["provenance"]["crops_attributes"] == {"domain": "suit"}
    best = min(record["val_mpjpe_mm"] for record in records if "val_mpjpe_mm" in record)
    assert state["provenance"]["metrics"]["val_mpjpe_mm"] == best


def test_a_resumed_run_ends_bit_identical(tmp_path, crops, tokenizer, tiny_config, open_body):
    whole = train_regressor(crops, tokenizer, tmp_path / "whole", tiny_config, open_body)

    class Stop(Exception):
        pass

    def stop(step, *_):
        if step == 5:
            raise Stop

    with pytest.raises(Stop):
        train_regressor(crops, tokenizer, tmp_path / "broken", tiny_config, open_body, progress=stop)
    steps = []
    resumed = train_regressor(crops, tokenizer, tmp_path / "broken", tiny_config, open_body, resume=True,
                              progress=lambda step, *_: steps.append(step))  # fmt: skip
    assert steps == [5, 6, 7, 8], "from the checkpoint after step 4"
    assert same(weights_of(whole), weights_of(resumed))


def test_time_budget_fixes_the_steps_once(tmp_path, crops, tokenizer, tiny_config, open_body, monkeypatch):
    monkeypatch.setattr(training, "_PACE_STEPS", 4)
    config = replace(tiny_config, optim=replace(tiny_config.optim, steps=100_000, budget_s=0.5))
    path = train_regressor(crops, tokenizer, tmp_path / "run", config, open_body)
    settings = load_state(path)["config"]["optim"]
    assert 5 <= settings["steps"] < 2000 and settings["budget_s"] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["regressor"]["optim"] == settings


def test_what_cannot_be_trained_on_is_refused(tmp_path, crops, tokenizer, tiny_config, open_body, annotated_people):
    def refused(says, store, config=tiny_config, run="run", resume=False):
        with pytest.raises(UserError, match=says):
            train_regressor(store, tokenizer, tmp_path / run, config, open_body, resume=resume)

    refused("No run at", crops, resume=True)
    short = replace(tiny_config, optim=replace(tiny_config.optim, steps=1))
    train_regressor(crops, tokenizer, tmp_path / "run", short, open_body)
    refused("already holds a run", crops)
    others = other_crops(tmp_path / "others.h5", annotated_people, {"train": 4})
    refused("other crops", others, resume=True)
    refused("4 train and 0 val", others, run="none")
    uneven = replace(tiny_config, data=replace(tiny_config.data, lanes=3))
    refused("4 images, 3 lanes", crops, uneven, run="lanes")
    refused("32 px", crops, replace(tiny_config, image_size=64), run="large")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**settings, "tokenizer": "0" * 64}))
    refused("another tokenizer", crops, resume=True)


def test_a_loss_that_is_no_number_stops_and_keeps_the_batch(
    tmp_path, tokenizer, tiny_config, open_body, annotated_people
):
    nothing = torch.full((6, 10), float("nan"))
    crops = other_crops(tmp_path / "nan.h5", annotated_people, {"train": 6, "val": 6}, betas=nothing)
    with pytest.raises(UserError, match=r"no number at step 0.*nan_batch"):
        train_regressor(crops, tokenizer, tmp_path / "run", tiny_config, open_body)
    assert load_state(tmp_path / "run" / "nan_batch.pt")["image"].shape == (4, 3, 32, 32)


def test_kill_dash_nine_and_resume(
    tmp_path, crops, tokenizer, tokenizer_file, tiny_config, open_body, killed_after_a_checkpoint
):
    """The process dies without a word, at whatever instant; the resumed run ends with the same weights."""
    config = replace(tiny_config, optim=replace(tiny_config.optim, steps=40), device="cpu")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    killed_after_a_checkpoint("regressor.cli", [
        "train", crops.path, "--tokenizer", tokenizer_file, "--run", tmp_path / "killed", "--config",
        tmp_path / "config.json", "--device", "cpu",
    ], tmp_path / "killed")  # fmt: skip
    assert not (tmp_path / "killed" / "regressor.pt").exists()
    resumed = train_regressor(crops, tokenizer, tmp_path / "killed", config, open_body, resume=True)
    whole = train_regressor(crops, tokenizer, tmp_path / "whole", config, open_body)
    assert same(weights_of(resumed), weights_of(whole))


def test_the_suit_is_never_mirrored(tmp_path, crops, tokenizer, tiny_config, open_body, annotated_people):
    """Its sides differ; what is trained on is written down. Other people are mirrored as configured."""
    config = replace(tiny_config, augment=AugmentConfig(flip=0.5), optim=replace(tiny_config.optim, steps=1))
    others = other_crops(tmp_path / "crops.h5", annotated_people, {"train": 4, "val": 2})
    for name, store, flip in (("suit", crops, 0.0), ("others", others, 0.5)):
        path = train_regressor(store, tokenizer, tmp_path / name, config, open_body)
        assert load_state(path)["config"]["augment"]["flip"] == flip
