"""Training of the tokenizer: it learns, resumes to the last bit after a kill, and refuses what it cannot train on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance
from tokenizer.config import AugmentConfig, LossConfig, NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.config import to_dict
from tokenizer.engine.errors import UserError
from tokenizer.engine.training.run import RunOptions
from tokenizer.evaluation.reconstruction import evaluate_tokenizer, token_stability
from tokenizer.frozen import load_tokenizer
from tokenizer.mocap.store import PoseStoreWriter, open_store
from tokenizer.training.augmentation import augment, disturb, visible_joints
from tokenizer.training.train import export_run, train_tokenizer

SMALL = TokenizerConfig(
    network=NetworkConfig(width=32, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4, 4), groups=8, layers=2),
    optim=OptimConfig(steps=60, batch=64, lr=3e-3, warmup=40),
    precision="fp32",
    validate_every=30,
    checkpoint_every=10,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Poses on a 6-dimensional curved sheet: there is something to learn."""
    path = tmp_path_factory.mktemp("poses") / "poses.h5"
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(6, 63)) * 0.25
    with PoseStoreWriter(path, "test") as writer:
        for split, count in (("train", 2000), ("val", 300)):
            poses = np.tanh(draw.normal(size=(count, 6)) @ directions)
            writer.add(split, split, poses.reshape(-1, 21, 3), np.zeros(10), fps=30, licence="none")
    return open_store(path)


def test_training_learns_exports_and_logs(store, tmp_path, open_body):
    optim, loss = replace(SMALL.optim, steps=400), LossConfig(vertices_weight=5.0, num_vertices=16)
    config = replace(SMALL, optim=optim, loss=loss)
    artifact = train_tokenizer(store, tmp_path / "run", config, open_body)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    validated = [r["val_mpjpe_mm"] for r in records if "val_mpjpe_mm" in r]
    assert validated[-1] < 0.5 * validated[0]
    frozen = load_tokenizer(artifact)
    report = evaluate_tokenizer(frozen, torch.from_numpy(store.poses("val")), open_body)
    assert report["mpjpe_mm"] == pytest.approx(frozen.provenance["metrics"]["mpjpe_mm"], rel=1e-3)
    assert report["poses"] == 300 and report["mpjpe_p95_mm"] > report["mpjpe_mm"] > 0
    assert frozen.provenance["poses_digest"] == store.digest
    with pytest.raises(UserError, match="already holds a run"):
        train_tokenizer(store, tmp_path / "run", config, open_body)


def test_a_run_goes_on_with_the_very_poses_it_began_with(store, tmp_path, open_body):
    """Poses that were edited in place kept the digest of the store, and were trained on."""
    path = tmp_path / "poses.h5"
    shutil.copy(store.path, path)
    config = replace(SMALL, optim=replace(SMALL.optim, steps=20), validate_every=10)

    def stop(step, steps, figures):
        if step == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(open_store(path), tmp_path / "run", config, open_body, progress=stop)
    files = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    for row in (3, 2100):  # of train, of val
        with h5py.File(path, "r+") as file:
            before = file["pose_body"][row]
            file["pose_body"][row] = 0.5
        with pytest.raises(UserError, match="it was edited"):
            train_tokenizer(open_store(path), tmp_path / "run", config, open_body, options=RunOptions(resume=True))
        with pytest.raises(UserError, match="it was edited"):
            train_tokenizer(open_store(path), tmp_path / "new", config, open_body)
        with h5py.File(path, "r+") as file:
            file["pose_body"][row] = before
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == files
    assert not (tmp_path / "new").exists()
    train_tokenizer(open_store(path), tmp_path / "run", config, open_body, options=RunOptions(resume=True))


@pytest.mark.parametrize("kind", ["fsq", "ema_vq"])
def test_an_interrupted_run_ends_bit_identical(store, tmp_path, open_body, kind):
    quantizer = SMALL.quantizer if kind == "fsq" else QuantizerConfig(kind="ema_vq", num_tokens=4, num_codes=32, dim=4)
    config = replace(SMALL, quantizer=quantizer, augment=AugmentConfig(swap=0.5, noise_deg=3, mask=0.3))
    whole = train_tokenizer(store, tmp_path / "whole", config, open_body)

    def stop(step, steps, figures):
        if step == 47:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(store, tmp_path / "cut", config, open_body, progress=stop)
    cut = train_tokenizer(store, tmp_path / "cut", SMALL, open_body, options=RunOptions(resume=True))
    assert load_tokenizer(cut).digest == load_tokenizer(whole).digest
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    steps = [[json.loads(line)["step"] for line in text] for text in lines]
    assert steps[0] == steps[1]


def test_kill_dash_nine_and_resume(store, tmp_path, open_body, killed_after_a_checkpoint):
    """The process dies without a word, at whatever instant; the resumed run ends with the same weights."""
    (tmp_path / "config.json").write_text(json.dumps(to_dict(SMALL)))
    killed_after_a_checkpoint(
        "tokenizer.commands.cli",
        [
            "train",
            store.path,
            "--run",
            tmp_path / "killed",
            "--config",
            tmp_path / "config.json",
            "--device",
            "cpu",
        ],
        tmp_path / "killed",
    )
    assert not (tmp_path / "killed" / "tokenizer.h5").exists()
    resumed = train_tokenizer(store, tmp_path / "killed", SMALL, open_body, options=RunOptions(resume=True))
    whole = train_tokenizer(store, tmp_path / "whole", replace(SMALL, device="cpu"), open_body)
    assert load_tokenizer(resumed).digest == load_tokenizer(whole).digest


