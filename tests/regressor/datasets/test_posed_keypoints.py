"""Annotated bodies give the keypoints that BEDLAM and 3DPW do not list: 44 in 3D, 44 in 2D."""

from __future__ import annotations

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from regressor.config import AugmentConfig, preset
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.loader import Stream
from regressor.datasets.mixtures import Mixture
from regressor.datasets.posed_keypoints import fit_neutral_shape, with_posed_keypoints
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.readers.joint_orders import COCO18, SMPL24, SMPL45
from regressor.losses.terms import weight_sums
from tokenizer.body.rotations import matrix_to_axis_angle
from tokenizer.body.skeleton import KEYPOINT_NAMES, keypoint_index

SMPL_NAMED = torch.tensor([name in SMPL24 for name in KEYPOINT_NAMES])


def lacking(people, rows=slice(None), *, every_3d=True):
    """Some of the people without what BEDLAM (or, not ``every_3d``, 3DPW) lacks."""
    people = {name: values.clone() for name, values in people.items()}
    gone = torch.ones(44, dtype=torch.bool) if every_3d else ~SMPL_NAMED
    for name, missing in (("keypoints_3d", gone), ("keypoints_2d", ~SMPL_NAMED)):
        points = people[name][rows]
        points[:, missing] = torch.nan
        points[:, missing, -1] = 0
        people[name][rows] = points
    return people


@pytest.mark.parametrize("every_3d", [True, False])
def test_they_are_those_of_the_annotated_body(every_3d, annotated_people, open_body):
    people = annotated_people(5)
    given = lacking(people, every_3d=every_3d)
    before = {name: values.clone() for name, values in given.items()}
    full = with_posed_keypoints(given, open_body)
    for name in ("keypoints_2d", "keypoints_3d"):
        torch.testing.assert_close(full[name], people[name], atol=1e-4, rtol=1e-4, msg=name)
        kept = given[name][..., -1] > 0
        assert torch.equal(full[name][kept], given[name][kept]), "what is annotated stays"
        assert torch.equal(given[name].nan_to_num(), before[name].nan_to_num()), "nothing given is changed"
    assert with_posed_keypoints(people, open_body) is people


def test_who_is_left_alone(annotated_people, open_body):
    people = annotated_people(7)
    given = lacking(people)
    for row, name in enumerate(("has_body_pose", "has_global_orient", "has_betas")):
        given[name][row] = False
    given["true_3d"] = torch.tensor([True, True, True, False, True, True, True])
    given["translation"][4] = 0.0
    given["gender"] = torch.tensor([0, 0, 0, 0, 0, 2, 0])
    full = with_posed_keypoints(given, open_body)
    assert (full["keypoints_3d"][..., 3] > 0).sum(1).tolist() == [0, 0, 0, 0, 44, 0, 44]
    few = int(SMPL_NAMED.sum())
    assert (full["keypoints_2d"][..., 2] > 0).sum(1).tolist() == [few, few, few, few, few, few, 44]
    # Where a body stands is not known, its points and annotated ones have no frame in common.
    mixed = lacking(people, every_3d=False)
    mixed["translation"][:] = 0
    assert with_posed_keypoints(mixed, open_body) is mixed


def test_of_a_gendered_shape_the_neutral_body_that_fits_is_posed(annotated_people, open_body):
    """A "male" body whose shape numbers mean something else: as different as another sign and order of directions."""
    people = annotated_people(6)
    given = lacking(people, every_3d=False)
    given["gender"] = torch.full((6,), 2)
    given["betas"] = -people["betas"].flip(1)
    given["translation"] = people["translation"] + 0.05  # the male body's pelvis rests elsewhere
    full = with_posed_keypoints(given, open_body)
    assert (full["keypoints_3d"][..., 3] == 1).all() and (full["keypoints_2d"][..., 2] == 1).all()
    apart = (full["keypoints_3d"] - people["keypoints_3d"])[..., :3].norm(dim=-1)
    with_his_numbers = open_body.keypoints(
        given["body_pose"], root=given["global_orient"], betas=given["betas"], translation=given["translation"]
    )
    wrong = (with_his_numbers - people["keypoints_3d"][..., :3]).norm(dim=-1)
    assert float(apart.mean()) < 0.006 < 0.02 < float(wrong.mean())
    assert float((full["keypoints_2d"] - people["keypoints_2d"])[..., :2].abs().mean()) < 0.005
    torch.testing.assert_close(full["betas"], given["betas"])

    # Points that are no body's are not completed to one.
    given["keypoints_3d"][0, SMPL_NAMED, :3] += 0.3 * torch.randn(int(SMPL_NAMED.sum()), 3)
    assert (with_posed_keypoints(given, open_body)["keypoints_3d"][..., 3] > 0).sum(1).tolist()[:2] == [
        int(SMPL_NAMED.sum()),
        44,
    ]


def test_the_fit_finds_an_exact_shape(annotated_people, open_body):
    people = annotated_people(4)
    pose, root = people["body_pose"], people["global_orient"]
    betas, place, apart = fit_neutral_shape(people["keypoints_3d"], pose, root, open_body)
    assert float(apart.max()) < 0.005
    points = open_body.keypoints(pose, root=root, betas=betas, translation=place)
    assert float((points - people["keypoints_3d"][..., :3]).norm(dim=-1).max()) < 0.01


