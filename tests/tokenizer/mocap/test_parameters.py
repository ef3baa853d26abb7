"""SMPL parameters under everybody's names: what is stated is read, what is not is named, what is none is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tokenizer.engine.errors import UserError
from tokenizer.mocap.readers import read_clip

N = 9


def angles(width: int, frames: int = N) -> np.ndarray:
    return (0.2 * np.sin(np.arange(frames)[:, None] / 9 + np.arange(width)[None])).astype(np.float32)


POSES, TRANS = angles(72), angles(3)
MATRICES = Rotation.from_rotvec(POSES.reshape(-1, 3)).as_matrix().reshape(N, 24, 3, 3).astype(np.float32)
APART = {"global_orient": POSES[:, :3], "body_pose": POSES[:, 3:], "transl": TRANS, "betas": np.zeros(10)}
OTHER = {"global_orient": POSES[:, :3] + 1, "body_pose": POSES[:, 3:66], "transl": TRANS, "betas": np.zeros((N, 10))}


def saved(tmp_path, content, suffix):
    path = tmp_path / f"clip{suffix}"
    if suffix == ".npz":
        np.savez(path, **content)
    elif suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    elif suffix == ".npy":
        np.save(path, np.array(content, dtype=object if isinstance(content, dict) else None), allow_pickle=True)
    else:
        torch.save(_tensors(content), path)
    return path


def _tensors(content):
    if isinstance(content, dict):
        return {key: _tensors(value) for key, value in content.items()}
    return torch.from_numpy(content) if isinstance(content, np.ndarray) else content


PREDICT_TODAY = {
    "about": np.array("{}"),
    "global_orient": MATRICES[0, 0],
    "body_pose": MATRICES[0, 1:],
    "poses": POSES[0],
    "betas": np.zeros(10),
    "translation": TRANS[0],
    "K": np.eye(3),
    "box": np.zeros(4),
    "joints": np.zeros((24, 3)),
}
PREDICT_NEXT = {
    "global_orient": POSES[0, :3],
    "body_pose": POSES[0, 3:],
    "poses": POSES[0],
    "transl": TRANS[0],
    "trans": TRANS[0],
    "betas": np.zeros(10),
    "gender": np.array("neutral"),
    "open_body_betas": np.zeros(11),
}
KNOWN = {
    "aist": (".pkl", {"smpl_loss": 0.1, "smpl_poses": POSES, "smpl_scaling": np.array([2.0]), "smpl_trans": 2 * TRANS}),
    "gvhmr": (".pt", {"smpl_params_incam": OTHER, "smpl_params_global": APART, "K_fullimg": np.eye(3)}),
    "gvhmr pkl": (".pkl", {"smpl_params_global": {**APART, "body_pose": POSES[:, 3:66]}}),
    "wham": (
        ".pkl",
        {
            0: {
                "pose": POSES + 1,
                "trans": TRANS,
                "pose_world": POSES,
                "trans_world": TRANS,
                "betas": np.zeros((N, 10)),
                "verts": np.zeros((N, 2, 3)),
                "frame_ids": np.arange(N),
            }
        },
    ),
    "romp": (
        ".npz",
        {
            "results": np.array(
                {"smpl_thetas": POSES, "cam_trans": TRANS, "smpl_betas": np.zeros((N, 11))}, dtype=object
            )
        },
    ),
    "romp by frames": (
        ".npz",
        {
            "results": np.array(
                {
                    f"{i:06d}.jpg": {
                        "smpl_thetas": POSES[i : i + 1],
                        "cam_trans": TRANS[i : i + 1],
                        "smpl_betas": np.zeros((1, 10)),
                    }
                    for i in range(N)
                },
                dtype=object,
            )
        },
    ),
    "rotations": (".pkl", {"pred_rotmat": MATRICES, "pred_shape": np.zeros((N, 10)), "pred_trans": TRANS[:, None]}),
    "rotations apart": (
        ".pt",
        {
            "pred_smpl_params": {
                "global_orient": MATRICES[:, :1],
                "body_pose": MATRICES[:, 1:],
                "betas": np.zeros((N, 10)),
            },
            "pred_cam_t": TRANS,
        },
    ),
    "rotations, flat": (".npz", {"poses": MATRICES.reshape(N, 216), "trans": TRANS}),
    "by joint": (".npz", {"poses": POSES.reshape(N, 24, 3), "trans": TRANS, "fps": 30}),
    "smplx": (".npz", APART),
    "prefixes": (".pth", {"smpl_global_orient": POSES[:, :3], "smpl_body_pose": POSES[:, 3:66], "smpl_transl": TRANS}),
    "emdb": (
        ".pkl",
        {
            "smpl": {"poses_root": POSES[:, :3], "poses_body": POSES[:, 3:], "trans": TRANS, "betas": np.zeros(10)},
            "gender": "female",
        },
    ),
    "npy of a dictionary": (".npy", APART),
    "motion-x": (".npy", np.concatenate([POSES[:, :66], np.zeros((N, 243)), TRANS, np.zeros((N, 10))], 1)),
    "body with its root": (".npz", {"body_pose": POSES, "transl": TRANS}),
    "a batch of one": (
        ".pt",
        {
            "global_orient": POSES[None, :, :3],
            "body_pose": POSES[None, :, 3:66],
            "transl": TRANS[None],
            "betas": np.zeros((1, N, 10)),
        },
    ),
    "a batch by joint": (".npz", {"poses": POSES.reshape(1, N, 24, 3), "trans": TRANS[None]}),
    "a batch of rotations": (".pkl", {"rotmat": MATRICES[None], "trans": TRANS[None]}),
    "one person a frame": (".npz", {"poses": POSES[:, None], "trans": TRANS[:, None]}),
    "an object nobody needs": (
        ".npz",
        {"poses": POSES, "trans": TRANS, "fps": 30.0, "labels": np.array({"C7": 5}, dtype=object)},
    ),
}


@pytest.mark.parametrize("case", KNOWN)
def test_what_is_known_becomes_the_same_clip(tmp_path, case):
    suffix, content = KNOWN[case]
    clip = read_clip(saved(tmp_path, content, suffix))
    np.testing.assert_allclose(clip.root, POSES[:, :3], atol=2e-6)
    np.testing.assert_allclose(clip.pose_body.reshape(N, 63), POSES[:, 3:66], atol=2e-6)
    if case != "rotations apart":
        np.testing.assert_allclose(clip.translation, TRANS, atol=1e-6)
    stated = "fps" in content if isinstance(content, dict) else False
    assert clip.fps == (60 if case == "aist" else 30)
    assert stated or any("30" in note or "60" in note for note in clip.notes), "what was taken is said"
    assert clip.gender == ("female" if case == "emdb" else "neutral") if case != "emdb" else True


@pytest.mark.parametrize("content", [PREDICT_TODAY, PREDICT_NEXT])
def test_a_person_of_our_own_prediction_is_one_pose_without_a_clock(tmp_path, content):
    clip = read_clip(saved(tmp_path, content, ".npz"))
    np.testing.assert_allclose(clip.pose_body.reshape(63), POSES[0, 3:66], atol=1e-6)
    np.testing.assert_allclose(clip.translation, TRANS[:1], atol=1e-6)
    assert (clip.fps, len(clip.root)) == (0.0, 1)
    apart = {key: value for key, value in content.items() if key != "poses"}
    np.testing.assert_allclose(read_clip(saved(tmp_path, apart, ".npz")).root, POSES[:1, :3], atol=1e-6)


def test_of_several_people_the_longest_is_read_and_the_others_are_named(tmp_path):
    people = {7: {"pose": POSES[:4], "trans": TRANS[:4]}, 9: {"pose": POSES, "trans": TRANS}}
    clip = read_clip(saved(tmp_path, people, ".pkl"))
    assert len(clip.root) == N and "2 people: 9, with most frames, is read; not 7" in clip.notes[-1]


def test_lists_of_people_as_3dpw_has_them_are_read(tmp_path):
    content = {
        "poses": [POSES[:4] + 1, POSES],
        "trans": [TRANS[:4], TRANS],
        "betas": [np.ones(10), np.zeros(10)],
        "genders": ["m", "f"],
        "cam_poses": np.zeros((N, 4, 4)),
        "sequence": "walk",
    }
    clip = read_clip(saved(tmp_path, content, ".pkl"))
    np.testing.assert_allclose(clip.pose_body.reshape(N, 63), POSES[:, 3:66], atol=1e-6)
    assert clip.gender == "female" and not clip.betas.any() and "2 people: 1, with most" in clip.notes[-1]


def test_half_precision_is_read_without_a_warning(tmp_path, recwarn):
    clip = read_clip(saved(tmp_path, {"poses": POSES.astype(np.float16), "trans": TRANS.astype(np.float16)}, ".npz"))
    np.testing.assert_allclose(clip.pose_body.reshape(N, 63), POSES[:, 3:66], atol=1e-3)
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


REFUSED = {
    "several people a frame": (
        ".pkl",
        {f"{i}.jpg": [{"pose": POSES[i]}, {"pose": POSES[i]}] for i in range(N)},
        "several people a frame",
    ),
    "two people in an array": (
        ".npz",
        {"body_pose": np.stack([POSES[:, 3:66]] * 2)},
        r"several people, or videos, in one array; got body_pose \(2, 9, 63\)",
    ),
    "two roots": (".npz", {"body_pose": POSES, "global_orient": POSES[:, :3] + 1}, "has two roots"),
    "6D": (".npz", {"poses": np.zeros((N, 144))}, "rotations by 6 numbers"),
    "no rotations": (".pkl", {"rotmat": np.zeros((N, 24, 3, 3))}, "no rotations; got rotmat, first in frame 0"),
    "mirrored": (".pkl", {"rotmat": MATRICES * [[[[-1.0, 1, 1]]]]}, "no rotations"),
    "NaN in rotations": (
        ".pkl",
        {"rotmat": np.where(np.arange(N)[:, None, None, None] == 5, np.nan, MATRICES)},
        "not finite, or no rotations; got rotmat, first in frame 5",
    ),
    "NaN": (".npz", {"poses": np.where(np.arange(N)[:, None] == 5, np.nan, POSES)}, "first in frame 5"),
    "text": (".npz", {"poses": np.full((N, 72), "0.1")}, "poses that are not numbers; got poses of <U3"),
    "no frames": (".npz", {"poses": np.zeros((0, 72))}, "holds no frames"),
    "no frames of rotations": (".npz", {"poses": np.zeros((0, 24, 3, 3))}, "holds no frames"),
    "a number": (".npz", {"poses": np.array(1.0)}, "unknown layout"),
    "a short root": (".npz", {"body_pose": POSES[:, 3:], "global_orient": POSES[:4, :3]}, "root of another length"),
    "a root of one number": (".npz", {"body_pose": POSES[:, 3:], "global_orient": np.zeros(N)}, "root of another"),
    "keypoints": (".npz", {"joints": np.zeros((N, 24, 3))}, "no poses known here; got keys joints"),
    "an array alone": (".npy", np.zeros((N, 263)), r"array without names; got \(9, 263\) float64"),
    "HumanML3D npz": (".npz", {"arr_0": np.zeros((N, 263))}, "array without names"),
    "a rate of 0": (".npz", {"poses": POSES, "fps": 0}, "no usable frame rate; got 0"),
    "tensors alone": (".pt", {"a": np.zeros(3)}, "no poses known here; got keys a"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_named(tmp_path, case):
    suffix, content, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        read_clip(saved(tmp_path, content, suffix))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.mp4", b"\0\0\0\x18ftypmp42" + bytes(40), "got an MP4 or MOV video.*pose-regressor predict"),
        ("a.npz", b"\xff\xd8\xff\xe0" + bytes(40), "got a JPEG picture"),
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(40), "got a HEIC picture"),
        ("a.png", b"\x89PNG\r\n" + bytes(40), "got a PNG picture"),
        ("a.h5", b"\x89HDF\r\n" + bytes(40), "got an HDF5 file, such as a pose store"),
        ("a.fbx", b"Kaydara FBX Binary", "got an FBX file"),
        ("a.asf", b":root", "skeleton without motion; expected the .amc"),
        ("a.c3d", b"\2P", "got a .c3d file; expected motion: npz"),
        ("a.bvh", b"", "got an empty file"),
        ("a.npy", b"\x93NUMPY\1\0", "Cannot read clip"),
    ],
)
def test_other_kinds_of_files_are_called_what_they_are(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_clip(tmp_path / name)
    with pytest.raises(UserError, match="No file at"):
        read_clip(tmp_path / "absent.npz")
    with pytest.raises(UserError, match="is no file"):
        read_clip(tmp_path)


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pkl"])
def test_nothing_in_a_file_is_run(tmp_path, suffix):
    content = {"results": {"poses": _Bomb()}}
    packed = {"results": np.array(content["results"], dtype=object)} if suffix == ".npz" else content
    with pytest.raises(UserError, match="could run code"):
        read_clip(saved(tmp_path, packed, suffix))
    torch.save({"poses": _Bomb()}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="nothing in it was run"):
        read_clip(tmp_path / "a.pt")
