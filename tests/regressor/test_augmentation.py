"""Augmented crops stay exactly true: pixels, keypoints, rotations, translation, box."""

from __future__ import annotations

import math

import torch

from regressor.augmentation import augment, reframe
from regressor.camera import project_to_crop
from regressor.config import AugmentConfig
from tokenizer.body.skeleton import index

REST = torch.eye(3).expand(21, 3, 3)


def pelvis_of(body, sample):
    return body.joints(REST, betas=sample["betas"])[:, index("pelvis")]


def settings(count):
    roll = torch.linspace(-0.8, 0.9, count)
    return roll, torch.linspace(0.8, 1.3, count), torch.linspace(-0.1, 0.12, 2 * count).view(count, 2)


def test_annotation_is_that_of_a_rolled_camera(sample, open_body):
    before = {name: values.clone() for name, values in sample.items()}
    out = reframe(sample, *settings(4), pelvis_of(open_body, sample))
    assert all(torch.equal(values, before[name]) for name, values in sample.items()), "nothing given is changed"
    posed = open_body.keypoints(
        out["body_pose"], root=out["global_orient"], betas=out["betas"], translation=out["translation"]
    )
    assert torch.allclose(posed, out["keypoints_3d"][..., :3], atol=1e-5)
    assert torch.allclose(project_to_crop(posed, out["box"], out["K"]), out["keypoints_2d"][..., :2], atol=1e-4)
    assert torch.allclose(out["keypoints_3d"][..., 2], sample["keypoints_3d"][..., 2], atol=1e-5), "depths stay"
    size = out["box"][:, 2:] - out["box"][:, :2]
    assert torch.allclose(size[:, 0], size[:, 1], rtol=1e-5)


def test_pixels_move_with_the_keypoints(sample, open_body):
    """A bright dot painted at a keypoint of a dark crop is found where the keypoint went."""
    edge = 128
    sample["image"] = torch.zeros(4, 3, edge, edge, dtype=torch.uint8)
    place = torch.tensor([[-0.2, -0.1], [0.1, 0.2], [0.25, -0.2], [0.0, 0.1]])
    sample["keypoints_2d"][:, 0, :2] = place
    rows, columns = torch.meshgrid(*[(torch.arange(edge) + 0.5) / edge - 0.5] * 2, indexing="ij")
    for image, (x, y) in zip(sample["image"], place, strict=True):
        image[:] = (255 * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 0.02**2))).to(torch.uint8)
    out = reframe(sample, *settings(4), pelvis_of(open_body, sample))
    weight = out["image"][:, 0].double()
    total = weight.sum((1, 2))
    found = torch.stack([(weight * columns).sum((1, 2)) / total, (weight * rows).sum((1, 2)) / total], -1)
    assert torch.allclose(found.float(), out["keypoints_2d"][:, 0, :2], atol=0.003)


def test_golden_quarter_turn(sample, open_body):
    """A camera rolled so that the image turns clockwise by 90° sends the crop's top edge to its right edge."""
    sample["image"][:] = 0
    sample["image"][:, :, :4] = 200
    zero, one = torch.zeros(4), torch.ones(4)
    out = reframe(sample, zero + math.pi / 2, one, torch.zeros(4, 2), pelvis_of(open_body, sample))
    assert (out["image"][..., -4:] == 200).all() and not out["image"][..., :-4].any()
    x, y = sample["keypoints_2d"][..., 0], sample["keypoints_2d"][..., 1]
    assert torch.allclose(out["keypoints_2d"][..., :2], torch.stack([-y, x], -1), atol=1e-6)


def test_no_augmentation_changes_nothing_and_draws_repeat(sample, open_body):
    pelvis = pelvis_of(open_body, sample)
    nothing = AugmentConfig(rotate_deg=0, scale=0, shift=0, colour=0, noise=0)
    same = augment(sample, nothing, torch.Generator().manual_seed(0), pelvis)
    assert torch.equal(same["image"], sample["image"])
    for name, values in sample.items():
        assert torch.allclose(same[name].double(), values.double(), rtol=1e-5, atol=1e-5), name
    first, second = (augment(sample, AugmentConfig(), torch.Generator().manual_seed(3), pelvis) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["image"], sample["image"]) and first["image"].dtype == torch.uint8
