"""SMPL-family files: equal to smplx on the same arrays; pickles that are strange, broken or hostile."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from tokenizer.body.model import load_body
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import PARENTS
from tokenizer.engine.errors import UserError
from tokenizer.engine.safe_pickle import load_pickle

FIXTURES = Path(__file__).parents[2].parent / "shared" / "reference" / "fixtures" / "body"
VERTICES = 6890


def synthetic_model(joints=24, seed=0):
    draw = np.random.default_rng(seed)
    parents = np.array([-1, *PARENTS[1:], *(20 + i % 2 for i in range(joints - 24))][:joints])
    weights = draw.random((VERTICES, joints)) ** 8
    regressor = np.zeros((joints, VERTICES))
    for joint in range(joints):
        regressor[joint, draw.integers(0, VERTICES, 6)] = 1 / 6
    return {
        "v_template": draw.normal(size=(VERTICES, 3)) * 0.4,
        "shapedirs": draw.normal(size=(VERTICES, 3, 10)) * 0.02,
        "posedirs": draw.normal(size=(VERTICES, 3, 9 * (joints - 1))) * 0.003,
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(joints)]).astype(np.uint32),
        "f": draw.integers(0, VERTICES, (100, 3)).astype(np.uint32),
    }


def test_equal_to_smplx_on_the_same_arrays(tmp_path):
    import smplx

    model = synthetic_model()
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **model)
    body = load_body(tmp_path)
    oracle = smplx.SMPL(
        model_path="", data_struct=smplx.utils.Struct(**model), num_betas=10, create_transl=False,
        use_hands=False, use_feet_keypoints=False,
    )  # fmt: skip
    rotations = axis_angle_to_matrix(0.6 * torch.randn(3, 24, 3))
    betas, shift = torch.randn(3, 10), torch.randn(3, 3)
    expected = oracle(
        betas=betas, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], transl=shift, pose2rot=False
    )
    arguments = {"root": rotations[:, 0], "betas": betas, "translation": shift}
    assert (body.joints(rotations[:, 1:], **arguments) - expected.joints[:, :24]).abs().max() < 1e-5
    assert (body.vertices(rotations[:, 1:], **arguments) - expected.vertices).abs().max() < 1e-5
    some = torch.arange(0, VERTICES, 97)
    assert (body.vertices(rotations[:, 1:], subset=some, **arguments) - expected.vertices[:, some]).abs().max() < 1e-5


def test_open_arrays_equal_smplx_skinning(open_body):
    from smplx.lbs import lbs

    rotations, betas = axis_angle_to_matrix(0.5 * torch.randn(2, 24, 3)), torch.randn(2, 10)
    expected, joints = lbs(
        betas, rotations, open_body.v_template, open_body.shapedirs, torch.zeros(207, len(open_body.v_template) * 3),
        open_body.J_regressor, torch.tensor(open_body.parents), open_body.weights, pose2rot=False,
    )  # fmt: skip
    arguments = {"root": rotations[:, 0], "betas": betas}
    assert (open_body.vertices(rotations[:, 1:], **arguments) - expected).abs().max() < 1e-5
    assert (open_body.joints(rotations[:, 1:], **arguments) - joints).abs().max() < 1e-5


@pytest.mark.parametrize(("joints", "kind"), [(52, "smplh"), (55, "smplx")])
def test_hands_of_larger_models(tmp_path, joints, kind):
    model = synthetic_model(joints)
    if kind == "smplx":
        model = {k: np.concatenate([v, v[:4000]]) if k in ("v_template", "shapedirs", "posedirs", "weights") else v
                 for k, v in model.items()}  # fmt: skip
        model["J_regressor"] = np.pad(model["J_regressor"], ((0, 0), (0, 4000)))
    np.savez(tmp_path / "model.npz", **model)
    body = load_body(tmp_path / "model.npz")
    assert body.kind == kind and body.joints(torch.eye(3).expand(2, 21, 3, 3)).shape == (2, 24, 3)
    pose = axis_angle_to_matrix(0.3 * torch.randn(2, joints - 1, 3))
    assert body.vertices(pose, subset=torch.arange(5)).shape == (2, 5, 3)


@pytest.mark.skipif(not FIXTURES.exists(), reason="recorded outputs are not part of a clone")
def test_equal_to_the_recorded_body(tmp_path):
    regressor = np.load(FIXTURES / "smpl_to_j19.npz")["regressor"]
    np.savez(tmp_path / "j19.npz", regressor=regressor)
    body = load_body(FIXTURES / "smpl.npz", extra_regressor=tmp_path / "j19.npz")
    golden = np.load(FIXTURES / "golden_smpl.npz")
    rotations = axis_angle_to_matrix(torch.from_numpy(golden["aa"]))
    arguments = {"root": rotations[:, 0], "betas": torch.from_numpy(golden["betas"])}
    assert np.abs(body.vertices(rotations[:, 1:], **arguments).numpy() - golden["vertices"]).max() < 5e-6
    assert np.abs(body.keypoints(rotations[:, 1:], **arguments).numpy() - golden["joints44"]).max() < 5e-6


@pytest.fixture
def chumpy(monkeypatch):
    """Modules that look like chumpy, so that pickles of its objects can be written."""
    module, inner = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x):
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    inner.Ch = Ch
    monkeypatch.setitem(sys.modules, "chumpy", module)
    monkeypatch.setitem(sys.modules, "chumpy.ch", inner)
    return Ch


def test_official_pickles_are_read_without_chumpy(tmp_path, chumpy, monkeypatch):
    model = synthetic_model()
    np.savez(tmp_path / "plain.npz", **model)
    model["shapedirs"] = chumpy(model["shapedirs"])
    model["J_regressor"] = sparse.csc_matrix(model["J_regressor"])
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(model, protocol=2))
    monkeypatch.delitem(sys.modules, "chumpy")
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    body, plain = load_body(tmp_path), load_body(tmp_path / "plain.npz")
    assert torch.equal(body.shapedirs, plain.shapedirs)
    assert torch.allclose(body.joint_template, plain.joint_template, atol=1e-6)


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, np.loadtxt, getattr])
def test_hostile_pickles_are_refused_by_name_and_do_not_run(tmp_path, function):
    marker = tmp_path / "ran"
    argument = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"v_template": Hostile(function, argument, "x")}))
    with pytest.raises(UserError, match=f"could run code.*{function.__name__}"):
        load_pickle(tmp_path / "bad.pkl")
    with pytest.raises(UserError, match="could run code"):
        load_body(tmp_path / "bad.pkl")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_load(tmp_path, protocol):
    value = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2.5), "c": ["x", (1, None)], "d": b"y"}
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    loaded = load_pickle(tmp_path / "p.pkl")
    assert np.array_equal(loaded["a"], value["a"]) and loaded["b"] == 2.5 and loaded["c"] == value["c"]


def test_missing_and_broken_files_get_words(tmp_path):
    with pytest.raises(UserError, match=r"No neutral body model.*smpl\.is\.tue\.mpg\.de"):
        load_body(tmp_path)
    model = synthetic_model()
    np.savez(tmp_path / "a.npz", **{k: v for k, v in model.items() if k != "weights"})
    with pytest.raises(UserError, match="no weights"):
        load_body(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **(model | {"weights": model["weights"][:, :7]}))
    with pytest.raises(UserError, match=r"weights \(6890, 7\), not \(6890, 24\)"):
        load_body(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:1000])
    with pytest.raises(UserError, match="Cannot read body model"):
        load_body(tmp_path / "c.npz")
    (tmp_path / "d.pkl").write_bytes(pickle.dumps(model)[:500])
    with pytest.raises(UserError, match="Cannot read"):
        load_body(tmp_path / "d.pkl")
    np.savez(tmp_path / "e.npz", **(model | {"v_template": model["v_template"] * np.nan}))
    with pytest.raises(UserError, match="not finite"):
        load_body(tmp_path / "e.npz")
