"""Thresholds from data: the camera fit finds exact cameras, thresholds are quantiles of real errors, files go round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.commands.cli import main
from regressor.config import TalsConfig
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.crop_store import write_crops
from regressor.datasets.posed_keypoints import with_posed_keypoints
from regressor.geometry.camera_models import REFERENCE_FOCAL, camera_model
from regressor.losses.calibrate import Calibration, CalibrationOptions, Row, baseline_errors, calibrate, camera_errors
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, keypoint_index
from tokenizer.engine.errors import UserError


def test_through_the_true_camera_nothing_is_off_and_through_another_something_is(sample):
    assert float(camera_errors(sample, camera_model("true")).max()) < 1e-3
    near, far = (camera_errors(sample, camera_model(f"focal={focal}")).mean() for focal in (2.0, REFERENCE_FOCAL))
    reference = camera_errors(sample, camera_model("reference")).mean()
    assert float(reference) == pytest.approx(float(far)) and float(near) > 1e-3 and float(far) > 1e-3
    width, height = sample["image_size"][0].tolist()
    degrees = float(np.degrees(2 * np.arctan(np.hypot(width, height) / 2 / 500.0)))
    assert float(camera_errors(sample, camera_model(f"fov={degrees}")).max()) < 1e-3


def test_what_is_unknown_has_no_error(sample):
    sample = {**sample, "keypoints_2d": sample["keypoints_2d"].clone(), "keypoints_3d": sample["keypoints_3d"].clone()}
    nose, neck = keypoint_index("nose"), keypoint_index("neck")
    sample["keypoints_2d"][0, nose] = torch.tensor([torch.nan, torch.nan, 0.0])
    sample["keypoints_3d"][1, neck] = torch.tensor([torch.nan, torch.nan, torch.nan, 0.0])
    sample["keypoints_2d"][2, 3:, 2] = 0.0
    sample["true_3d"] = torch.tensor([True, True, True, False])
    unknown = camera_errors(sample, camera_model("reference")).isnan()
    assert unknown[0].nonzero().flatten().tolist() == [nose] and unknown[1].nonzero().flatten().tolist() == [neck]
    assert unknown[2].all(), "three keypoints fit any camera"
    assert unknown[3].all(), "pseudo labels say nothing about cameras"


def test_a_baseline_brings_camera_and_rotations(sample, regressor, open_body):
    from regressor.geometry.camera import translation_to_crop_camera
    from regressor.network.prediction import Prediction

    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.3, 0.0]))
    camera = translation_to_crop_camera(sample["translation"], sample["box"], sample["K"])

    def oracle(images, *, box, K, body=None):
        pose = sample["body_pose"].clone()
        pose[:, 3] = pose[:, 3] @ turn
        return Prediction(sample["global_orient"][:, None], pose, sample["betas"], camera, box, K)

    sample["has_global_orient"] = torch.tensor([False, True, True, True])
    apart, angles = baseline_errors(sample, oracle, open_body)
    assert float(apart.max()) < 1e-3
    assert torch.allclose(angles[:, 4], torch.tensor(0.3), atol=1e-3)
    assert angles[:, 0].isnan().tolist() == [True, False, False, False]
    assert angles[1:, 0].abs().max() < 1e-3


def test_thresholds_are_quantiles(crops_file):
    store = open_crops(crops_file)
    result = calibrate(
        store,
        "train",
        camera=camera_model("reference"),
        options=CalibrationOptions(quantile=0.75, weight=0.2, batch=5),
    )
    errors = camera_errors(store.sample(np.arange(12), "train"), camera_model("reference")).numpy()
    assert (result.samples, result.used) == (12, 12)
    assert list(result.tals.keypoints_2d) == list(KEYPOINT_NAMES) and not result.tals.rotations
    for row, column in zip(result.keypoints, errors.T, strict=True):
        assert row.threshold == pytest.approx(np.quantile(column, 0.75), abs=1e-6)
        assert result.tals.keypoints_2d[row.name] == pytest.approx(row.threshold**2)
    assert result.tals.weight == 0.2
    assert (
        len(
            calibrate(store, "train", camera=camera_model("reference"), options=CalibrationOptions(at_most=4)).keypoints
        )
        == 44
    )
    with pytest.raises(UserError, match="camera model or from a baseline"):
        calibrate(store, "train")
    with pytest.raises(UserError, match="The quantile is impossible"):
        CalibrationOptions(quantile=1.0)


def test_nothing_to_look_at_is_told(tmp_path, annotated_people):
    people = annotated_people(3)
    people["keypoints_3d"][..., 3] = 0.0
    with write_crops(tmp_path / "c.h5", 32, {"train": 3}, {}) as writer:
        writer.append("train", {name: values.numpy() for name, values in people.items()})
    with pytest.raises(UserError, match="Nothing to calibrate on"):
        calibrate(open_crops(tmp_path / "c.h5"), "train", camera=camera_model("reference"))


def test_bodies_stand_in_for_missing_3d(tmp_path, annotated_people, open_body):
    people = annotated_people(4)
    exact = with_posed_keypoints({**people, "keypoints_3d": torch.zeros(4, 44, 4)}, open_body)
    torch.testing.assert_close(exact["keypoints_3d"], people["keypoints_3d"], atol=1e-5, rtol=1e-5)
    assert with_posed_keypoints(people, open_body) is people, "what is annotated stays"
    without = {**people, "keypoints_3d": torch.zeros(4, 44, 4), "has_betas": torch.tensor([True, True, False, True])}
    assert (with_posed_keypoints(without, open_body)["keypoints_3d"][..., 3] > 0).any(1).tolist() == [1, 1, 0, 1]
    with write_crops(tmp_path / "c.h5", 32, {"train": 4}, {}) as writer:
        writer.append("train", {name: values.numpy() for name, values in without.items()})
    store, camera = open_crops(tmp_path / "c.h5"), camera_model("true")
    with pytest.raises(UserError, match="--body"):
        calibrate(store, "train", camera=camera)
    calibration = calibrate(store, "train", camera=camera, body=open_body)
    assert calibration.used == 3 and max(row.threshold for row in calibration.keypoints) < 1e-3


def test_shards_are_cut_at_the_size_of_the_baseline(tmp_path, crops_file, regressor, open_body):
    prepared = CliRunner().invoke(
        main, ["prepare", "synthetic", str(crops_file), "--out", str(tmp_path / "shards"), "--workers", "1"]
    )
    assert prepared.exit_code == 0, prepared.output
    store = open_crops(tmp_path / "shards")
    assert store.size != regressor.config.image_size
    calibration = calibrate(store, "train", baseline=regressor.eval(), body=open_body)
    assert calibration.used == 12 and set(calibration.tals.rotations) == set(JOINT_NAMES[:22])
    assert calibration.still == ("left_hand", "right_hand") and calibration.split == "train"


def test_thresholds_that_forgive_everything_are_warned_of():
    rows = [Row("pelvis", 5, 1.0, 1.0, np.radians(44)), Row("left_knee", 5, 1.0, 1.0, np.radians(170))]
    loose = Calibration(TalsConfig(source="s"), [], rows, 5, 5, "val")
    (warning,) = loose.warnings()
    assert "left_knee 170°" in warning and "pelvis" not in warning and "45°" in warning
    assert warning in loose.to_markdown() and "split 'val'" in loose.to_markdown()
    assert Calibration(TalsConfig(), [], rows[:1], 5, 5, "val").warnings() == []
