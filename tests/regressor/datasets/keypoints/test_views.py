"""People in front of cameras."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from regressor.config import SIMULATED_VAL, SimulationConfig
from regressor.datasets.keypoints.views import Draw, draw_poses, draw_views
from tokenizer.body.camera import project
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import body_index, index
from tokenizer.engine.errors import UserError

POSES = 0.2 * torch.randn(40, 21, 3, generator=torch.Generator().manual_seed(0))


def test_people_stand_in_front_of_the_camera_and_in_the_frame(open_body):
    views = draw_views(open_body, axis_angle_to_matrix(POSES).repeat(5, 1, 1, 1), SimulationConfig(close=0), Draw(1))
    joints = open_body.joints(views.body_pose, root=views.root, betas=views.betas, translation=views.translation)
    assert joints[..., 2].min() > 0.3
    pelvis = project(joints[:, index("pelvis"), None], views.K)[:, 0]
    assert ((pelvis > 0) & (pelvis < views.image_size)).all(1).float().mean() > 0.95
    height = (project(joints, views.K)[..., 1].amax(1) - project(joints, views.K)[..., 1].amin(1)) / views.image_size[
        :, 1
    ]
    assert height.min() > 0.1 and height.max() < 1.2
    focal_mm = views.K[:, 0, 0] * 36 / 1000
    assert focal_mm.min() >= 24 and focal_mm.max() <= 85.1


def test_a_person_at_rest_is_upright_and_seen_from_all_sides(open_body):
    rest = torch.eye(3).repeat(200, 21, 1, 1)
    level = SimulationConfig(wild=0, lean_deg=0, roll_deg=0, pitch_deg=(0.0, 0.0))
    views = draw_views(open_body, rest, level, Draw(2))
    up = views.root @ torch.tensor([0.0, 1, 0])
    assert (up[:, 1] < -0.99).all()  # the camera's y points down
    facing = (views.root @ torch.tensor([0.0, 0, 1]))[:, 2]
    assert (facing > 0.7).float().mean() == pytest.approx(0.25, abs=0.1)
    assert (facing < -0.7).float().mean() == pytest.approx(0.25, abs=0.1)
    wild = draw_views(open_body, rest, replace(level, wild=1.0), Draw(2))
    assert ((wild.root @ torch.tensor([0.0, 1, 0]))[:, 1] > 0).float().mean() > 0.2


def test_a_bent_person_is_drawn_in_balance(open_body):
    """Hips bent by 80 degrees: the trunk leans forward, it is not the legs that point backwards."""
    pose = torch.zeros(1, 21, 3)
    pose[:, [body_index("left_hip"), body_index("right_hip")], 0] = -1.4
    level = SimulationConfig(wild=0, lean_deg=0, roll_deg=0, pitch_deg=(0.0, 0.0))
    views = draw_views(open_body, axis_angle_to_matrix(pose).repeat(20, 1, 1, 1), level, Draw(0))
    up = torch.rad2deg(torch.acos((-(views.root @ torch.tensor([0.0, 1, 0]))[:, 1]).clamp(-1, 1)))
    assert up.mean() > 15


def test_val_poses_are_those_of_the_store():
    rows = torch.tensor([3, 3, 7])
    assert torch.equal(draw_poses(POSES, rows, SIMULATED_VAL, Draw(0)), axis_angle_to_matrix(POSES[rows]))


def test_legs_are_swapped_with_those_of_another_pose():
    rows = torch.arange(40)
    swapped = draw_poses(POSES, rows, replace(SIMULATED_VAL, swap=1.0), Draw(0))
    own = axis_angle_to_matrix(POSES[rows])
    spine, knee = body_index("spine2"), body_index("left_knee")
    assert torch.equal(swapped[:, spine], own[:, spine])
    assert (swapped[:, knee] - own[:, knee]).abs().flatten(1).amax(1).gt(1e-4).float().mean() > 0.8
    assert all(any(torch.equal(one, other) for other in own[:, knee]) for one in swapped[:, knee])


@pytest.mark.parametrize("change", [{"wild": 1.5}, {"focal_mm": (85.0, 24.0)}, {"height_share": (0.1,)}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        SimulationConfig(**change)
