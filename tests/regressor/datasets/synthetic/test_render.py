"""Synthetic people: annotation true to the pixels, the same whoever paints them, both domains as described."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.synthetic.contact_sheet import contact_sheet
from regressor.datasets.synthetic.render import Painter, SyntheticConfig, make_crops, split_poses
from regressor.geometry.camera import pixels_to_crop, project
from tokenizer.body.rotations import matrix_to_axis_angle
from tokenizer.engine.errors import UserError
from tokenizer.mocap.prior import sample

SMALL = SyntheticConfig(size=64)


@pytest.fixture(scope="module")
def poses():
    return sample(24, 0)


@pytest.fixture(scope="module", params=["suit", "varied"])
def painted(request, poses):
    """(domain, arrays of 8 crops)"""
    return request.param, Painter(SyntheticConfig.of(request.param, size=64)).paint("train", 0, poses[:8])


def test_keypoints_are_those_of_the_annotated_body(painted, open_body, poses):
    arrays = {name: torch.from_numpy(np.asarray(value)) for name, value in painted[1].items()}
    placement = {"root": arrays["global_orient"], "betas": arrays["betas"], "translation": arrays["translation"]}
    points = open_body.keypoints(arrays["body_pose"], **placement)
    assert (arrays["keypoints_3d"][..., :3] - points).abs().max() < 1e-5
    pixels = project(points, arrays["K"])
    assert (arrays["keypoints_2d"][..., :2] - pixels_to_crop(pixels, arrays["box"])).abs().max() < 1e-5
    # The box holds everyone whole, with a margin, and is a square.
    assert arrays["keypoints_2d"][..., :2].abs().max() < 0.5
    side = arrays["box"][:, 2:] - arrays["box"][:, :2]
    assert torch.allclose(side[:, 0], side[:, 1], rtol=1e-5)
    assert np.abs(matrix_to_axis_angle(arrays["body_pose"][:, :21]).numpy() - poses[:8]).max() < 1e-3
    assert (arrays["K"][:, 0, 0] >= 24 * 640 / 36 - 1e-3).all() and (arrays["K"][:, 0, 0] <= 85 * 640 / 36 + 1e-3).all()


def test_an_image_depends_on_seed_split_and_number_alone(poses):
    painter = Painter(SMALL)
    all_at_once, alone = painter.paint("val", 3, poses[:4]), painter.paint("val", 5, poses[2:3])
    for name, values in alone.items():
        assert np.allclose(values[0], all_at_once[name][2], atol=1e-4 if values.dtype == np.float32 else 2), name
    other = painter.paint("test", 5, poses[2:3])
    assert np.abs(other["image"].astype(int) - alone["image"]).max() > 20


def test_any_number_of_workers_gives_the_same_store(poses, tmp_path):
    counts = {"train": 18, "val": 3, "test": 2}
    told = []
    for workers in (1, 2):
        make_crops(
            dict.fromkeys(counts, poses),
            counts,
            tmp_path / f"{workers}.h5",
            replace(SMALL, size=32),
            provenance={"poses": "x"},
            workers=workers,
            progress=told.append,
        )
    one, two = open_crops(tmp_path / "1.h5"), open_crops(tmp_path / "2.h5")
    assert one.digest == two.digest and sum(told) == 2 * 23
    assert [one.count(split) for split in counts] == [18, 3, 2]
    assert one.attributes["domain"] == "suit" and one.attributes["synthetic"]


def test_val_and_test_share_no_pose():
    numbered = np.arange(21.0)[:, None, None] * np.ones((1, 21, 3))
    parts = split_poses(numbered[:4], numbered[4:], seed=0)
    val, test = (set(parts[name][:, 0, 0]) for name in ("val", "test"))
    assert not val & test and len(val | test) == 17 and len(parts["train"]) == 4


def test_no_poses_for_a_split(tmp_path, poses):
    with pytest.raises(UserError, match="No poses for the test split"):
        make_crops(
            {"train": poses, "test": poses[:0]},
            {"train": 2, "test": 1},
            tmp_path / "x.h5",
            SMALL,
            provenance={},
            workers=1,
        )
    assert not list(tmp_path.iterdir())


def test_contact_sheet_marks_every_other_crop(painted):
    arrays = {name: torch.from_numpy(np.asarray(value)) for name, value in painted[1].items()}
    sheet = contact_sheet(arrays, columns=4, size=64)
    assert sheet.shape == (128, 256, 3)
    plain, marked = sheet[:64, :64], sheet[:64, 64:128]
    assert np.abs(plain.astype(int) - arrays["image"][0].permute(1, 2, 0).numpy()).max() <= 1
    assert (marked == (255, 170, 0)).all(-1).any() and (marked == (0, 200, 255)).all(-1).any()
