"""Evaluation npz: boxes and bodies come back, units are told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.geometry.camera import assumed_intrinsics
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import UserError


def prepare(path, out, name="evaluation-npz", *, images=None, workers=1, storing=None, **reading):
    reading = {"split": "test", "images": images, **reading}
    return prepare_shards(name, [path], out, ReadOptions(**reading), storing or StoreOptions(), workers=workers)


def test_what_an_evaluation_npz_says_comes_back(threedpw, tmp_path):
    path, arrays = threedpw
    report = prepare(path, tmp_path / "out", images=tmp_path / "3DPW", people=2)
    assert (report.people, report.photos, report.shards, report.broken) == ({"test": 5}, 4, 3, [])
    store = open_crops(tmp_path / "out")
    assert store.sequences("test") == ["a", "a", "a", "b", "b"]
    assert store.attributes["scale_unit"] == "3dpw_test.npz: pixels"
    order = np.array([4, 0, 0, 2])
    sample = store.at_size(40).sample(order, "test")
    assert sample["image"].shape == (4, 3, 40, 40) and sample["image"].dtype == torch.uint8
    pose = torch.from_numpy(arrays["body_pose"][order]).float()
    torch.testing.assert_close(sample["global_orient"], axis_angle_to_matrix(pose[:, :3]))
    torch.testing.assert_close(sample["body_pose"], axis_angle_to_matrix(pose[:, 3:].view(4, 23, 3)))
    torch.testing.assert_close(sample["betas"], torch.from_numpy(arrays["betas"][order]).float())
    assert sample["has_betas"].all() and sample["has_body_pose"].all() and sample["has_global_orient"].all()
    assert sample["gender"].tolist() == [2, 2, 2, 2] and sample["gender"].dtype == torch.int64
    assert torch.equal(sample["box"], torch.tensor([[60.0, 35, 140, 115]]).expand(4, 4))
    assert torch.equal(sample["K"][0], assumed_intrinsics(200, 150))
    # Keypoints in crop units: the middle of the box; those without confidence say nothing.
    assert sample["keypoints_2d"][0, 0].tolist() == [0, 0, 1] and not sample["keypoints_2d"][:, 25:].any()
    torch.testing.assert_close(
        sample["keypoints_3d"][:, 25:].double(),
        torch.from_numpy(arrays["extra_keypoints_3d"][order]),
        rtol=1e-6,
        atol=1e-6,
    )
    # Pixel (i, j) of a crop of 40 shows the photograph at box + 2 (i + ½): red is x, green is y.
    annotation = store.annotation(order, "test")
    assert annotation.pop("image").shape == (4, 3, 0, 0)
    assert all(torch.equal(values, sample[name]) for name, values in annotation.items())
    centres = 2 * (torch.arange(40) + 0.5)
    assert (sample["image"][0, 0].float() - (60 + centres)).abs().max() <= 3
    assert (sample["image"][0, 1].float() - (35 + centres)[:, None]).abs().max() <= 3


def test_units_of_boxes_are_told_apart_or_told(threedpw, tmp_path):
    path, arrays = threedpw
    np.savez(path, **{**arrays, "scale": arrays["scale"] / 200})
    prepare(path, tmp_path / "auto", images=tmp_path / "3DPW")
    assert open_crops(tmp_path / "auto").attributes["scale_unit"] == "3dpw_test.npz: pixels/200"
    assert open_crops(tmp_path / "auto").sample(np.array([0]), "test")["box"].tolist() == [[60, 35, 140, 115]]
    with pytest.raises(UserError, match="no area"):
        prepare(path, tmp_path / "told", images=tmp_path / "3DPW", scale_unit="pixels")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body_keypoints_2d": np.zeros((5, 24, 3))}, r"body_keypoints_2d does not fit.*\(5, 25, 3\)"),
        ({"keypoints_2d": np.zeros((5, 17, 3))}, r"keypoints_2d does not fit"),
        ({"center": np.zeros((4, 2))}, "center does not fit 5 images"),
        ({"center": None}, "no center"),
        ({"imgname": np.array([b"a", None, 1, 2, 3], dtype=object)}, "pickled objects"),
    ],
)
def test_npz_that_do_not_fit_are_one_message(threedpw, tmp_path, change, message):
    path, arrays = threedpw
    np.savez(path, **{name: value for name, value in {**arrays, **change}.items() if value is not None})
    with pytest.raises(UserError, match=message):
        prepare(path, tmp_path / "out")
