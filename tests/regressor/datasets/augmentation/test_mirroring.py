"""Mirror images: annotation of the same body, left and right exchanged."""

from __future__ import annotations

import torch
from augmented import ALL, close_to, pelvis_of, recorded

from regressor.datasets.augmentation.augment import reframe
from regressor.datasets.augmentation.mirroring import KEYPOINT_MIRROR, mirror
from regressor.geometry.camera import project_to_crop
from tokenizer.body.skeleton import keypoint_index


@recorded
def test_mirrored_names_are_the_recorded_ones(golden):
    assert golden["flip_perm"].tolist() == list(KEYPOINT_MIRROR)


def test_mirror_twice_is_nothing_and_leaves_others_alone(sample, open_body):
    pelvis = pelvis_of(open_body, sample)
    before = {name: values.clone() for name, values in sample.items()}
    mirrored = torch.tensor([True, False, True, False])
    once = mirror(sample, mirrored, pelvis)
    assert all(torch.equal(values, before[name]) for name, values in sample.items()), "nothing given is changed"
    for name, values in sample.items():
        assert torch.equal(once[name][1::2], values[1::2]), name
    close_to(mirror(once, mirrored, pelvis), sample)
    left, right = keypoint_index("left_knee"), keypoint_index("right_knee")
    assert torch.equal(once["keypoints_2d"][0, left, 0], -sample["keypoints_2d"][0, right, 0])
    assert torch.equal(once["image"][0, :, :, 0], sample["image"][0, :, :, -1])


def test_mirrored_annotation_is_one_of_a_body(sample, open_body):
    """Image, 2D, 3D and rotations act alike: the mirrored body, seen by the mirrored camera, is at the keypoints."""
    for camera in (sample["K"], sample["K"] + torch.tensor([[0, 0, 37.0], [0, 0, 0], [0, 0, 0]])):
        shifted = sample | {"K": camera}
        moved = camera[:, 0, 2] - sample["K"][:, 0, 2]
        shifted["box"] = sample["box"] + moved[:, None] * torch.tensor([1.0, 0, 1, 0])
        out = mirror(shifted, ALL, pelvis_of(open_body, sample))
        seen = project_to_crop(out["keypoints_3d"][..., :3], out["box"], out["K"])
        assert torch.allclose(seen, out["keypoints_2d"][..., :2], atol=1e-4)
    place = {"betas": out["betas"], "translation": out["translation"]}
    keypoints = open_body.keypoints(out["body_pose"], root=out["global_orient"], **place)
    apart = (keypoints - out["keypoints_3d"][..., :3]).norm(dim=-1)
    assert apart.max() < 0.02, "but for what is not symmetric in the body itself"
    wrong = open_body.keypoints(sample["body_pose"], root=out["global_orient"], **place)
    assert (wrong - out["keypoints_3d"][..., :3]).norm(dim=-1).max() > 0.05


def test_mirror_and_roll_exchange_with_the_sense_of_the_roll(sample, open_body):
    pelvis, none = pelvis_of(open_body, sample), torch.zeros(4, 2)
    roll, zoom = torch.tensor([0.3, -0.5, 0.1, 0.0]), torch.tensor([1.1, 0.9, 1.0, 1.2])
    first = reframe(mirror(sample, ALL, pelvis), roll, zoom, none, pelvis)
    second = mirror(reframe(sample, -roll, zoom, none, pelvis), ALL, pelvis)
    assert (first["image"].int() - second["image"].int()).abs().max() <= 8, "to the fixed point of the resampling"
    close_to({k: v for k, v in first.items() if k != "image"}, {k: v for k, v in second.items() if k != "image"}, 2e-3)
