"""Pickles of MOYO and MoSh++, and TokenHMR's prepared npz: every layout is read, nothing in a pickle is run."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import sys
import types
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.commands.cli import main
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.safe_pickle import load_pickle
from tokenizer.mocap.parameters import MOYO_FPS
from tokenizer.mocap.prepare import PrepareOptions, prepare
from tokenizer.mocap.readers import read_clip
from tokenizer.mocap.store import open_store


class NumpyArrayWrapper:
    """What joblib puts in a pickle for an array, whose bytes follow."""


class _JoblibPickler(pickle._Pickler):
    """Writes arrays as joblib 1.x does: out of line, padded to 16 bytes, after the frame that announces them."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.file = file

    def save(self, value, save_persistent_id=True):
        if not isinstance(value, np.ndarray):
            return super().save(value, save_persistent_id)
        wrapper, fortran = NumpyArrayWrapper(), value.flags.f_contiguous and not value.flags.c_contiguous
        vars(wrapper).update(
            subclass=np.ndarray,
            shape=value.shape,
            order="F" if fortran else "C",
            dtype=value.dtype,
            allow_mmap=not value.dtype.hasobject,
            numpy_array_alignment_bytes=16,
        )
        super().save(wrapper)
        if self.proto >= 4:
            self.framer.commit_frame(force=True)
        if value.dtype.hasobject:
            return pickle.dump(value, self.file, protocol=2)
        padding = 16 - (self.file.tell() + 1) % 16
        return self.file.write(bytes([padding]) + b"\xff" * padding + value.tobytes("F" if fortran else "C"))


def joblib_bytes(content: object, protocol: int = 4) -> bytes:
    memory, module = io.BytesIO(), types.ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = NumpyArrayWrapper
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NumpyArrayWrapper, "__module__", module.__name__)
        patch.setitem(sys.modules, "joblib", types.ModuleType("joblib"))
        patch.setitem(sys.modules, module.__name__, module)
        _JoblibPickler(memory, protocol).dump(content)
    return memory.getvalue()


def smpl_fit(frames: int = 6) -> dict[str, object]:
    draw = np.random.default_rng(0)
    return {
        "global_orient": draw.normal(size=(frames, 3)),
        "body_pose": draw.normal(size=(frames, 69)) * 0.3,
        "transl": np.asfortranarray(draw.normal(size=(frames, 3))),
        "betas": draw.normal(size=(frames, 11)),
    }


def moshpp(frames: int = 6) -> dict[str, object]:
    draw = np.random.default_rng(1)
    return {
        "fullpose": draw.normal(size=(frames, 165)) * 0.3,
        "trans": np.ones((frames, 3)),
        "betas": np.arange(16.0),
        "markers_latent": {"ARIEL": 3},
        "stageii_debug_details": {"mocap_frame_rate": 60, "stageii_errs": {}},
    }


