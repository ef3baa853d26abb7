"""Files of image data sets in the layouts of the real ones: 4D-Humans, BEDLAM, 3DPW, EMDB, evaluation npz."""

from __future__ import annotations

import io
import os
import pickle
import tarfile

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from regressor.datasets.readers.joint_orders import COCO18, SMPL24


def jpeg(width=200, height=150):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    done, data = cv2.imencode(".jpg", np.stack([np.full_like(x, 60), y, x], -1).astype(np.uint8))
    assert done
    return data.tobytes()


def write_emdb(root, name="walk", frames=4, **changes):
    draw = np.random.default_rng(4)
    camera = np.tile(np.eye(4), (frames, 1, 1))
    camera[:, :3, :3] = Rotation.from_rotvec(draw.normal(size=(frames, 3))).as_matrix()
    content = {
        "gender": "female",
        "name": f"P1_{name}",
        "emdb1": True,
        "emdb2": False,
        "n_frames": frames,
        "good_frames_mask": np.array([True] * (frames - 1) + [False]),
        "camera": {
            "intrinsics": np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]]),
            "extrinsics": camera,
            "width": 200,
            "height": 150,
        },
        "smpl": {
            "poses_root": draw.normal(size=(frames, 3)),
            "poses_body": 0.2 * draw.normal(size=(frames, 69)),
            "trans": draw.normal(size=(frames, 3)),
            "betas": draw.normal(size=10),
        },
        "bboxes": {"bboxes": np.tile([80.0, 50, 120, 110], (frames, 1)), "invalid_idxs": np.array([1])},
        **changes,
    }
    folder = root / "P1" / name
    (folder / "images").mkdir(parents=True)
    for frame in range(frames):
        (folder / "images" / f"{frame:05d}.jpg").write_bytes(jpeg())
    (folder / f"P1_{name}_data.pkl").write_bytes(pickle.dumps(content))
    return content


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def fitted_person(**changes):
    draw = np.random.default_rng(1)
    points = np.tile([100.0, 75.0, 1.0], (44, 1))
    points_3d = np.concatenate([draw.normal(size=(44, 3)), draw.random((44, 1))], 1)
    return {
        "keypoints_2d": points.astype(np.float32),
        "keypoints_3d": points_3d.astype(np.float32),
        "center": np.array([100.0, 75.0]),
        "scale": np.array([0.3, 0.4]),
        "body_pose": 0.2 * draw.normal(size=72),
        "betas": draw.normal(size=10),
        "has_body_pose": np.array(1.0),
        "has_betas": np.array(1.0),
        "extra_info": {"detection_npz_idx": 0},
        **changes,
    }


def bedlam_person(open_body, width=200, height=150):
    """A BEDLAM dictionary of SMPL layout whose 2D is its 3D (here: the open body's joints) seen by its camera."""
    K = np.array([[250.0, 0, width / 2], [0, 250, height / 2], [0, 0, 1]])
    pose = 0.1 * np.random.default_rng(2).normal(size=72)
    pose[:3] = (np.pi, 0, 0)
    pose[66:] = 0
    external = np.eye(4)
    external[:3, 3] = (0.1, 0.2, 3.0)
    person = {
        "center": np.array([width / 2, height / 2]),
        "scale": 0.5,
        "pose_cam": pose,
        "shape": np.linspace(-1, 1, 11),
        "trans_cam": np.array([0.05, 0.1, 1.0]),
        "cam_ext": external,
        "cam_int": K,
        "gender": "female",
    }
    turns = torch.from_numpy(Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix()).float()
    joints = open_body.joints(
        turns[None, 1:],
        root=turns[:1],
        betas=torch.linspace(-1, 0.8, 10)[None],
        translation=torch.tensor([[0.15, 0.3, 4.0]]),
    )[0].numpy()
    pixels = joints @ K.T
    person["gtkps"] = np.concatenate([pixels[:, :2] / pixels[:, 2:], np.zeros((21, 2))])
    return person


def sequence_of_3dpw(frames=4):
    draw = np.random.default_rng(3)
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, :3, :3] = Rotation.from_rotvec(draw.normal(size=(frames, 3))).as_matrix()
    cameras[:, :3, 3] = draw.normal(size=(frames, 3))
    K = np.array([[200.0, 0, 100], [0, 200, 75], [0, 0, 1]])
    seen = draw.normal(size=(frames, 24, 3)) * 0.3 + [0, 0, 4]  # in camera axes
    world = np.einsum("nji,nkj->nki", cameras[:, :3, :3], seen - cameras[:, None, :3, 3])
    pixels = seen @ K.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    points = np.zeros((frames, 3, 18))
    for row, name in enumerate(COCO18):
        if name in SMPL24:
            points[:, :2, row], points[:, 2, row] = pixels[:, SMPL24.index(name)], 0.8
    poses, trans = 0.3 * draw.normal(size=(frames, 72)), draw.normal(size=(frames, 3))
    content = {
        "sequence": "walk_00",
        "cam_poses": cameras,
        "cam_intrinsics": K,
        "img_frame_ids": np.arange(frames),
        "poses": [poses, poses],
        "trans": [trans, trans],
        "betas": [np.arange(10.0), np.arange(300.0)],
        "genders": ["m", "f"],
        "poses2d": [points.copy(), points.copy()],
        "jointPositions": [world.reshape(-1, 72)] * 2,
        "campose_valid": [np.ones(frames), np.ones(frames)],
    }
    return content, seen, points


def write_3dpw(root, content, frames=4):
    (root / "sequenceFiles" / "test").mkdir(parents=True)
    (root / "imageFiles" / "walk_00").mkdir(parents=True)
    for frame in range(frames):
        (root / "imageFiles" / "walk_00" / f"image_{frame:05d}.jpg").write_bytes(jpeg())
    # Protocol 2 is that of the real files, which Python 2 wrote.
    (root / "sequenceFiles" / "test" / "walk_00.pkl").write_bytes(pickle.dumps(content, protocol=2))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/pose_token_hmr_was_here",)


def smooth_image(width=200, height=150):
    """(H,W,3) uint8: red grows to the right, green downwards, so that a colour says where it was."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y, np.full_like(x, 60)], -1).round().astype(np.uint8)


def write_jpeg(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])


def evaluation_arrays(names, **changes):
    draw = np.random.default_rng(0)
    count = len(names)
    arrays = {
        "imgname": np.array(names),
        "center": np.tile([100.0, 75.0], (count, 1)),
        "scale": np.full(count, 80.0),
        "body_pose": 0.2 * draw.normal(size=(count, 72)),
        "has_body_pose": np.ones(count),
        "betas": draw.normal(size=(count, 10)),
        "has_betas": np.ones(count),
        "body_keypoints_2d": np.tile([100.0, 75.0, 1.0], (count, 25, 1)),
        "extra_keypoints_3d": draw.random((count, 19, 4)),
        "gender": np.array(["m", "f"] * count)[:count],
    }
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}
