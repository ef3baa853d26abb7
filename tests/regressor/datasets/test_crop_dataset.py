"""One protocol for crops however they are stored: a crop store and shards made of it answer alike."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import CropDataset, check_body_model, open_crops
from regressor.datasets.crop_store import CropStore, write_crops
from regressor.datasets.cropping import Framing
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.shards import ShardStore
from regressor.evaluation.scoring_bodies import load_scoring_bodies
from tokenizer.engine.errors import UserError

MEMBERS = [name for name in vars(CropDataset) if not name.startswith("_")]
ATTRIBUTES = ["path", "size", "digest", "attributes", "remote", "note"]


@pytest.fixture(scope="module")
def both(tmp_path_factory, annotated_people):
    """The same people as a crop store and as shards of at most three."""
    folder = tmp_path_factory.mktemp("crops")
    with write_crops(folder / "crops.h5", 32, {"train": 7, "val": 2}, {}) as writer:
        for split, count in (("train", 7), ("val", 2)):
            people = annotated_people(count, seed=count)
            writer.append(split, {name: values.numpy() for name, values in people.items()})
    reading, storing = ReadOptions(people=3), StoreOptions(quality=100)
    prepare_shards("synthetic", [folder / "crops.h5"], folder / "shards", reading, storing, workers=1)
    return open_crops(folder / "crops.h5"), open_crops(folder / "shards")


def camera_of_crop(sample):
    """Focal lengths and principal point (B,4) in units of the box: the same in whatever pixels an image is stored."""
    side, K = sample["box"][:, 2:] - sample["box"][:, :2], sample["K"]
    return torch.cat([K[:, [0, 1], [0, 1]] / side, (K[:, :2, 2] - sample["box"][:, :2]) / side], 1)


def test_a_file_is_a_crop_store_and_a_folder_is_shards_and_neither_is_the_other(both):
    store, shards = both
    assert isinstance(store, CropStore) and isinstance(shards, ShardStore)
    assert not isinstance(shards, CropStore) and not isinstance(store, ShardStore)
    for crops in both:
        assert [name for name in (*MEMBERS, *ATTRIBUTES) if not hasattr(crops, name)] == []


def test_both_hold_the_same_people(both):
    store, shards = both
    assert sorted(store.splits) == sorted(shards.splits) == ["train", "val"]
    for split, count in (("train", 7), ("val", 2)):
        assert store.count(split) == shards.count(split) == count
        assert sum(store.part_counts(split)) == sum(shards.part_counts(split)) == count
    assert store.part_counts("train") == [7] and shards.part_counts("train") == [3, 3, 1]
    rows = np.array([6, 0, 3])
    one, other = store.sample(rows, "train"), shards.at_size(32).sample(rows, "train")
    for name in ("betas", "global_orient", "body_pose", "translation", "keypoints_2d"):
        assert torch.allclose(one[name], other[name], atol=1e-4), name
    assert torch.allclose(camera_of_crop(one), camera_of_crop(other), atol=1e-4), "pixels differ, the view does not"
    assert one["image"].shape == other["image"].shape == (3, 3, 32, 32)


def test_annotation_and_people_are_those_of_sample_without_images(both):
    for crops in both:
        rows = np.array([4, 1])
        sample, annotation = crops.sample(rows, "train"), crops.annotation(rows, "train")
        assert annotation["image"].shape == (2, 3, 0, 0)
        people, picture = crops.people(rows, "train")
        for name in ("betas", "keypoints_3d", "box"):
            assert torch.equal(sample[name], annotation[name]) and torch.equal(sample[name], people[name]), name
        framing = Framing(tuple(sample["box"][1].tolist()))
        assert np.array_equal(picture(1, framing).transpose(2, 0, 1), sample["image"][1].numpy())


def test_only_leaves_the_other_splits_out(both):
    for crops in both:
        val = crops.only("val")
        assert val.splits == ["val"] and val.count("val") == 2
        with pytest.raises(UserError, match="has no split 'train'"):
            val.count("train")


def test_unknown_splits_and_rows_are_refused_alike(both):
    for crops in both:
        calls = (crops.count, crops.part_counts, crops.sequences, crops.only)
        for call in calls:
            with pytest.raises(UserError, match="has no split 'dev'"):
                call("dev")
        for read in (crops.sample, crops.annotation, crops.people):
            with pytest.raises(UserError, match="has no split 'dev'"):
                read(np.array([0]), "dev")
            with pytest.raises(UserError):
                read(np.array([7]), "train")


def test_crops_of_smpl_bodies_on_the_open_body_give_a_warning(open_body):
    bedlam = SimpleNamespace(path="bedlam", attributes={"format": "bedlam"})
    coco = SimpleNamespace(path="coco", attributes={"format": "coco"})
    assert check_body_model([coco], open_body) is None
    warning = check_body_model([coco, bedlam], open_body)
    assert warning.startswith("bedlam annotate SMPL's bodies") and "Give SMPL's neutral model" in warning
    assert check_body_model([bedlam], SimpleNamespace(kind="smpl")) is None


def test_training_smpl_annotation_on_the_open_body_is_told(models, open_body, crops_file):
    store = open_crops(crops_file)
    assert check_body_model([store], open_body) is None
    store.attributes["format"] = "bedlam"
    assert "Give SMPL's neutral model" in check_body_model([store], open_body)
    assert check_body_model([store], load_scoring_bodies(models).predicted) is None
