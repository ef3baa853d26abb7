"""BEDLAM, as tars and as released: bodies seen by their cameras, scenes as unpacked."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from image_data_sets import (
    bedlam_person,
    jpeg,
    write_tar,
)

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.readers.joint_orders import SMPL24, SMPL45
from regressor.geometry.camera import project_to_crop
from tokenizer.body.skeleton import keypoint_index
from tokenizer.engine.errors import UserError


def prepare(name, sources, out, *, split="train", **reading):
    options = ReadOptions(split=split, **reading)
    return prepare_shards(name, list(sources), out, options, StoreOptions(), workers=1)


@pytest.mark.parametrize("form", ["tar", "npz"])
def test_bedlam_is_true_to_its_camera(form, open_body, tmp_path):
    person = bedlam_person(open_body)
    if form == "tar":
        write_tar(tmp_path / "0.tar", [("s/1.png", jpeg()), ("s/1.data.pyd", pickle.dumps([person]))])
        source = tmp_path / "0.tar"
    else:
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "1.png").write_bytes(jpeg())
        source = tmp_path / "labels.npz"
        np.savez(source, imgname=np.array(["s/1.png"]), **{name: np.array([value]) for name, value in person.items()})
    prepare("bedlam", [source], tmp_path / "out")
    sample = open_crops(tmp_path / "out").sample(np.arange(1), "train")
    placement = {"root": sample["global_orient"], "betas": torch.linspace(-1, 0.8, 10)[None]}
    joints = open_body.joints(sample["body_pose"], **placement, translation=sample["translation"])
    seen = project_to_crop(joints, sample["box"], sample["K"])[0]
    checked = 0
    for row, name in enumerate(SMPL24):
        if name:
            keypoint = sample["keypoints_2d"][0, keypoint_index(name)]
            torch.testing.assert_close(keypoint[:2], seen[row], atol=1e-4, rtol=0)
            checked += int(keypoint[2])
    assert checked == 14
    assert sample["true_3d"].all() and sample["has_betas"].all()
    assert sample["gender"].tolist() == [0], "the labels are those of the neutral body"
    np.testing.assert_allclose(sample["betas"][0], np.linspace(-1, 1, 11)[:10], atol=1e-6)


def test_bedlam_of_smplx_and_of_cameras_on_their_side(open_body, tmp_path):
    upright = bedlam_person(open_body, 150, 200)
    upright["pose_cam"] = np.concatenate([upright["pose_cam"][:66], np.ones(99)])
    write_tar(
        tmp_path / "0.tar",
        [
            ("s_closeup/1.png", jpeg()),
            ("s_closeup/1.data.pyd", pickle.dumps([upright])),
            ("t/2.png", jpeg()),
            (
                "t/2.data.pyd",
                pickle.dumps(
                    [
                        {**upright, "pose_cam": np.zeros(66)},
                        {**upright, "gtkps": np.zeros((24, 2))},
                        {**upright, "shape": np.zeros(3)},
                        {**upright, "cam_int": np.full((3, 3), np.inf)},
                    ]
                ),
            ),
        ],
    )
    report = prepare("bedlam", [tmp_path / "0.tar"], tmp_path / "out")
    assert report.people == {"train": 1} and len(report.broken) == 4
    sample = open_crops(tmp_path / "out").sample(np.arange(1), "train")
    assert sample["image_size"].tolist() == [[150, 200]] and not sample["has_betas"].any()
    assert torch.equal(sample["body_pose"][0, 21:], torch.eye(3).expand(2, 3, 3))
    # Turned clockwise, what was left (no red) is on top: red grows downwards.
    column = sample["image"][0, 0, :, 128].float()
    assert column[200] > column[60] + 40
    assert SMPL45[24] == "nose"
    np.savez(tmp_path / "bad.npz", imgname=np.array(["a"]))
    with pytest.raises(UserError, match="no labels of BEDLAM"):
        prepare("bedlam", [tmp_path / "bad.npz"], tmp_path / "none")


def test_bedlam_scenes_lie_as_they_are_unpacked(open_body, tmp_path):
    person = bedlam_person(open_body)
    labels = {name: np.array([value]) for name, value in person.items()}
    for scene, folder in (
        ("a_batch01", "images/a_batch01/png"),
        ("b_batch02", "images/b_batch02"),
        ("c", "images"),
        ("d_batch03", "images/d_batch03_6fps/png"),
        ("e_30fps", "images/e/png"),
        ("f", "images/f_30fps"),
        ("g", "images/g_6fps/png"),
    ):
        (tmp_path / "images" / "g" / "png").mkdir(parents=True, exist_ok=True)  # the same scene at another frame rate
        (tmp_path / folder / "seq_0").mkdir(parents=True)
        (tmp_path / folder / "seq_0" / f"{scene}.png").write_bytes(jpeg())
        (tmp_path / "labels").mkdir(exist_ok=True)
        np.savez(tmp_path / "labels" / f"{scene}.npz", imgname=np.array([f"seq_0/{scene}.png"]), **labels)
    report = prepare("bedlam", [tmp_path / "labels"], tmp_path / "out", images=tmp_path / "images")
    assert report.people == {"train": 7} and not report.broken
