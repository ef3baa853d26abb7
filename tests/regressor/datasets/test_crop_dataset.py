"""Crop data sets, however they are stored."""

from __future__ import annotations

import numpy as np
import pytest

from regressor.datasets.crop_dataset import check_body_model, open_crops
from regressor.evaluation.scoring_bodies import load_scoring_bodies
from tokenizer.body.skeleton import PARENTS

VERTICES = 6890


def write_model(path, scale=1.0, joints=24):
    """A SMPL-family file with as many vertices as the real ones, all joints at their own vertex."""
    parents = np.array([0, *PARENTS[1:], *[20] * (joints - 24)])
    weights = np.zeros((VERTICES, joints), np.float32)
    weights[np.arange(VERTICES), np.arange(VERTICES) % joints] = 1
    template = scale * np.random.default_rng(0).normal(size=(VERTICES, 3))
    np.savez(
        path,
        v_template=template,
        shapedirs=np.zeros((VERTICES, 3, 10)),
        weights=weights,
        f=np.array([[0, 1, 2]]),
        posedirs=np.zeros((VERTICES, 3, 9 * (joints - 1)), np.float32),
        J_regressor=np.eye(joints, VERTICES),
        kintree_table=np.stack([parents, np.arange(joints)]),
    )
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for gender, scale in (("NEUTRAL", 1.0), ("FEMALE", 0.9), ("MALE", 1.1)):
        write_model(folder / f"SMPL_{gender}.npz", scale)
    return folder


def test_training_smpl_annotation_on_the_open_body_is_told(models, open_body, crops_file):
    store = open_crops(crops_file)
    assert check_body_model([store], open_body) is None
    store.attributes["format"] = "bedlam"
    assert "Give SMPL's neutral model" in check_body_model([store], open_body)
    assert check_body_model([store], load_scoring_bodies(models).predicted) is None
