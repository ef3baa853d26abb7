"""The open body: rest pose, symmetry, gradients, batch dimensions, subsets, keypoints, garments."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from tokenizer.body import open_body as recipe
from tokenizer.body.model import load_body, load_garments
from tokenizer.body.rotations import axis_angle_to_matrix, mirror_rotations
from tokenizer.body.skeleton import (
    BODY_JOINT_NAMES,
    JOINT_NAMES,
    KEYPOINT_NAMES,
    body_index,
    index,
    keypoint_index,
    mirror_permutation,
)
from tokenizer.body.vertex_sets import REGION_NAMES
from tokenizer.engine.errors import UserError

REST = torch.eye(3).expand(21, 3, 3)
SIDE = torch.tensor([-1.0, 1.0, 1.0])


def random_pose(count=4, seed=0, scale=0.4):
    return axis_angle_to_matrix(scale * torch.randn(count, 21, 3, generator=torch.Generator().manual_seed(seed)))


def test_rest_pose_is_a_t_pose_of_human_size(open_body):
    joints, vertices = open_body.joints(REST), open_body.vertices(REST)
    assert torch.allclose(joints[0], torch.tensor([0.0, -0.22, 0.03]), atol=1e-3)
    height = vertices[:, 1].max() - vertices[:, 1].min()
    assert 1.65 < float(height) < 1.75
    for a, b in (("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")):
        direction = joints[index(b)] - joints[index(a)]
        assert float(direction[0] / direction.norm()) > 0.999
    assert joints[index("left_wrist"), 0] > 0.6 and vertices[:, 2].max() > 0.1
    assert torch.allclose(vertices, open_body.v_template, atol=1e-6)
    assert (len(open_body.v_template), len(open_body.faces)) == (13492, 26972)


def test_every_edge_of_the_surface_has_a_partner_running_the_other_way_but_for_the_eyes_and_mouth(open_body):
    faces = open_body.faces.numpy()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {tuple(edge) for edge in edges.tolist()}
    assert len(forward) == len(edges), "no edge is used twice in one direction"
    lonely = sum((b, a) not in forward for a, b in forward)
    assert lonely < 0.002 * len(edges)


def test_golden_one_joint_turn(open_body):
    """Turning the left elbow by 90° about +y sends the forearm, which points to +x, to −z."""
    pose = REST.clone()
    pose[body_index("left_elbow")] = axis_angle_to_matrix(torch.tensor([0.0, torch.pi / 2, 0.0]))
    rest, turned = open_body.joints(REST), open_body.joints(pose)
    forearm = rest[index("left_wrist")] - rest[index("left_elbow")]
    moved = turned[index("left_wrist")] - turned[index("left_elbow")]
    assert torch.allclose(moved, torch.stack([forearm[2], forearm[1], -forearm[0]]), atol=1e-6)
    still = [i for i, name in enumerate(JOINT_NAMES) if name not in ("left_wrist", "left_hand")]
    assert torch.allclose(turned[still], rest[still], atol=1e-6)


def test_mirrored_pose_gives_mirrored_body(open_body):
    pose, betas = random_pose(), torch.randn(4, 10)
    mirrored = mirror_rotations(pose, mirror_permutation(BODY_JOINT_NAMES))
    for method, names in (("joints", JOINT_NAMES), ("keypoints", KEYPOINT_NAMES)):
        original = getattr(open_body, method)(pose, betas=betas)[:, list(mirror_permutation(names))] * SIDE
        assert (getattr(open_body, method)(mirrored, betas=betas) - original).abs().max() < 1e-6
    vertices = open_body.vertices(pose) * SIDE
    permutation = torch.from_numpy(recipe.open_body_arrays()["mirror"].astype(np.int64))
    assert (open_body.vertices(mirrored)[:, permutation] - vertices).abs().max() < 2e-6


def test_subset_is_rows_of_the_mesh_and_always_the_same(open_body):
    subset = open_body.subset(64)
    pose, betas = random_pose(), torch.randn(4, 10)
    mesh = open_body.vertices(pose, betas=betas)
    assert torch.allclose(open_body.vertices(pose, betas=betas, subset=subset), mesh[:, subset], atol=1e-6)
    assert torch.equal(subset, load_body().subset(64)) and len(subset.unique()) == 64
    parts = open_body.vertex_part[open_body.subset(256)]
    assert len(parts.unique()) >= 16, "a well-spread subset touches nearly every part"


@pytest.mark.parametrize("count", [1, 63, 256])
def test_subset_favours_no_side(open_body, count):
    chosen = set(open_body.subset(count).tolist())
    mirror = recipe.open_body_arrays()["mirror"]
    assert len(chosen) == count
    assert len({int(mirror[vertex]) for vertex in chosen} - chosen) == 0


def test_regions_colour_what_their_names_say(open_body):
    region, rest = open_body.vertex_region, open_body.v_template
    at = {name: rest[region == number] for number, name in enumerate(REGION_NAMES)}
    assert all(len(at[name]) for name in REGION_NAMES)
    assert at["left_knee"][:, 0].min() > 0 > at["right_knee"][:, 0].max()
    assert at["face"][:, 2].min() > at["head"][:, 2].min() and len(at["eyes"]) == 2 * 72
    nose = open_body.keypoints(REST)[keypoint_index("nose")]
    assert REGION_NAMES[int(region[(rest - nose).norm(dim=-1).argmin()])] == "face"
    mirror = torch.from_numpy(recipe.open_body_arrays()["mirror"].astype(np.int64))
    swapped = torch.tensor(mirror_permutation(REGION_NAMES))[region]
    assert torch.equal(swapped[mirror], region)


def test_leading_dimensions_and_broadcasting(open_body):
    pose = random_pose(6)
    flat = open_body.joints(pose, betas=torch.ones(10))
    assert open_body.joints(pose.view(2, 3, 21, 3, 3), betas=torch.ones(10)).shape == (2, 3, 24, 3)
    assert torch.allclose(open_body.joints(pose.view(2, 3, 21, 3, 3), betas=torch.ones(10)).view(6, 24, 3), flat)
    one = open_body.joints(pose[0], betas=torch.randn(5, 10))
    assert one.shape == (5, 24, 3)
    with_hands = torch.cat([pose, torch.eye(3).expand(6, 2, 3, 3)], 1)
    assert torch.allclose(open_body.vertices(with_hands), open_body.vertices(pose), atol=1e-6)


def test_no_poses_give_no_points(open_body):
    assert open_body.joints(torch.zeros(0, 21, 3, 3)).shape == (0, 24, 3)
    assert open_body.vertices(
        torch.zeros(2, 0, 21, 3, 3), betas=torch.zeros(0, 10), subset=open_body.subset(9)
    ).shape == (2, 0, 9, 3)


def test_betas_given_one_by_one_or_shared_skin_alike(open_body):
    """Rest shapes shared by the batch take another way through the arithmetic."""
    pose, betas = random_pose(3), torch.randn(10)
    zeros = torch.zeros(3, 10)
    assert torch.allclose(open_body.vertices(pose, betas=zeros), open_body.vertices(pose), atol=2e-6)
    alone = torch.stack([open_body.vertices(one, betas=betas) for one in pose])
    assert torch.allclose(open_body.vertices(pose, betas=betas.expand(3, 10)), alone, atol=2e-6)


def test_autocast_and_half_precision_poses_cost_no_millimetre(open_body):
    pose = random_pose()
    with torch.autocast("cpu", torch.bfloat16):
        inside = open_body.keypoints(pose)
    assert inside.dtype == torch.float32 and torch.equal(inside, open_body.keypoints(pose))
    assert open_body.joints(pose.bfloat16()).dtype == torch.float32


def test_a_body_leaves_nothing_in_a_checkpoint(open_body):
    assert not open_body.state_dict() and not list(open_body.parameters())


def test_root_turns_about_the_pelvis_and_translation_adds(open_body):
    pose, root, shift = random_pose(), random_pose(4, 1)[:, 0], torch.tensor([1.0, 2.0, 3.0])
    plain, moved = open_body.joints(pose), open_body.joints(pose, root=root, translation=shift)
    pelvis = plain[:, :1]
    expected = pelvis + ((plain - pelvis)[:, :, None] @ root.transpose(-1, -2)[:, None])[:, :, 0] + shift
    assert torch.allclose(moved, expected, atol=1e-5)


def test_gradients(open_body):
    subset = open_body.subset(3)
    body = load_body().double()
    vector = (0.3 * torch.randn(1, 21, 3, dtype=torch.float64)).requires_grad_()
    betas = torch.randn(1, 10, dtype=torch.float64, requires_grad=True)

    def points(v, b):
        rotations = axis_angle_to_matrix(v)
        return torch.cat([body.joints(rotations, betas=b), body.vertices(rotations, betas=b, subset=subset)], 1)

    assert torch.autograd.gradcheck(points, (vector, betas))


def test_betas_change_shape_and_plus_is_larger(open_body):
    def volume(betas):
        a, b, c = open_body.vertices(REST, betas=betas)[open_body.faces].unbind(1)
        return float((a * torch.linalg.cross(b, c)).sum() / 6)

    rest = volume(torch.zeros(10))
    assert 0.04 < rest < 0.11
    assert all(volume(beta) > rest for beta in torch.eye(10))


def test_keypoints_lie_where_their_names_say(open_body):
    points = open_body.keypoints(REST)
    at = {name: points[keypoint_index(name)] for name in KEYPOINT_NAMES}
    assert at["left_wrist"][0] > 0.5 > -0.5 > at["right_wrist"][0]
    assert at["nose"][2] > at["left_ear"][2] and at["left_eye"][1] > at["nose"][1]
    assert at["lsp_crown"][1] > at["h36m_head"][1] > at["h36m_jaw"][1] > at["neck"][1] > at["mid_hip"][1]
    assert at["left_big_toe"][2] > at["left_heel"][2] and at["left_big_toe"][0] < at["left_small_toe"][0]


def test_garments_follow_the_body(open_body):
    garments = load_garments()
    pose, betas = random_pose(2), torch.randn(2, 10)
    mesh = open_body.vertices(pose, betas=betas)
    suit = garments["bodysuit"].vertices(pose, betas=betas)
    gap = torch.cdist(suit, mesh).min(-1).values
    assert float(gap.median()) < 0.02
    assert set(garments) == {"bodysuit", "skirt", "hair"}


def test_wrong_shapes_get_words(open_body):
    with pytest.raises(UserError, match="body pose has the wrong shape"):
        open_body.joints(torch.zeros(2, 21, 3))
    with pytest.raises(UserError, match="body pose has the wrong shape"):
        open_body.joints(torch.eye(3))
    with pytest.raises(UserError, match="betas"):
        open_body.joints(REST, betas=torch.zeros(3))
    with pytest.raises(UserError, match="impossible size"):
        open_body.subset(0)


def test_the_open_path_imports_no_smplx():
    code = (
        "import sys, torch; from tokenizer import load_body; body = load_body('open');"
        "body.vertices(torch.eye(3).expand(21, 3, 3)); body.keypoints(torch.eye(3).expand(21, 3, 3));"
        "sys.exit('smplx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
