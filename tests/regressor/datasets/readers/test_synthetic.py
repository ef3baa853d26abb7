"""Crop stores of synthetic people as shards: exact, and trained on."""

from __future__ import annotations

import numpy as np
import torch

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.geometry.camera import project_to_crop


def prepare(name, sources, out, *, split="train", **reading):
    options = ReadOptions(split=split, **reading)
    return prepare_shards(name, list(sources), out, options, StoreOptions(), workers=1)


def test_synthetic_crops_stay_exact(crops_file, tmp_path):
    report = prepare("synthetic", [crops_file], tmp_path / "out")
    assert report.people == {"train": 12, "val": 5, "test": 6}
    before = open_crops(crops_file).sample(np.arange(5), "val")
    after = open_crops(tmp_path / "out").at_size(32).sample(np.arange(5), "val")
    for name in ("keypoints_2d", "keypoints_3d", "global_orient", "body_pose", "betas", "translation"):
        torch.testing.assert_close(after[name], before[name], atol=1e-5, rtol=1e-5, msg=name)
    seen = project_to_crop(after["keypoints_3d"][..., :3], after["box"], after["K"])
    torch.testing.assert_close(after["keypoints_2d"][..., :2], seen, atol=1e-4, rtol=0)


def test_training_reads_shards(crops_file, tmp_path, tokenizer, tiny_config, open_body):
    from regressor.training.train import train_regressor

    prepare("synthetic", [crops_file], tmp_path / "out")
    store = open_crops(tmp_path / "out")
    assert store.size == 256
    exported = train_regressor(store, tokenizer, tmp_path / "run", tiny_config, open_body)
    assert exported.is_file()
