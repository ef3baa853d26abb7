"""4D-Humans tars: who counts, what was measured, which confidences are taken."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from image_data_sets import (
    fitted_person,
    jpeg,
    write_tar,
)
from scipy.spatial.transform import Rotation

from regressor.datasets.annotation import FitRules, ReadOptions, read_keys
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from tokenizer.engine.errors import UserError


def prepare(name, sources, out, *, split="train", **reading):
    options = ReadOptions(split=split, **reading)
    return prepare_shards(name, list(sources), out, options, StoreOptions(), workers=1)


def test_tars_of_4d_humans(tmp_path):
    people = [fitted_person(), fitted_person(has_body_pose=np.array(0.0)), fitted_person(has_betas=np.array(0.0))]
    masks = io.BytesIO()
    np.savez(masks, masks=np.zeros((1, 4, 4), bool))
    write_tar(
        tmp_path / "000000.tar",
        [
            ("a/x.jpg", jpeg()),
            ("a/x.detection.npz", masks.getvalue()),
            ("a/x.data.pyd", pickle.dumps(people)),
            ("a/y.data.pyd", pickle.dumps([])),
            ("a/y.png", jpeg()),
            ("notes.txt", b"hello"),
        ],
    )
    report = prepare("4dhumans", [tmp_path], tmp_path / "out")
    assert (report.people, report.broken, report.skipped) == ({"train": 3}, [], {"nobody in the picture": 1})
    sample = open_crops(tmp_path / "out").sample(np.arange(3), "train")
    assert sample["box"].tolist() == [[60, 35, 140, 115]] * 3  # the longer side, 0.4 × 200
    for name in ("body_pose", "global_orient", "betas"):
        assert sample[f"has_{name}"].tolist() == [True, False, False], "pose and shape only together"
    assert not sample["true_3d"].any() and sample["keypoints_2d"][0, 7].tolist() == [0, 0, 1]
    root = Rotation.from_rotvec(people[0]["body_pose"][:3]).as_matrix()
    np.testing.assert_allclose(sample["global_orient"][0], root, atol=1e-6)
    np.testing.assert_allclose(sample["keypoints_3d"][0], people[0]["keypoints_3d"])
    np.testing.assert_allclose(sample["betas"][0], people[0]["betas"], rtol=1e-6)


def test_who_of_4d_humans_counts(tmp_path):
    """As HMR2.0 was trained: each rule, its limit, and its words in the list of what is left out."""
    unsure, few = fitted_person(), fitted_person()
    unsure["keypoints_2d"][:40, 2] = 0.29
    few["keypoints_2d"][:41, 2] = 0.29
    people = [
        fitted_person(),
        unsure,
        few,
        fitted_person(extra_info={"fitting_loss": np.array(31_000.0)}),
        fitted_person(extra_info={"fitting_loss": np.array([31_001.0])}),
    ]
    one = pickle.dumps([fitted_person()])
    write_tar(
        tmp_path / "0.tar",
        [
            ("a/x.jpg", jpeg()),
            ("a/x.data.pyd", pickle.dumps(people)),
            ("a/bad.jpg", jpeg()),
            ("a/bad.data.pyd", one),
            ("b/worse.jpg", jpeg()),
            ("b/worse.data.pyd", one),
        ],
    )
    rules = FitRules(corrupt=frozenset({"bad", "b/worse"}))
    report = prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out", fits=rules)
    assert report.people == {"train": 3}
    known = (open_crops(tmp_path / "out").sample(np.arange(3), "train")["keypoints_2d"][..., 2] > 0).sum(1)
    assert known.tolist() == [44, 4, 44]
    listed = (tmp_path / "out" / "left_out.txt").read_text()
    for expected in (
        "person 2 has too few 2D keypoints; got 3 from confidence 0.3",
        "person 4 was fitted badly",
        "31001",
        "a/bad\tlisted as corrupt",
        "b/worse\tlisted as corrupt",
    ):
        assert expected in listed, expected
    assert "31000" in report.about["note"] and "0.3" in report.about["note"]
    everybody = FitRules(0.0, 0, float("inf"))
    assert prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out", fits=everybody).people == {"train": 7}
    keys = tmp_path / "keys.txt"
    keys.write_text("bad  # torn\n\nb/worse\n")
    assert read_keys(keys) == rules.corrupt
    with pytest.raises(UserError, match="list of keys"):
        read_keys(tmp_path / "no.txt")


@pytest.mark.parametrize(("tar", "measured"), [("h36m-train/0.tar", True), ("H36M_0.tar", True), ("coco/0.tar", False)])
def test_bodies_of_human36m_were_measured(tmp_path, tar, measured):
    (tmp_path / tar).parent.mkdir(exist_ok=True)
    write_tar(tmp_path / tar, [("x.jpg", jpeg()), ("x.data.pyd", pickle.dumps([fitted_person()]))])
    prepare("4dhumans", [(tmp_path / tar)], tmp_path / "out")
    assert open_crops(tmp_path / "out").sample(np.arange(1), "train")["true_3d"].tolist() == [measured]


@pytest.mark.parametrize(("sure", "taken"), [(1.05, True), (-0.1, False), (1.5, False)])
@pytest.mark.parametrize("name", ["keypoints_2d", "keypoints_3d"])
def test_confidences_outside_0_to_1_are_no_confidences(tmp_path, name, sure, taken):
    """A detector's score of 1.05 counts as 1; what is below 0 or far above 1 is refused, and listed."""
    other = fitted_person()
    other[name][3, -1] = sure
    write_tar(tmp_path / "0.tar", [("x.jpg", jpeg()), ("x.data.pyd", pickle.dumps([fitted_person(), other]))])
    report = prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out")
    assert report.people == {"train": 1 + taken} and len(report.broken) == 1 - taken
    if taken:
        assert open_crops(tmp_path / "out").sample(np.array([1]), "train")[name][0, 3, -1] == 1
    else:
        where, reason = report.broken[0]
        assert "person 1" in where and f"{name} of" in reason and "confidences" in reason and "0 to 1" in reason
