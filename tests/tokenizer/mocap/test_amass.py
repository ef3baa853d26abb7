"""AMASS-layout files as they come: every known layout is read, everything broken gets a reason, nothing is run."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance
from tokenizer.engine.errors import UserError
from tokenizer.mocap.clip import canonical, jumping_frames
from tokenizer.mocap.readers import holds_no_motion
from tokenizer.mocap.readers import read_clip as read_amass


def smplh(frames: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    """What AMASS's SMPL-H files hold, marker NaNs included."""
    draw = np.random.default_rng(seed)
    return {
        "poses": draw.normal(size=(frames, 156)) * 0.3,
        "trans": draw.normal(size=(frames, 3)),
        "betas": draw.normal(size=16),
        "dmpls": draw.normal(size=(frames, 8)),
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
        "marker_data": np.full((frames, 41, 3), np.nan),
    }


def smplx(frames: int = 6) -> dict[str, np.ndarray]:
    poses = np.random.default_rng(1).normal(size=(frames, 165)) * 0.3
    return {
        "poses": poses,
        "root_orient": poses[:, :3],
        "pose_body": poses[:, 3:66],
        "pose_hand": poses[:, 75:],
        "trans": np.ones((frames, 3)),
        "betas": np.zeros(16),
        "num_betas": np.array(16),
        "gender": np.array("neutral"),
        "mocap_frame_rate": np.array(60.0),
        "surface_model_type": np.array("smplx"),
    }


@pytest.fixture
def save(tmp_path):
    def write(content: dict[str, np.ndarray], name: str = "clip_poses.npz"):
        np.savez(tmp_path / name, **content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("gender", [np.array("female"), np.array(b"female"), np.array(["female"]), np.array("Female")])
def test_smplh(save, gender):
    content = smplh()
    clip = read_amass(save({**content, "gender": gender}))
    np.testing.assert_allclose(clip.root, content["poses"][:, :3], atol=1e-6)
    np.testing.assert_allclose(clip.pose_body.reshape(6, 63), content["poses"][:, 3:66], atol=1e-6)
    np.testing.assert_allclose(clip.translation, content["trans"], atol=1e-6)
    assert (clip.fps, clip.gender, clip.up, clip.betas.shape) == (120.0, "female", "z", (16,))
    assert clip.pose_body.dtype == clip.root.dtype == clip.translation.dtype == clip.betas.dtype == np.float32


def test_smplx(save):
    content = smplx()
    clip = read_amass(save(content, "clip_stageii.npz"))
    np.testing.assert_allclose(clip.pose_body.reshape(6, 63), content["pose_body"], atol=1e-6)
    assert (clip.fps, clip.up) == (60.0, "z")
    del content["poses"]
    split = read_amass(save(content, "split_stageii.npz"))
    np.testing.assert_array_equal(split.pose_body, clip.pose_body)
    np.testing.assert_array_equal(split.root, clip.root)


def test_bedlam_is_y_up(save):
    bedlam = {**smplx(), "betas": np.zeros(10, dtype=np.float32), "mocap_frame_rate": np.array(30)}
    assert read_amass(save(bedlam)).up == "y"


def test_what_may_be_absent(save):
    clip = read_amass(save({"poses": np.zeros((2, 156)), "mocap_framerate": 30}))
    assert clip.gender == "neutral" and not clip.betas.any() and clip.translation.shape == (2, 3)


def test_angles_beyond_pi_become_the_same_rotation(save):
    content = smplh()
    content["poses"][:, 3:6] = [0, 1.5 * np.pi, 0]
    clip = read_amass(save(content))
    np.testing.assert_allclose(clip.pose_body[:, 0], [[0, -0.5 * np.pi, 0]] * 6, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (5, 3), elements=st.floats(-12, 12)))
def test_canonical_keeps_the_rotation_and_bounds_the_angle(axis_angle):
    short = canonical(axis_angle)
    assert (np.linalg.norm(short, axis=-1) <= np.pi + 1e-9).all()
    a, b = (axis_angle_to_matrix(torch.from_numpy(values)) for values in (axis_angle, short))
    assert geodesic_distance(a, b).max() < 1e-6


