"""SMPL-family files: found, equal to smplx on the same arrays; files that are strange or broken."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from tokenizer.body.model import load_body
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import PARENTS
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.npz import read_npz

FIXTURES = Path(__file__).parents[3].parent / "shared" / "reference" / "fixtures" / "body"
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
        model_path="",
        data_struct=smplx.utils.Struct(**model),
        num_betas=10,
        create_transl=False,
        use_hands=False,
        use_feet_keypoints=False,
    )
    rotations = axis_angle_to_matrix(0.6 * torch.randn(3, 24, 3))
    betas, shift = torch.randn(3, 10), torch.randn(3, 3)
    expected = oracle(
        betas=betas, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], transl=shift, pose2rot=False
    )
    arguments = {"root": rotations[:, 0], "betas": betas, "translation": shift}
    assert (body.joints(rotations[:, 1:], **arguments) - expected.joints[:, :24]).abs().max() < 1e-5
    assert (body.vertices(rotations[:, 1:], **arguments) - expected.vertices).abs().max() < 1e-5
    subset = torch.arange(0, VERTICES, 97)
    assert (
        body.vertices(rotations[:, 1:], subset=subset, **arguments) - expected.vertices[:, subset]
    ).abs().max() < 1e-5


def test_open_arrays_equal_smplx_skinning(open_body):
    from smplx.lbs import lbs

    rotations, betas = axis_angle_to_matrix(0.5 * torch.randn(2, 24, 3)), torch.randn(2, 10)
    expected, joints = lbs(
        betas,
        rotations,
        open_body.v_template,
        open_body.shapedirs,
        torch.zeros(207, len(open_body.v_template) * 3),
        open_body.J_regressor,
        torch.tensor(open_body.parents),
        open_body.weights,
        pose2rot=False,
    )
    arguments = {"root": rotations[:, 0], "betas": betas}
    assert (open_body.vertices(rotations[:, 1:], **arguments) - expected).abs().max() < 1e-5
    assert (open_body.joints(rotations[:, 1:], **arguments) - joints).abs().max() < 1e-5


@pytest.mark.parametrize(("joints", "kind"), [(52, "smplh"), (55, "smplx")])
def test_hands_of_larger_models(tmp_path, joints, kind):
    model = synthetic_model(joints)
    if kind == "smplx":
        model = {
            k: np.concatenate([v, v[:4000]]) if k in ("v_template", "shapedirs", "posedirs", "weights") else v
            for k, v in model.items()
        }
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
    larger = load_body(FIXTURES / "smplh_neutral.npz")
    golden = np.load(FIXTURES.parent / "tokenizer_tiny" / "golden.npz")
    rotations = torch.from_numpy(golden["dec_rotmat"])
    assert np.abs(larger.vertices(rotations).numpy() - golden["dec_vertices"]).max() < 5e-6
    assert np.abs(larger.joints(rotations)[:, :22].numpy() - golden["dec_joints"][:, :22]).max() < 5e-6


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


def test_files_that_do_not_fit_together_get_words(tmp_path):
    model = synthetic_model()
    swapped = model["kintree_table"].copy()
    swapped[0, 3] = 7
    broken = {
        "unexpected shapes.*kintree_table": {"kintree_table": np.uint32(3)},
        "unexpected shapes.*shapedirs": {"shapedirs": np.zeros(4)},
        "unexpected shapes.*<U1": {"weights": np.full((VERTICES, 24), "x")},
        "unexpected shapes.*7 joints": {
            "kintree_table": model["kintree_table"][:, :7],
            "posedirs": model["posedirs"][..., :54],
            "J_regressor": model["J_regressor"][:7],
            "weights": model["weights"][:, :7],
        },
        "joints before their parents": {"kintree_table": swapped},
        "faces of vertices it does not have": {"f": np.array([[0, 1, VERTICES]])},
    }
    for match, change in broken.items():
        np.savez(tmp_path / "model.npz", **(model | change))
        with pytest.raises(UserError, match=match):
            load_body(tmp_path / "model.npz")
    np.savez(tmp_path / "model.npz", **model)
    with pytest.raises(UserError, match="no such number of betas; got 11"):
        load_body(tmp_path / "model.npz", num_betas=11)
    np.savez(tmp_path / "model.npz", v_template=np.array([{}, []], dtype=object))
    with pytest.raises(UserError, match="Cannot read body model"):
        load_body(tmp_path / "model.npz")


def test_every_damage_of_an_npz_is_one_message(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", v_template=np.arange(60.0).reshape(20, 3), weights=np.ones((3, 3)))
    whole = (tmp_path / "a.npz").read_bytes()
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xA7
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            arrays = read_npz(tmp_path / "a.npz")
        except UserError:
            refused += 1
        else:
            assert all(
                np.array_equal(values, np.arange(60.0).reshape(20, 3))
                for key, values in arrays.items()
                if key == "v_template"
            )
    assert refused > len(whole) / 3
    np.save(tmp_path / "b.npy", np.ones(3))
    for path in (tmp_path / "b.npy", tmp_path / "nowhere.npz", tmp_path):
        with pytest.raises(UserError, match="Cannot read"):
            read_npz(path)


@pytest.mark.parametrize(
    ("name", "gender", "kind"),
    [
        ("SMPL_MALE.npz", "male", "smpl"),
        ("smpl/SMPL_NEUTRAL.npz", "neutral", "smpl"),
        ("basicmodel_f_lbs_10_207_0_v1.1.0.npz", "female", "smpl"),
        ("smplh/male/model.npz", "male", "smplh"),
    ],
)
def test_the_makers_file_names_are_found(tmp_path, name, gender, kind):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **synthetic_model(52 if kind == "smplh" else 24))
    for source in (tmp_path, path):
        body = load_body(source, gender=gender)
        assert (body.kind, body.gender) == (kind, gender)
    assert load_body(path).gender == gender, "the file's name says it"
    if gender != "neutral":
        with pytest.raises(UserError, match=f"No neutral body model.*got .*{path.name}"):
            load_body(tmp_path)


def test_fingers_move_as_in_smplx_and_count_as_hands(tmp_path):
    """The full mesh goes through smplx, its rows through our skinning: two ways to one result."""
    model = synthetic_model(52)
    np.savez(tmp_path / "model.npz", **model)
    body = load_body(tmp_path / "model.npz")
    pose, betas = axis_angle_to_matrix(0.5 * torch.randn(2, 51, 3)), torch.randn(2, 10)
    mesh = body.vertices(pose, betas=betas, translation=torch.ones(3))
    rows = body.vertices(pose, betas=betas, translation=torch.ones(3), subset=torch.arange(VERTICES))
    assert (mesh - rows).abs().max() < 1e-5
    with_smpl_hands = torch.cat([pose[:, :21], pose[:, 30:32]], 1)
    assert torch.equal(body.joints(with_smpl_hands), body.joints(pose[:, :21]))
    assert body.vertex_part.max() < 24
    parts = body.vertex_part[torch.from_numpy(model["weights"][:, 22:].sum(1)) > 0.95]
    assert len(parts) and set(parts.tolist()) <= {22, 23}


def test_keypoints_of_smpl_are_joints_landmarks_and_the_regressor(tmp_path):
    import smplx

    model = synthetic_model()
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **model)
    regressor = np.zeros((19, VERTICES))
    regressor[np.arange(19), np.arange(19) * 11] = 1
    np.savez(tmp_path / "extra.npz", other=np.ones(3), any_name=regressor)
    (tmp_path / "extra.pkl").write_bytes(pickle.dumps(sparse.csc_matrix(regressor), protocol=2))
    oracle = smplx.SMPL(model_path="", data_struct=smplx.utils.Struct(**model), num_betas=10, create_transl=False)
    rotations, betas = axis_angle_to_matrix(0.6 * torch.randn(3, 24, 3)), torch.randn(3, 10)
    expected = oracle(betas=betas, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], pose2rot=False)
    # smplx's 45: 24 joints; nose; right and left eye; right and left ear; left toes and heel; right toes and heel.
    openpose = [24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34]
    for extra in ("extra.npz", "extra.pkl"):
        body = load_body(tmp_path, extra_regressor=tmp_path / extra)
        assert len(body.keypoint_vertices) < 40, "keypoints never pay for the full mesh"
        points = body.keypoints(rotations[:, 1:], root=rotations[:, 0], betas=betas)
        assert (points[:, :25] - expected.joints[:, openpose]).abs().max() < 1e-5
        assert (points[:, 25:] - expected.vertices[:, np.arange(19) * 11]).abs().max() < 1e-5
    np.savez(tmp_path / "two.npz", a=regressor, b=regressor)
    for bad in ("two.npz", "SMPL_NEUTRAL.npz"):
        with pytest.raises(UserError, match="Cannot use extra joint regressor"):
            load_body(tmp_path, extra_regressor=tmp_path / bad)
    with pytest.raises(UserError, match="SMPL-family"):
        load_body("open", extra_regressor=tmp_path / "extra.npz")
