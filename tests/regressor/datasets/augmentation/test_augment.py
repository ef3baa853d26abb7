"""Augmented crops stay exactly true: pixels, keypoints, rotations, translation, box."""

from __future__ import annotations

import math

import numpy as np
import torch

from regressor.config import AugmentConfig
from regressor.datasets.augmentation.augment import augment, reframe
from regressor.geometry.camera import project_to_crop
from tokenizer.body.skeleton import index

REST = torch.eye(3).expand(21, 3, 3)
SEEDS = [(3, number) for number in range(4)]


def pelvis_of(body, sample):
    return body.joints(REST, betas=sample["betas"])[:, index("pelvis")]


def settings(count):
    roll = torch.linspace(-0.8, 0.9, count)
    return roll, torch.linspace(0.8, 1.3, count), torch.linspace(-0.1, 0.12, 2 * count).view(count, 2)


def test_annotation_is_that_of_a_rolled_camera(sample, open_body):
    before = {name: values.clone() for name, values in sample.items()}
    out = reframe(sample, *settings(4), pelvis_of(open_body, sample))  # type: ignore[call-arg]
    assert all(torch.equal(values, before[name]) for name, values in sample.items()), "nothing given is changed"
    keypoints = open_body.keypoints(
        out["body_pose"], root=out["global_orient"], betas=out["betas"], translation=out["translation"]
    )
    assert torch.allclose(keypoints, out["keypoints_3d"][..., :3], atol=1e-5)
    assert torch.allclose(project_to_crop(keypoints, out["box"], out["K"]), out["keypoints_2d"][..., :2], atol=1e-4)
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
    out = reframe(sample, *settings(4), pelvis_of(open_body, sample))  # type: ignore[call-arg]
    weight = out["image"][:, 0].double()
    total = weight.sum((1, 2))
    centroids = torch.stack([(weight * columns).sum((1, 2)) / total, (weight * rows).sum((1, 2)) / total], -1)
    assert torch.allclose(centroids.float(), out["keypoints_2d"][:, 0, :2], atol=0.003)


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
    same = augment(sample, nothing, SEEDS, pelvis)
    assert torch.equal(same["image"], sample["image"])
    for name, values in sample.items():
        assert torch.allclose(same[name].double(), values.double(), rtol=1e-5, atol=1e-5), name
    first, second = (augment(sample, AugmentConfig(), SEEDS, pelvis) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["image"], sample["image"]) and first["image"].dtype == torch.uint8


def test_a_sample_is_changed_alike_whatever_is_beside_it(sample, open_body):
    config = AugmentConfig(flip=0.5, extreme=0.5, patch=0.5, rotate_share=0.6)
    pelvis = pelvis_of(open_body, sample)
    together = augment(sample, config, SEEDS, pelvis)
    for i in range(4):
        alone = augment({k: v[i : i + 1] for k, v in sample.items()}, config, SEEDS[i : i + 1], pelvis[i : i + 1])
        assert all(torch.equal(alone[name][0], together[name][i]) for name in alone)
    moved = augment(sample, config, SEEDS[::-1], pelvis)
    assert not torch.equal(moved["image"], together["image"])


def test_crops_are_taken_from_where_they_are_said_to_be(sample, open_body):
    """The frame that ``picture`` is asked for is the one the annotation moves to."""
    asked = []

    def picture(number, framing):
        asked.append((number, framing))
        return np.full((8, 8, 3), 10 * number, np.uint8)

    config = AugmentConfig(colour=0, noise=0, flip=0.5, extreme=0.3)
    empty = sample | {"image": torch.zeros(4, 3, 0, 0, dtype=torch.uint8)}
    pelvis = pelvis_of(open_body, sample)
    out, usual = augment(empty, config, SEEDS, pelvis, picture), augment(sample, config, SEEDS, pelvis)
    assert out["image"].shape == (4, 3, 8, 8) and (out["image"] == 10 * torch.arange(4).view(4, 1, 1, 1)).all()
    assert all(torch.equal(out[name], usual[name]) for name in out if name != "image")
    for number, framing in asked:
        crop = torch.tensor([[-0.5, -0.5, 1], [7.5, 7.5, 1], [7.5, -0.5, 1]]).double()
        corners = torch.from_numpy(framing.image_from_crop(8)) @ crop.T + 0.5
        side = (corners[:, 2] - corners[:, 1]).norm()
        x0, _, x1, _ = out["box"][number].double()
        assert torch.isclose(side, x1 - x0, rtol=1e-5), "the new box is as large as what is shown"


def test_noise_is_normal_of_its_strength_and_no_two_samples_have_the_same(sample, open_body):
    grey = sample | {"image": torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)}
    config = AugmentConfig(rotate_deg=0, scale=0, shift=0, colour=0, noise=0.05)
    noise = augment(grey, config, SEEDS, pelvis_of(open_body, sample))["image"].double() - 128
    spread = noise.flatten(1).std(1)
    assert (spread > 0).all() and (spread < 0.05 * 255 * 1.05).all()
    assert (noise.flatten(1).mean(1).abs() < 0.1 * spread + 0.1).all()
    strongest = noise[spread.argmax()] / spread.max()
    assert (
        0.66 < float((strongest.abs() < 1).double().mean()) < 0.71
        and float((strongest.abs() > 2).double().mean()) > 0.03
    )
    other = torch.corrcoef(noise.flatten(1))
    assert (other - torch.eye(4)).abs().max() < 0.1
