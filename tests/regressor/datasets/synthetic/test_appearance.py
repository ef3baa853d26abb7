"""Looks of synthetic people: the suit, and the varied domain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from regressor.datasets.synthetic.render import Painter, SyntheticConfig
from regressor.geometry.camera import pixels_to_crop, project
from tokenizer.body.skeleton import JOINT_NAMES
from tokenizer.engine.errors import UserError
from tokenizer.mocap.prior import sample

SMALL = SyntheticConfig(size=64)


@pytest.fixture(scope="module")
def poses():
    return sample(24, 0)


def test_suit_colours_lie_where_the_keypoints_say(open_body, poses):
    arrays = Painter(replace(SMALL, occluded=0.0, size=128)).paint("train", 0, poses[:16])
    joints = open_body.joints(
        torch.from_numpy(arrays["body_pose"]),
        root=torch.from_numpy(arrays["global_orient"]),
        betas=torch.from_numpy(arrays["betas"]),
        translation=torch.from_numpy(arrays["translation"]),
    )
    pixels = pixels_to_crop(project(joints, torch.from_numpy(arrays["K"])), torch.from_numpy(arrays["box"]))
    at = ((pixels + 0.5) * 128).long().clamp(0, 127)
    seen = {}
    for name in ("left_knee", "right_knee"):
        x, y = at[:, JOINT_NAMES.index(name)].unbind(-1)
        seen[name] = arrays["image"][np.arange(16), :, y, x].astype(float)
    warm = {name: np.median(rgb[:, 0] - rgb[:, 2]) for name, rgb in seen.items()}
    assert warm["left_knee"] > 60 > 0 > warm["right_knee"], "left warm, right cool, at the annotated places"


def test_domains_differ_as_described(poses):
    suit, varied = (SyntheticConfig.of(name, size=32) for name in ("suit", "varied"))
    assert suit.yaw_deg == 75 and varied.yaw_deg == 180 and varied.occluded > suit.occluded
    forward = {}
    for config in (suit, varied):
        arrays = Painter(config).paint("train", 0, np.repeat(poses[:16], 2, 0))
        # The body's front, +z at rest, in camera axes: towards the camera is −z.
        forward[config.domain] = arrays["global_orient"][:, 2, 2]
    assert forward["suit"].max() < 0.15 and forward["varied"].max() > 0.5
    with pytest.raises(UserError, match="Unknown domain 'nude'"):
        SyntheticConfig.of("nude")
