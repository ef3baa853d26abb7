"""3DPW as released: bodies in camera axes, damaged sequences listed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_data_sets import (
    Hostile,
    sequence_of_3dpw,
    write_3dpw,
)
from scipy.spatial.transform import Rotation

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.readers.joint_orders import SMPL24
from regressor.geometry.camera import project_to_crop
from tokenizer.body.skeleton import keypoint_index
from tokenizer.engine.errors import UserError


def prepare(name, sources, out, *, split="train", **reading):
    options = ReadOptions(split=split, **reading)
    return prepare_shards(name, list(sources), out, options, StoreOptions(), workers=1)


def test_3dpw_in_camera_axes(tmp_path):
    content, seen, points = sequence_of_3dpw()
    content["campose_valid"][1][2] = 0
    content["cam_poses"][3] = 0  # not a rotation, but then nobody is valid there
    for person in (0, 1):
        content["campose_valid"][person][3] = 0
    content["poses2d"][0][1] = 0
    write_3dpw(tmp_path / "3DPW", content)
    report = prepare("3dpw", [tmp_path / "3DPW"], tmp_path / "out")
    assert report.people == {"test": 4} and not report.broken
    assert report.skipped == {"marked as invalid by 3DPW": 4}
    store = open_crops(tmp_path / "out")
    assert store.sequences("test") == ["walk_00"] * 4
    sample = store.sample(np.arange(4), "test")
    frames = [0, 0, 1, 2]  # people 0 and 1, person 1, person 0
    assert sample["gender"].tolist() == [2, 1, 1, 2]
    for row, frame in enumerate(frames):
        turn = content["cam_poses"][frame, :3, :3] @ Rotation.from_rotvec(content["poses"][0][frame, :3]).as_matrix()
        np.testing.assert_allclose(sample["global_orient"][row], turn, atol=1e-5)
        for name in ("left_knee", "right_wrist"):
            keypoint = sample["keypoints_3d"][row, keypoint_index(name)].numpy()
            np.testing.assert_allclose(keypoint, [*seen[frame, SMPL24.index(name)], 1], atol=1e-5)
        x = points[frame, 0][points[frame, 2] > 0]
        y = points[frame, 1][points[frame, 2] > 0]
        side = 1.2 * max(np.ptp(x), np.ptp(y))
        box = sample["box"][row].numpy()
        np.testing.assert_allclose(box[2:] - box[:2], side, rtol=1e-4)
        # The body stands where its camera sees its pelvis: rest pelvis + translation = the pelvis in camera axes.
        world = content["jointPositions"][0][frame, :3]
        rest = world - content["trans"][0][frame]
        np.testing.assert_allclose(sample["translation"][row].numpy() + rest, seen[frame, 0], atol=1e-5)
    known = sample["keypoints_2d"][..., 2] > 0
    both = known & (sample["keypoints_3d"][..., 3] > 0)
    projected = project_to_crop(sample["keypoints_3d"][..., :3], sample["box"], sample["K"])
    assert both.sum() == 4 * 13
    torch.testing.assert_close(sample["keypoints_2d"][..., :2][both], projected[both], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cam_poses": np.full((4, 4, 4), np.nan)}, "cam_poses is not finite"),
        ({"poses2d": [np.zeros((4, 18, 3))] * 2}, "poses2d has another shape"),
        ({"trans": [np.zeros((4, 3))]}, "has no trans"),
        ({"genders": ["m", "robot"]}, "unknown gender"),
        ({"poses": Hostile()}, "could run code"),
    ],
)
def test_3dpw_sequences_that_are_damaged_are_listed(tmp_path, change, message):
    content, _, _ = sequence_of_3dpw()
    write_3dpw(tmp_path / "3DPW", {**content, **change})
    with pytest.raises(UserError, match=f"Nobody was found.*{message}"):
        prepare("3dpw", [tmp_path / "3DPW"], tmp_path / "out")
