"""The whole way of training data: dots painted at keypoints are found in training crops where their annotation says."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from regressor.config import AugmentConfig, DataConfig
from regressor.datasets import prepare
from regressor.datasets.annotation import ImageRecord, ListedTask, Person, Reading, ReadOptions
from regressor.datasets.loader import Stream
from regressor.datasets.mixtures import open_mixture
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.geometry.camera import project_to_crop
from tokenizer.body.rotations import matrix_to_axis_angle
from tokenizer.body.skeleton import KEYPOINT_NAMES

NAMES = ("left_wrist", "right_wrist", "left_ankle", "right_ankle", "nose", "left_elbow")
MIRROR = {
    "left_wrist": "right_wrist",
    "right_wrist": "left_wrist",
    "left_ankle": "right_ankle",
    "right_ankle": "left_ankle",
    "nose": "nose",
    "left_elbow": "right_elbow",
}
PEOPLE, WIDTH, HEIGHT, GREY = 24, 400, 300, 40
EXTREME = AugmentConfig(rotate_deg=60, scale=0.4, shift=0.15, colour=0, noise=0, flip=0.5, extreme=0.4)


def principal_x(row):
    return 170 + 2.2 * row  # never in the middle: a mirror image tells by its own


@pytest.fixture(scope="module")
def painted(tmp_path_factory, annotated_people):
    """A folder of shards of people in photographs of a plain grey, each with a white dot at one keypoint, that of
    ``NAMES`` whose turn it is; the focal length tells which person it is."""
    people = annotated_people(PEOPLE, seed=3)
    photos = []
    for row in range(PEOPLE):
        K = np.array([[170 + 5 * row, 0, principal_x(row)], [0, 170 + 5 * row, 160 - row], [0, 0, 1]], np.float32)
        points = people["keypoints_3d"][row, :, :3].numpy() @ K.T
        points = points[:, :2] / points[:, 2:]
        image = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
        x, y = points[KEYPOINT_NAMES.index(NAMES[row % len(NAMES)])]
        if 8 < x < WIDTH - 8 and 8 < y < HEIGHT - 8:
            # Pixel i has its centre at i + 0.5; coordinates with 8 bits of fraction.
            cv2.circle(image, (round((x - 0.5) * 256), round((y - 0.5) * 256)), 3 * 256, (255,) * 3, -1, cv2.LINE_AA, 8)
        low, high = points.min(0), points.max(0)
        middle, side = (low + high) / 2, 1.2 * (high - low).max()
        photos.append(
            ImageRecord(
                f"{row}.png",
                image,
                (
                    Person(
                        np.concatenate([middle - side / 2, middle + side / 2]),
                        keypoints_2d=np.concatenate([points, np.ones((44, 1))], 1),
                        keypoints_3d=people["keypoints_3d"][row].numpy(),
                        global_orient=matrix_to_axis_angle(people["global_orient"][row]).numpy(),
                        body_pose=matrix_to_axis_angle(people["body_pose"][row]).numpy().reshape(-1),
                        betas=people["betas"][row].numpy(),
                        translation=people["translation"][row].numpy(),
                        K=K,
                    ),
                ),
            )
        )
    out = tmp_path_factory.mktemp("painted") / "dots"
    parts = [ListedTask(str(first), "train", tuple(photos[first : first + 6])) for first in range(0, PEOPLE, 6)]
    patch = pytest.MonkeyPatch()
    patch.setattr(prepare, "reader", lambda _: lambda *_: Reading(parts, {}))
    prepare_shards("painted", [], out, ReadOptions(), StoreOptions(quality=100), workers=1)
    patch.undo()
    return out


def dot(image):
    """Middle of the dot in an image (3,S,S), crop units; None where there is none, or the edge may cut it."""
    weight = (image.float().mean(0) - GREY - 12).clamp_min(0)
    rim = torch.ones_like(weight, dtype=torch.bool)
    rim[2:-2, 2:-2] = False
    if weight.sum() < 60 or weight[rim].any():
        return None
    size = len(weight)
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    return torch.stack([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("size", [48, 128, 224])
def test_dots_are_where_keypoints_are(painted, tiny_config, open_body, size):
    config = replace(
        tiny_config,
        augment=EXTREME,
        image_size=size,
        data=DataConfig(shuffle_buffer=2, rank_partitions=2),
        optim=replace(tiny_config.optim, batch=PEOPLE),
    )
    stream = Stream(open_mixture([str(painted)]).at_size(size), config, open_body, slice(0, PEOPLE))
    apart, mirrored = [], []
    for step in range(6):
        batch = stream[step]
        bodies = open_body.keypoints(
            batch["body_pose"], root=batch["global_orient"], betas=batch["betas"], translation=batch["translation"]
        )
        for row in range(PEOPLE):
            points, number = batch["keypoints_2d"][row, :, :2], round((float(batch["K"][row, 0, 0]) - 170) / 5)
            projected = project_to_crop(batch["keypoints_3d"][row, :, :3], batch["box"][row], batch["K"][row])
            assert torch.allclose(projected, points, atol=1e-4), "box, K and 3D keypoints agree with 2D"
            is_mirrored = abs(float(batch["K"][row, 0, 2]) - principal_x(number)) > 0.5
            astray = (bodies[row] - batch["keypoints_3d"][row, :, :3]).norm(dim=-1).max()
            assert astray < (0.03 if is_mirrored else 1e-4), "pose and translation agree; meshes are near symmetric"
            place = dot(batch["image"][row])
            if place is None:
                continue
            mirrored.append(is_mirrored)
            name = NAMES[number % len(NAMES)]
            name = MIRROR[name] if is_mirrored else name
            apart.append(float((points[KEYPOINT_NAMES.index(name)] - place).norm()))
    stored_pixel = 1 / 100  # of a crop; those of 48 px are coarser
    assert len(apart) > 60 and 15 < sum(mirrored) < len(mirrored) - 15
    assert max(apart) < 0.2 * max(1 / size, stored_pixel), "a fraction of a pixel"
    assert np.mean(apart) < 0.05 * max(1 / size, stored_pixel)
