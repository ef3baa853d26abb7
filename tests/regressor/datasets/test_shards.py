"""Folders of shards: crops at any size; lost, changed and damaged shards are named."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from image_data_sets import smooth_image

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.cropping import Framing, crop_stored
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.shard_file import encode_person
from tokenizer.engine.errors import UserError


def prepare(path, out, name="evaluation-npz", *, images=None, workers=1, storing=None, **reading):
    reading = {"split": "test", "images": images, **reading}
    return prepare_shards(name, [path], out, ReadOptions(**reading), storing or StoreOptions(), workers=workers)


@pytest.mark.parametrize("size", [16, 50, 100, 160])
@pytest.mark.parametrize("box", [(60.0, 35.0, 140.0, 115.0), (40.3, 20.6, 90.3, 70.6), (-30.0, -20.0, 50.0, 60.0)])
def test_crops_show_what_their_box_says_at_any_size(box, size):
    box = np.array(box)
    row = encode_person(smooth_image(), box, margin=1.4, pixels=64, quality=100)
    crop = crop_stored(row["jpeg"], row["stored"], Framing(tuple(box)), size).astype(float)
    x, y = (low + (box[2] - box[0]) / size * (np.arange(size) + 0.5) for low in box[:2])
    right, below = x > 4, y > 4  # of the image's edge; what lies beyond shows the edge
    error = crop[below][:, right, :2] - np.stack(np.meshgrid(x[right], y[below]), -1)
    assert np.abs(error).max() < 5, "as JPEG keeps colours"
    assert np.abs(error.mean((0, 1))).max() < 0.3, "no shift"


def test_a_shard_lost_changed_or_damaged_between_two_epochs_is_told(threedpw, tmp_path):
    path, _ = threedpw
    out = tmp_path / "out"
    prepare(path, out, images=tmp_path / "3DPW", people=2)
    store = open_crops(out)
    with h5py.File(out / "test-00000.h5", "a") as file:
        del file["betas"]
    with pytest.raises(UserError, match=r"misshapen, betas.*prepare"):
        store.sample(np.array([0]), "test")
    assert len(store.sample(np.array([3, 4]), "test")["image"]) == 2, "the others are as they were"
    (out / "test-00000.h5").write_bytes((out / "test-00001.h5").read_bytes())
    with pytest.raises(UserError, match="was changed since"):
        store.sample(np.array([0]), "test")
    (out / "test-00000.h5").unlink()
    with pytest.raises(UserError, match=r"No shard at.*prepare.* again"):
        store.sample(np.array([0]), "test")
    with pytest.raises(UserError, match="out of range"):
        store.sample(np.array([5]), "test")
    with pytest.raises(UserError, match="no split 'train'"):
        store.count("train")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"format_version": 9},
        {"shards": []},
        {"shards": [{"file": "a"}]},
        {"attributes": {}},
        {"shards": [{"file": "../a.h5", "split": "test", "count": 1, "digest": "", "sequences": [["", 1]]}]},
    ],
)
def test_a_damaged_index_is_one_message(threedpw, tmp_path, change):
    path, _ = threedpw
    prepare(path, tmp_path / "out", images=tmp_path / "3DPW")
    index = tmp_path / "out" / "shards.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(UserError, match=r"shards\.json|newer version"):
        open_crops(tmp_path / "out")
