"""The 25 points that detectors find, on a posed body."""

from __future__ import annotations

import torch

from tokenizer.body.keypoints import DETECTOR_POINTS
from tokenizer.body.rotations import axis_angle_to_matrix, mirror_rotations
from tokenizer.body.skeleton import BODY_JOINT_NAMES, index, mirror_permutation


def row(name):
    return DETECTOR_POINTS.index(name)


def random_poses(count):
    generator = torch.Generator().manual_seed(0)
    return axis_angle_to_matrix(0.4 * torch.randn(count, 21, 3, generator=generator))


def test_points_come_with_the_joints_of_the_same_body(open_body):
    pose, betas = random_poses(3), torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
    joints, points = open_body.detector_points(pose, betas=betas, translation=torch.tensor([0.0, 0.0, 3.0]))
    assert torch.allclose(
        joints, open_body.joints(pose, betas=betas, translation=torch.tensor([0.0, 0.0, 3.0])), atol=1e-6
    )
    assert points.shape == (3, 25, 3)
    assert torch.allclose(points[:, row("left_elbow")], joints[:, index("left_elbow")], atol=1e-6)
    assert torch.allclose(open_body.detector_matrix.sum(1), torch.ones(25), atol=1e-6)


def test_points_of_a_mirrored_pose_are_mirrored(open_body):
    pose = random_poses(4)
    _, points = open_body.detector_points(pose)
    _, mirrored = open_body.detector_points(mirror_rotations(pose, mirror_permutation(BODY_JOINT_NAMES)))
    swapped = points[:, list(mirror_permutation(DETECTOR_POINTS))] * torch.tensor([-1.0, 1.0, 1.0])
    assert (mirrored - swapped).abs().max() < 1e-5


def test_each_point_lies_where_its_name_says(open_body):
    joints, points = open_body.detector_points(torch.eye(3).repeat(21, 1, 1))
    nose, ear = points[row("nose")], points[row("left_ear")]
    assert nose[2] > ear[2] + 0.05  # the nose looks along +z
    for side, sign in (("left", 1), ("right", -1)):
        hand = joints[index(f"{side}_hand")]
        knuckle, little = points[row(f"{side}_index")], points[row(f"{side}_pinky")]
        assert knuckle[2] - little[2] > 0.03  # palms down: thumbs, and index fingers, in front
        assert (knuckle - hand).norm() < 0.06 and (little - hand).norm() < 0.06
        assert sign * points[row(f"{side}_hip")][0] > 0
        toes, heel = points[row(f"{side}_toes")], points[row(f"{side}_heel")]
        assert toes[2] - heel[2] > 0.15 and heel[1] < joints[index(f"{side}_ankle")][1]