BROKEN = {
    "poses of 20 joints": ({"poses": np.zeros((6, 60))}, r"got \(6, 60\), 20 joints; expected .*\(N, 72\).*\(N, 156\)"),
    "poses that make no joints": ({"poses": np.zeros((6, 100))}, r"poses \(6, 100\); expected"),
    "55 joints said to be 52": (
        {"poses": np.zeros((6, 165)), "surface_model_type": np.array("smplh")},
        r"got \(6, 165\), 55 joints as in SMPL-X; expected \(N, 156\) for smplh\.",
    ),
    "52 joints said to be 55": (
        {"surface_model_type": np.array("smplx_locked_head")},
        r"52 joints as in SMPL-H.*\(N, 165\)",
    ),
    "body pose without frames": ({"poses": None, "pose_body": np.array(0.0)}, r"pose_body \(\)"),
    "poses of one frame, flat": ({"poses": np.zeros(156)}, r"translation of another length; got \(6, 3\)"),
    "no frames": ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "no frames"),
    "NaN in a pose": ({"poses": np.where(np.arange(6)[:, None] == 4, np.nan, np.zeros((6, 156)))}, "poses.*frame 4"),
    "a pose beyond float32": ({"poses": np.where(np.arange(6)[:, None] == 3, 1e300, np.zeros((6, 156)))}, "frame 3"),
    "complex poses": ({"poses": np.zeros((6, 156), dtype=complex)}, "poses that are not numbers"),
    "infinite translation": ({"trans": np.where(np.arange(6)[:, None] == 2, np.inf, np.zeros((6, 3)))}, "trans.*e 2"),
    "NaN in betas": ({"betas": np.array([0, np.nan])}, "betas that are not finite; got beta 1"),
    "short translation": ({"trans": np.zeros((3, 3))}, "translation of another length"),
    "text for poses": ({"poses": np.full((6, 156), "0.1")}, "poses that are not numbers"),
    "frame rate 0": ({"mocap_framerate": np.array(0.0)}, "no usable frame rate; got 0.0"),
    "negative frame rate": ({"mocap_framerate": np.array(-30)}, "no usable frame rate"),
    "frame rate NaN": ({"mocap_framerate": np.array(np.nan)}, "no usable frame rate; got nan"),
    "frame rate as text": ({"mocap_framerate": np.array("120")}, "no usable frame rate"),
    "no frame rate": ({"mocap_framerate": None}, "got no frame rate"),
    "no poses": ({"poses": None}, "holds no poses"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_content_gets_its_reason(save, case):
    changes, message = BROKEN[case]
    content = {key: value for key, value in {**smplh(), **changes}.items() if value is not None}
    with pytest.raises(UserError, match=message):
        read_amass(save(content))


def test_split_keys_of_the_wrong_width(save):
    with pytest.raises(UserError, match="pose_body"):
        read_amass(save({"pose_body": np.zeros((4, 60)), "mocap_frame_rate": 30}))


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_pickled_objects_are_not_run(save, tmp_path):
    hostile = save({**smplh(), "poses": np.array([_Bomb()], dtype=object)})
    with pytest.raises(UserError, match=r"clip_poses.npz: poses: .*could run code"):
        read_amass(hostile)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(UserError, match="Cannot read"):
        read_amass(tmp_path / "bare.npz")
    np.save(tmp_path / "single.npy", np.zeros((2, 156)))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with pytest.raises(UserError, match="Cannot read"):
        read_amass(tmp_path / "single.npz")


def _packed(compressed: bool) -> bytes:
    memory = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(memory, **smplh(3))
    return memory.getvalue()


WHOLE = {compressed: _packed(compressed) for compressed in (False, True)}


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.floats(0, 1), st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4))
def test_any_damage_is_a_user_error_or_harmless(tmp_path_factory, compressed, cut, flips):
    data = bytearray(WHOLE[compressed])
    for where, change in flips:
        data[int(where * len(data))] ^= change
    path = tmp_path_factory.getbasetemp() / "damaged_poses.npz"
    path.write_bytes(data[: int(cut * len(data))] if cut < 0.9 else data)
    try:
        clip = read_amass(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert np.isfinite(clip.pose_body).all()


def test_files_beside_the_motion_are_known_by_name(tmp_path):
    for name in ("male_stagei.npz", "neutral_stagei.npz", "stagei.npz", "shape.npz", "female_shape.npz"):
        assert holds_no_motion(tmp_path / name), name
    for name in ("walk_stageii.npz", "walk_poses.npz", "reshape.npz"):
        assert not holds_no_motion(tmp_path / name), name


def test_jumps_are_faster_than_any_body(save):
    calm = np.zeros((10, 21, 3), dtype=np.float32)
    calm[:, 3, 0] = np.linspace(0, 1, 10)
    assert not jumping_frames(calm, 120).any()
    torn = calm.copy()
    torn[5, 7] = [0, 0, np.radians(13)]
    np.testing.assert_array_equal(np.nonzero(jumping_frames(torn, 120))[0], [5, 6])
    assert not jumping_frames(torn, 30).any(), "the same turn is slow at 30 frames a second"
    through_pi = np.zeros((2, 21, 3), dtype=np.float32)
    through_pi[:, 4, 1] = [np.pi - 0.01, -np.pi + 0.01]
    assert not jumping_frames(through_pi, 120).any(), "two names of nearly the same rotation"
