"""The benchmark of real people scores known answers as it should."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from pipelines.benchmarks.bench_people import (
    LIMBS,
    AnnotatedPerson,
    Seen,
    _match,
    _of_photographs,
    _pck,
    _share,
    annotated_people,
    detect_views,
    multiview,
)
from pipelines.cli import main
from regressor.config import BackboneConfig, DecoderConfig, HeadConfig
from regressor.network.model import build_regressor
from regressor.people.detection.detected_person import DetectedPerson
from tokenizer.body.camera import intrinsics
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import UserError


def annotated(x=0.0):
    keypoints = np.concatenate([np.stack([np.full(17, x), np.arange(17.0) * 10], 1), np.full((17, 1), 2)], 1)
    keypoints[0, 2] = 0  # the nose is not annotated
    return AnnotatedPerson(keypoints, 200.0)


def test_people_are_matched_by_their_keypoints():
    truth = annotated()
    near, far = truth.keypoints[:, :2] + [15, 0], truth.keypoints[:, :2] + [300, 0]
    assert _match(np.stack([far, near]), truth) == 1
    assert _match(np.stack([far]), truth) is None


def test_a_keypoint_is_right_within_a_tenth_of_the_box():
    truth = annotated()
    points = truth.keypoints[:, :2].copy()
    points[:5, 0] += 21
    points[5:8, 0] += 19
    assert _pck(points, truth) == (12, 16)  # the nose does not count
    assert _share([(12, 16), (4, 16)])[0] == pytest.approx(50)
    value, low, high = _share([(8, 16)] * 5)
    assert value == low == high == 50
    assert np.isnan(_share([])[0])


def test_the_detectors_own_3d_is_scored_up_to_a_similarity(tiny_config, tokenizer, open_body):
    config = replace(
        tiny_config,
        image_size=0,
        backbone=BackboneConfig(kind="keypoints", width=16, blocks=()),
        decoder=DecoderConfig(kind="mlp", width=16, blocks=1),
        head=HeadConfig(logits="free"),
    )
    torch.manual_seed(0)
    regressor = build_regressor(config, tokenizer).eval()
    truth = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    turn = axis_angle_to_matrix(torch.tensor([0.3, 0.2, 0.1])).numpy()
    own = 0.5 * truth @ turn.T + 3
    person = DetectedPerson(
        LIMBS, 100 * truth[:, :2] + 300, np.ones(12, np.float32), (0, 0, 9, 9), 1.0, "test", own, np.ones(12, bool)
    )
    views = [Seen("cam01", person, intrinsics(torch.tensor(900.0), 640, 480), truth)]
    errors = multiview(views, regressor, open_body, None)
    assert errors["cam01"]["detector"] == pytest.approx(0, abs=0.01) and errors["cam01"]["body"] > 50


def test_only_people_who_are_large_enough_are_asked_for(tmp_path):
    entry = {"image_id": 1, "keypoints": [5, 5, 2] * 8 + [0, 0, 0] * 9, "bbox": [0, 0, 50, 96]}
    small, few = {**entry, "bbox": [0, 0, 50, 95]}, {**entry, "keypoints": [5, 5, 2] * 7 + [0, 0, 0] * 10}
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [entry, small, few]}
    (tmp_path / "people.json").write_text(json.dumps(content), encoding="utf-8")
    people = annotated_people(tmp_path / "people.json")
    assert [len(each) for each in people.values()] == [1] and people["a.jpg"][0].side == 96


def test_shares_have_their_goal():
    found = {"people": 24, "found": 18, "body": (80.0, 70.0, 90.0), "detector": (85.0, 75.0, 95.0)}
    asked, body, _ = _of_photographs(found, "heavy")
    assert asked.measured == 75 and asked.met and body.value == "80.0 %" and "70.0 to 90.0" in body.what


def test_what_is_no_such_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.benchmarks.bench_people.Detector", lambda *_: None)
    (tmp_path / "multiview").mkdir()
    with pytest.raises(UserError, match="Cannot read"):
        detect_views(tmp_path / "multiview", "full")
    (tmp_path / "multiview" / "calibration.json").write_text('{"cameras": [', encoding="utf-8")
    with pytest.raises(UserError, match="Cannot read"):
        detect_views(tmp_path / "multiview", "full")
    camera = {"video": "cam01.mp4", "K": np.eye(3).tolist(), "distortion": [0] * 5}
    about = {"cameras": [camera], "joints": {"0": {}}}
    (tmp_path / "multiview" / "calibration.json").write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / "multiview" / "cam01.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"Cannot read frame 0 of .*cam01\.mp4"):
        detect_views(tmp_path / "multiview", "full")
    done = CliRunner().invoke(main, ["bench-people", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and "nowhere" in done.output
