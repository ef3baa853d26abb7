"""Mirror, extreme crops, patches and their probabilities; equal to the recorded augmentations of the reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from augmented import ALL, close_to, pelvis_of, recorded
from reference_crop import reference_framing

from regressor.config import AugmentConfig, preset
from regressor.datasets.augmentation.augment import PARTS, augment, close_crops, cover, reframe
from regressor.datasets.augmentation.mirroring import mirror
from regressor.datasets.cropping import Framing, warp
from regressor.geometry.camera import project_to_crop
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.errors import UserError

NOTHING = AugmentConfig(rotate_deg=0, scale=0, shift=0, colour=0, noise=0)


def seeds(count, seed=0):
    return [(seed, number) for number in range(count)]


def draws(count, seed=0):
    return np.random.default_rng(seed).random((count, 4))


def recorded_sample(golden, name="plain"):
    """One sample of the recorded arrays; where its body stands is not recorded."""
    pose = axis_angle_to_matrix(torch.from_numpy(golden[f"{name}/body_pose"]).view(1, 23, 3))
    centre, side = torch.tensor(golden[f"{name}/center"]), float(golden[f"{name}/size"])
    box = torch.cat([centre + 0.5 - side / 2, centre + 0.5 + side / 2])[None].float()
    known = torch.ones(1, dtype=torch.bool)
    return {
        "image": torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        "keypoints_2d": torch.from_numpy(golden[f"{name}/keypoints_2d"])[None],
        "keypoints_3d": torch.from_numpy(golden[f"{name}/keypoints_3d"])[None],
        "global_orient": axis_angle_to_matrix(torch.from_numpy(golden[f"{name}/global_orient"])[None]),
        "body_pose": pose,
        "betas": torch.zeros(1, 10),
        "translation": torch.zeros(1, 3),
        "has_global_orient": known,
        "has_body_pose": known,
        "has_betas": known,
        "box": box,
        "image_size": torch.tensor([[640.0, 480.0]]),
        "K": torch.tensor([[[1000.0, 0, 320], [0, 1000, 240], [0, 0, 1]]]),
    }


@recorded
@pytest.mark.parametrize("name", ["rot20", "flip", "all", "rgba_replicate"])
def test_published_augmentation(golden, name):
    """Their angle is ours backwards; their shift is along the axes of the whole image, before it is mirrored."""
    zoom, degrees, flip, *gain, tx, ty = golden[f"{name}/aug_scale_rot_flip_color_tx_ty"]
    roll, sign = math.radians(-degrees), -1 if flip else 1
    turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    shift = turn @ (sign * tx, ty)
    base = "outside" if name == "rgba_replicate" else "plain"
    start = mirror(recorded_sample(golden, base), torch.tensor([bool(flip)]), torch.zeros(1, 3))
    numbers = [torch.tensor(value, dtype=torch.float32) for value in ([roll], [zoom], [shift.tolist()])]
    out = reframe(start, *numbers, torch.zeros(1, 3))  # type: ignore[call-arg]
    for key in ("keypoints_2d", "keypoints_3d"):
        assert np.allclose(out[key][0].numpy(), golden[f"{name}/{key}"], atol=2e-5), key
    expected = recorded_sample(golden, name)
    assert torch.allclose(out["global_orient"], expected["global_orient"], atol=1e-4)
    assert torch.allclose(out["body_pose"], expected["body_pose"], atol=1e-4)

    # Pixels: half a crop pixel is between their frame and ours, see ``reference_crop``.
    centre, side = golden[f"{base}/center"] + 0.5, float(golden[f"{base}/size"])
    framing = Framing((*(centre - side / 2), *(centre + side / 2)), bool(flip), roll, zoom, tuple(shift))
    ours = framing.image_from_crop(256)
    theirs = np.linalg.inv(np.vstack([golden[f"{name}/trans"], [0, 0, 1]]))[:2]
    theirs[:, 2] += theirs[:, :2] @ (0.5, 0.5)
    if flip:
        theirs[0] = -theirs[0] + (0, 0, 639)
    assert np.allclose(ours, theirs, atol=2e-4)
    ours[:, 2] -= ours[:, :2] @ (0.5, 0.5)
    photo = np.ascontiguousarray(golden["image_bgr"][..., ::-1])
    outside = "edge" if name == "rgba_replicate" else "black"
    crop = (warp(photo, ours, 256, antialias=False, outside=outside) * np.array(gain)).clip(0, 255)
    mean, std = 255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225])
    wrong = np.abs(golden[f"{name}/patch"][:3].transpose(1, 2, 0) * std + mean - crop)
    assert wrong.max() <= 6 and wrong.mean() <= 0.15
    assert reference_framing((310.0, 245.0), 300.0).box[0] < 310.5 - 150


def test_roll_and_zoom_compose(sample, open_body):
    pelvis, none = pelvis_of(open_body, sample), torch.zeros(4, 2)
    roll, zoom = torch.tensor([0.3, -0.5, 0.1, 0.7]), torch.tensor([1.1, 0.9, 1.0, 1.2])
    whole = reframe(sample, 2 * roll, zoom * zoom, none, pelvis)
    halves = reframe(reframe(sample, roll, zoom, none, pelvis), roll, zoom, none, pelvis)
    close_to({k: v for k, v in halves.items() if k != "image"}, {k: v for k, v in whole.items() if k != "image"}, 1e-3)


def test_extreme_crops_show_one_part(sample, open_body):
    for seed in range(6):
        zoom, shift, is_close = close_crops(sample["keypoints_2d"], ALL.numpy(), draws(4, seed))
        assert is_close.all() and ((zoom >= 0.2) & (zoom <= 1)).all()
        out = reframe(sample, torch.zeros(4), zoom, shift, pelvis_of(open_body, sample))
        inside = (out["keypoints_2d"][..., :2].abs() < 0.65).all(-1)
        for body in inside:
            assert any(body[list(part)].all() for part in PARTS.values())
    seen = project_to_crop(out["keypoints_3d"][..., :3], out["box"], out["K"])
    assert torch.allclose(seen, out["keypoints_2d"][..., :2], atol=1e-4)
    names = {KEYPOINT_NAMES[i] for i in PARTS["left arm"]}
    assert {"left_wrist", "lsp_left_wrist"} < names and not any("right" in name for name in names)


def test_no_extreme_crop_of_what_is_not_known(sample):
    unknown = sample["keypoints_2d"].clone()
    unknown[..., 2] = 0
    zoom, shift, is_close = close_crops(unknown, ALL.numpy(), draws(4))
    assert not is_close.any() and (zoom == 1).all() and not shift.any()
    assert not close_crops(sample["keypoints_2d"], ~ALL.numpy(), draws(4))[2].any()
    away = sample["keypoints_2d"] + torch.tensor([5.0, 0, 0])
    assert not close_crops(away, ALL.numpy(), draws(4))[2].any()


def test_patches_hide_one_rectangle(sample):
    images = sample["image"].permute(0, 2, 3, 1).contiguous().numpy()
    flat = 0
    for seed in range(40):
        image = images[seed % 4]
        before = image.copy()
        out = cover(image, np.random.default_rng(seed).random(10))
        assert (image == before).all(), "nothing given is changed"
        changed = (out != image).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        assert changed[inside].size <= 0.41**2 * changed.size and changed.sum() > 0.9 * changed[inside].size
        one_colour = (out[inside] == out[inside][0, 0]).all()
        flat += one_colour
        if not one_colour:
            pieces = np.lib.stride_tricks.sliding_window_view(image, out[inside].shape)
            assert (pieces == out[inside]).all((-1, -2, -3)).any(), "a piece of the picture itself"
    assert 10 < flat < 30


def test_every_change_has_its_probability(sample, open_body):
    many = {name: values.repeat(50, *[1] * (values.ndim - 1)) for name, values in sample.items()}
    pelvis = pelvis_of(open_body, many)

    def changed(config, key):
        out = augment(many, config, seeds(200, 1), pelvis)
        return float((out[key] != many[key]).flatten(1).any(1).float().mean())

    share = {
        "rotate": (replace(NOTHING, rotate_deg=30, rotate_share=0.3), "global_orient"),
        "scale": (replace(NOTHING, scale=0.3, scale_share=0.3), "image"),
        "shift": (replace(NOTHING, shift=0.1, shift_share=0.3), "image"),
        "colour": (replace(NOTHING, colour=0.2, colour_share=0.3), "image"),
        "channels": (replace(NOTHING, colour=0.2, colour_share=0.3, colours="channels"), "image"),
        "noise": (replace(NOTHING, noise=0.1, noise_share=0.3), "image"),
        "flip": (replace(NOTHING, flip=0.3), "body_pose"),
        "extreme": (replace(NOTHING, extreme=0.3), "image"),
        "patch": (replace(NOTHING, patch=0.3), "image"),
    }
    for name, (config, key) in share.items():
        assert 0.18 < changed(config, key) < 0.42, name
    assert changed(NOTHING, "image") == 0
    assert changed(replace(NOTHING, flip=1.0), "body_pose") == 1


def test_channels_change_each_by_its_factor(sample, open_body):
    grey = sample | {"image": torch.full((4, 3, 32, 32), 100, dtype=torch.uint8)}
    out = augment(grey, replace(NOTHING, colour=0.2, colours="channels"), seeds(4), pelvis_of(open_body, sample))
    factors = out["image"].float().mean((2, 3)) / 100
    assert (factors.std(1) > 0.005).all() and (factors >= 0.78).all() and (factors <= 1.2).all()
    black = sample | {"image": torch.zeros(4, 3, 32, 32, dtype=torch.uint8)}
    same = augment(black, replace(NOTHING, colour=0.2, colours="channels"), seeds(4), pelvis_of(open_body, sample))
    assert not same["image"].any(), "no offset"


def test_presets_and_bad_probabilities():
    small, paper = preset("small").augment, preset("vit-h").augment
    assert small.flip == small.extreme == small.patch == 0 and small.rotate_share == 1
    assert (paper.flip, paper.extreme, paper.rotate_share, paper.scale) == (0.5, 0.1, 0.6, 0.3)
    with pytest.raises(UserError, match=r"augment.flip"):
        AugmentConfig(flip=1.5)
    with pytest.raises(UserError, match=r"augment.noise_share"):
        AugmentConfig(noise_share=-0.1)