def older_mosh(frames: int = 6) -> dict[str, object]:
    full = moshpp(frames)
    return {
        "pose_est_fullposes": np.asarray(full["fullpose"])[:, :156],
        "pose_est_trans": full["trans"],
        "shape_est_betas": full["betas"],
        "mocap_framerate": np.float64(120.0),
        "gender": b"male",
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("pack", [bytes, zlib.compress, gzip.compress])
def test_smpl_fits_by_joblib(tmp_path, protocol, pack):
    content = smpl_fit()
    path = tmp_path / "a_stageii_smpl.pkl"
    path.write_bytes(pack(joblib_bytes(content, protocol)))
    clip = read_clip(path)
    np.testing.assert_allclose(clip.pose_body.reshape(6, 63), content["body_pose"][:, :63], atol=1e-6)
    np.testing.assert_allclose(clip.root, content["global_orient"], atol=1e-6)  # type: ignore[call-overload]
    np.testing.assert_allclose(clip.translation, content["transl"], atol=1e-6)  # type: ignore[call-overload]
    np.testing.assert_allclose(clip.betas, content["betas"], atol=1e-6)  # type: ignore[call-overload]
    assert (clip.fps, clip.gender, clip.up) == (MOYO_FPS, "neutral", "unknown")


def test_joblib_keeps_every_kind_of_value(tmp_path):
    content = {
        "rows": np.arange(6).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "n": [1, "a"],
        "objects": np.array(["x", None, np.arange(2)], dtype=object),
        "empty": np.zeros((0, 3)),
        "text": np.array("é"),
    }
    path = tmp_path / "all.pkl"
    path.write_bytes(joblib_bytes(content))
    loaded = load_pickle(path)
    assert list(loaded) == list(content) and loaded["n"] == [1, "a"]
    for name in ("rows", "columns", "empty", "text"):
        assert type(loaded[name]) is np.ndarray and loaded[name].dtype == content[name].dtype
        np.testing.assert_array_equal(loaded[name], content[name])
    np.testing.assert_array_equal(loaded["objects"][2], [0, 1])
    assert loaded["objects"][:2].tolist() == ["x", None] and type(loaded["objects"][2]) is np.ndarray


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_moshpp_and_what_came_before(tmp_path, protocol):
    path = tmp_path / "a_stageii.pkl"
    for content, poses, rate, gender in (
        (moshpp(), "fullpose", 60, "neutral"),
        (older_mosh(), "pose_est_fullposes", 120, "male"),
    ):
        path.write_bytes(pickle.dumps(content, protocol))
        clip = read_clip(path)
        np.testing.assert_allclose(clip.pose_body.reshape(6, 63), content[poses][:, 3:66], atol=1e-6)
        np.testing.assert_allclose(clip.root, content[poses][:, :3], atol=1e-6)
        assert (clip.fps, clip.gender, clip.betas.shape) == (rate, gender, (16,))


BROKEN = {
    "24 joints with the root": (smpl_fit, {"body_pose": np.zeros((6, 72))}, r"\(6, 72\), 24 joints as in SMPL"),
    "a flat pose": (moshpp, {"fullpose": np.zeros(165)}, r"translation of another length"),
    "no frame rate": (moshpp, {"stageii_debug_details": {}}, "got no frame rate"),
    "frame rate 0": (older_mosh, {"mocap_framerate": 0}, "frame rate; got 0"),
    "frame rate 0 of a fit": (smpl_fit, {"mocap_frame_rate": 0.0}, "frame rate; got 0"),
    "no frames": (smpl_fit, {key: value[:0] for key, value in smpl_fit().items()}, "no frames"),
    "NaN": (smpl_fit, {"body_pose": np.full((6, 69), np.nan)}, "poses that are not finite; got first in frame 0"),
    "infinite betas of a frame": (
        smpl_fit,
        {"betas": np.where(np.arange(6)[:, None] == 4, np.inf, np.zeros((6, 9)))},
        "betas that are not finite; got first in frame 4",
    ),
    "short root": (smpl_fit, {"global_orient": np.zeros((5, 3))}, "root of another length"),
    "short betas": (smpl_fit, {"betas": np.zeros((5, 10))}, "betas of another length"),
    "text": (moshpp, {"fullpose": "none"}, "fullpose "),
    "no motion": (moshpp, {"fullpose": None}, "holds no poses known here; got keys trans"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_content_gets_its_reason(tmp_path, case):
    make, changes, message = BROKEN[case]
    content = {key: value for key, value in {**make(), **changes}.items() if value is not None}
    (tmp_path / "a_stageii.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message):
        read_clip(tmp_path / "a_stageii.pkl")


class _Bomb:
    def __init__(self, path: os.PathLike[str]) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_hostile_pickle_named_like_a_moyo_file_is_refused_and_listed(tmp_path):
    moyo, trap = tmp_path / "mosh_smpl" / "train", tmp_path / "executed"
    moyo.mkdir(parents=True)
    (moyo / "a_stageii_smpl.pkl").write_bytes(joblib_bytes(smpl_fit()))
    (moyo / "b_stageii_smpl.pkl").write_bytes(pickle.dumps({**smpl_fit(), "betas": _Bomb(trap)}))
    hidden = {**smpl_fit(), "betas": np.array([_Bomb(trap)], dtype=object)}
    (moyo / "c_stageii_smpl.pkl").write_bytes(joblib_bytes(hidden))
    (moyo / "d_stageii_smpl.pkl").write_bytes(zlib.compress(joblib_bytes(hidden)))
    done = CliRunner().invoke(main, ["prepare", str(moyo), "--out", str(tmp_path / "p.h5"), "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "3 files broken" in done.stderr and done.stderr.count("could run code") == 3
    assert all(f"{letter}_stageii_smpl.pkl" in done.stderr for letter in "bcd")
    assert not trap.exists() and len(open_store(tmp_path / "p.h5").sources) == 1


def test_a_small_file_cannot_become_a_large_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tokenizer.engine.files.safe_pickle._MOST_BYTES", 10_000)
    (tmp_path / "a.pkl").write_bytes(zlib.compress(pickle.dumps({"fullpose": bytes(10_000)})))
    with pytest.raises(UserError, match="longer than 10,000 bytes"):
        load_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("lie", [(2**31, 2**31), (-1, 165), (7, 165), ("6", 165), (6.0, 165)])
def test_joblib_arrays_that_lie_about_their_size(tmp_path, lie):
    data = joblib_bytes({"fullpose": np.zeros((6, 165))}, protocol=2)
    stated, told = (pickle.dumps(shape, 2)[2 : pickle.dumps(shape, 2).index(b"\x86") + 1] for shape in ((6, 165), lie))
    assert data.count(stated) == 1
    (tmp_path / "a.pkl").write_bytes(data.replace(stated, told))
    with pytest.raises(UserError, match="Cannot read"):
        load_pickle(tmp_path / "a.pkl")


WHOLE = joblib_bytes(smpl_fit(2))


@settings(max_examples=150, deadline=None)
@given(st.floats(0, 1), st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4))
def test_any_damage_is_a_user_error_or_harmless(tmp_path_factory, cut, flips):
    data = bytearray(WHOLE)
    for where, change in flips:
        data[int(where * len(data))] ^= change
    path = tmp_path_factory.getbasetemp() / "damaged_stageii_smpl.pkl"
    path.write_bytes(data[: int(cut * len(data))] if cut < 0.5 else data)
    try:
        clip = read_clip(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert np.isfinite(clip.pose_body).all()


def reference_npz(path, frames: int = 9, **changes: object):
    draw = np.random.default_rng(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "pose_body": draw.normal(size=(frames, 63)),
        "betas": draw.normal(size=(frames, 10)),
        "gender": np.array(["male"] * frames),
        "name": np.array(["CMU/01/01_01_poses.npz"] * frames),
    }
    np.savez(path, **{**content, **changes})
    return {**content, **changes}


def test_poses_prepared_by_the_reference_are_kept_frame_by_frame(tmp_path):
    """Also where the rest is thinned and cut: these frames have been, and do not follow one another."""
    content = reference_npz(tmp_path / "smplh" / "train" / "train_CMU.npz", 40)
    prepare([tmp_path / "smplh"], tmp_path / "p.h5", PrepareOptions(fps=1, trim=0.2, val_fraction=0), workers=1)
    store = open_store(tmp_path / "p.h5")
    np.testing.assert_allclose(
        np.sin(np.linalg.norm(store.poses("train"), axis=-1)) ** 2,
        np.sin(np.linalg.norm(content["pose_body"].reshape(40, 21, 3), axis=-1)) ** 2,
        atol=1e-5,
    )
    np.testing.assert_allclose(store.betas("train"), content["betas"], atol=1e-6)
    assert [(source.frames, source.fps) for source in store.sources] == [(40, 0.0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose_body": np.zeros((9, 69))}, r"pose_body \(9, 69\), 23 joints; expected pose_body \(M, 63\)"),
        ({"pose_body": np.zeros((9, 66))}, "22 joints as in a body without hands"),
        ({"betas": np.zeros(10)}, "no betas for its frames"),
        ({"betas": np.zeros((8, 10))}, "betas of another length"),
        ({"pose_body": np.array([_Bomb("x")], dtype=object)}, "Cannot read prepared poses"),
    ],
)
def test_prepared_poses_that_are_wrong(tmp_path, changes, message):
    reference_npz(tmp_path / "val_SFU.npz", **changes)
    with pytest.raises(UserError, match=message):
        read_clip(tmp_path / "val_SFU.npz")