def test_steps_of_the_paper_presets_see_them(annotated_people, open_body, tokenizer, tiny_config):
    """The term itself, as training computes it."""
    from regressor.network.model import build_regressor
    from regressor.training.gradients import forward_backward
    from tokenizer.engine.training.scaling import LossScale

    config = replace(tiny_config, loss=preset("vit-s").loss, optim=replace(tiny_config.optim, batch=4))
    torch.manual_seed(0)
    regressor = build_regressor(config, tokenizer).train()
    scale = LossScale(torch.device("cpu"), "fp32")
    people = annotated_people(4)
    full, filled = (
        forward_backward(regressor, samples, open_body, tokenizer, config, 0, scale)
        for samples in (people, with_posed_keypoints(lacking(people), open_body))
    )
    assert float(full["keypoints_3d"]) > 0
    for name, term in full.items():
        assert float(filled[name]) == pytest.approx(float(term), rel=1e-3), name
    assert keypoint_index("mpii_pelvis") == 39 and not SMPL_NAMED[39]


def as_files(people, folder):
    """The people as labels of BEDLAM and as a sequence of 3DPW, each in a picture of its own; the paths of both."""
    count = len(people["betas"])
    rotations = torch.cat([people["global_orient"][:, None], people["body_pose"]], 1)
    poses = matrix_to_axis_angle(rotations).flatten(1).numpy()
    box, K = people["box"], people["K"].numpy()
    centre, side = ((box[:, :2] + box[:, 2:]) / 2).numpy(), (box[:, 2] - box[:, 0]).numpy()
    pixels = (people["keypoints_2d"][..., :2] + 0.5) * (box[:, 2] - box[:, 0])[:, None, None] + box[:, None, :2]

    def listed(names):
        nowhere = np.zeros((count, 2))
        return np.stack([pixels[:, keypoint_index(name)].numpy() if name else nowhere for name in names], 1)

    folder.mkdir()
    images = [folder / "imageFiles" / "walk" / f"image_{row:05d}.jpg" for row in range(count)]
    images[0].parent.mkdir(parents=True)
    for image in images:
        cv2.imwrite(str(image), np.zeros((480, 640, 3), np.uint8))
    np.savez(
        folder / "labels.npz",
        imgname=[f"imageFiles/walk/{image.name}" for image in images],
        center=centre,
        scale=side / 200,
        pose_cam=poses,
        shape=people["betas"].numpy(),
        trans_cam=people["translation"].numpy(),
        cam_int=K,
        cam_ext=np.tile(np.eye(4), (count, 1, 1)),
        gtkps=listed(SMPL45),
        gender=["male"] * count,
    )
    joints = people["joints"].double().numpy()
    points = np.concatenate([listed(COCO18), np.ones((count, 18, 1))], 2).transpose(0, 2, 1)
    (folder / "sequenceFiles" / "train").mkdir(parents=True)
    sequence = folder / "sequenceFiles" / "train" / "walk.pkl"
    sequence.write_bytes(
        pickle.dumps(
            {
                "sequence": "walk",
                "cam_poses": np.tile(np.eye(4), (count, 1, 1)),
                "cam_intrinsics": K[0],
                "img_frame_ids": np.arange(count),
                "poses": [poses],
                "trans": [joints[:, 0] - 0.1],
                "genders": ["m"],
                "betas": [-people["betas"][0].numpy()],
                "poses2d": [points],
                "jointPositions": [joints.reshape(count, 72)],
                "campose_valid": [np.ones(count)],
            }
        )
    )
    return {"bedlam": folder / "labels.npz", "3dpw": sequence}


@pytest.mark.parametrize("name", ["bedlam", "3dpw"])
def test_prepared_data_give_the_paper_presets_all_keypoints(name, open_body, tmp_path, annotated_people):
    """From files to the weights of the loss, through augmentation; 3DPW's people are male, their shape numbers foreign.

    Before, the 3D keypoints had a weight of 0, and 25 or fewer of the 44 points a place in the image.
    """
    people = annotated_people(6)
    people["betas"] = people["betas"][:1].expand(6, 10)
    placement = {"root": people["global_orient"], "betas": people["betas"], "translation": people["translation"]}
    people["joints"] = open_body.joints(people["body_pose"], **placement)
    prepare_shards(
        name, [as_files(people, tmp_path / "data")[name]], tmp_path / "out", ReadOptions(), StoreOptions(), workers=1
    )
    crops = open_crops(tmp_path / "out")
    paper = preset("vit-s")
    config = replace(paper, optim=replace(paper.optim, batch=6), augment=AugmentConfig(flip=0.5, extreme=0.5))
    batch = Stream(Mixture.of(crops.at_size(64)), config, open_body, slice(0, 6)).rows(0, slice(0, 6))
    before = weight_sums(crops.sample(np.arange(6), "train"), paper.loss)
    assert float(before["keypoints_3d"]) == 0 and float(before["keypoints_2d"]) <= 6 * 25
    after = weight_sums(batch, paper.loss)
    assert float(after["keypoints_3d"]) == float(after["keypoints_2d"]) == 6 * 44
    assert float(after["betas"]) == (6 if name == "bedlam" else 0), "a male body's betas are not the neutral body's"

    full = with_posed_keypoints(crops.sample(np.arange(6), "train"), open_body)
    expected = open_body.keypoints(people["body_pose"], **placement)
    apart = (full["keypoints_3d"][..., :3] - expected).norm(dim=-1)
    assert float(apart.median()) < (1e-5 if name == "bedlam" else 0.01)
    assert float(apart[:, keypoint_index("mpii_pelvis")].max()) < 0.02
