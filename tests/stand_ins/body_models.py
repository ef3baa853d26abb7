"""SMPL-family files of drawn bodies."""

from __future__ import annotations

import numpy as np

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