def test_noise_and_masking_really_act():
    rotations = axis_angle_to_matrix(0.3 * torch.randn(200, 21, 3))
    config = AugmentConfig(mirror=0, noise_deg=5.0, noise_share=0.5, mask=0.4, mask_share=0.5)
    generator = torch.Generator().manual_seed(0)
    seen, visible = disturb(rotations, config, generator), visible_joints(200, config, generator)
    moved = geodesic_distance(seen, rotations).mean(1).rad2deg()
    noisy = moved > 0.1
    assert 70 < int(noisy.sum()) < 130 and float(moved[noisy].mean()) == pytest.approx(4.6, abs=0.3)
    hidden = (~visible).float().mean(1)
    assert 70 < int((hidden > 0).sum()) < 130 and float(hidden[hidden > 0].mean()) == pytest.approx(0.4, abs=0.05)
    off = AugmentConfig(noise_deg=0, mask=0)
    assert disturb(rotations, off, generator) is rotations and visible_joints(200, off, generator) is None


def test_a_masked_joint_cannot_reach_the_encoder(store):
    from tokenizer.network.model import build_tokenizer

    model = build_tokenizer(SMALL.network, SMALL.quantizer)
    rotations = axis_angle_to_matrix(0.3 * torch.randn(1, 21, 3))
    visible = torch.ones(1, 21, dtype=torch.bool)
    visible[0, 4] = False
    changed = rotations.clone()
    changed[0, 4] = axis_angle_to_matrix(torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(model.latents(rotations, visible), model.latents(changed, visible))
    assert not torch.equal(model.latents(rotations), model.latents(changed))


def test_swapped_poses_are_made_of_limbs_of_the_batch():
    rotations = axis_angle_to_matrix(torch.randn(40, 21, 3))
    new = augment(rotations, AugmentConfig(mirror=0, swap=1.0), torch.Generator().manual_seed(0))
    changed = (new != rotations).flatten(2).any(-1)
    assert changed.any() and not changed[:, [2, 5, 8, 11, 14]].any(), "the trunk stays"
    assert all(any(torch.equal(new[i, j], rotations[k, j]) for k in range(40)) for i, j in changed.nonzero())
    visible = torch.ones(40, 21, dtype=torch.bool)
    visible[::2, 3] = False
    kept = augment(rotations, AugmentConfig(mirror=0, swap=1.0), torch.Generator().manual_seed(0), visible)
    assert torch.equal(kept[::2], rotations[::2]) and not torch.equal(kept[1::2], rotations[1::2])


def test_stability_counts_unchanged_ids(store, tmp_path, open_body):
    train_tokenizer(store, tmp_path / "run", replace(SMALL, optim=replace(SMALL.optim, steps=150)), open_body)
    frozen = load_tokenizer(tmp_path / "run" / "tokenizer.h5")
    poses = torch.from_numpy(store.poses("val"))
    kept = [float(token_stability(frozen, poses, degrees).mean()) for degrees in (0.0, 1.0, 8.0)]
    assert kept[0] == 1.0 > kept[1] > kept[2]


def test_a_loss_that_is_no_number_stops_and_saves_the_batch(store, tmp_path, open_body):
    config = replace(SMALL, optim=replace(SMALL.optim, lr=1e30, warmup=0, clip=1e30))
    with pytest.raises(UserError, match="Non-finite loss or gradient at step"):
        train_tokenizer(store, tmp_path / "run", config, open_body)
    saved = torch.load(tmp_path / "run" / "nan_batch.pt", weights_only=True)
    assert saved["poses"].shape == (64, 21, 3)


def test_wrong_stores_and_runs_get_words(store, tmp_path, open_body):
    with PoseStoreWriter(tmp_path / "one.h5", "test") as writer:
        writer.add("a", "train", np.zeros((5, 21, 3)), np.zeros(10), fps=30, licence="none")
    with pytest.raises(UserError, match="5 train and 0 val"):
        train_tokenizer(open_store(tmp_path / "one.h5"), tmp_path / "run", SMALL, open_body)
    train_tokenizer(store, tmp_path / "other", replace(SMALL, optim=replace(SMALL.optim, steps=10)), open_body)
    with pytest.raises(UserError, match="trained on other poses"):
        train_tokenizer(
            open_store(tmp_path / "one.h5"), tmp_path / "other", SMALL, open_body, options=RunOptions(resume=True)
        )
    with pytest.raises(UserError, match="No run"):
        train_tokenizer(store, tmp_path / "nowhere", SMALL, open_body, options=RunOptions(resume=True))
    with pytest.raises(UserError, match="Convolutions need another quantizer"):
        network = NetworkConfig(kind="conv", width=8)
        train_tokenizer(store, tmp_path / "new" / "run", replace(SMALL, network=network), open_body)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.h5", "other"], "a refusal leaves nothing behind"
    export_run(tmp_path / "other", Path(tmp_path / "again.h5"))
    assert load_tokenizer(tmp_path / "again.h5").digest == load_tokenizer(tmp_path / "other" / "tokenizer.h5").digest
