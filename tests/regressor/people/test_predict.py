"""Prediction from the command line: files that come out, and one clear message for everything that cannot work."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

from regressor.checkpoints.regressor_file import load_regressor
from regressor.geometry.camera import assumed_intrinsics
from regressor.people.points import predict_people
from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance
from tokenizer.engine.errors import UserError


def test_two_people_in_one_photo(run, photo, tmp_path, open_body):
    result = run(photo, "--box", "10,10,50,80", "--box", "60,5,119,85", "--fov", "60")
    assert result.exit_code == 0, result.output
    assert "only" in result.output and "synthetic" in result.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        *("photo_0.npz", "photo_0.obj", "photo_1.npz", "photo_1.obj", "photo_overlay.png", "predictions.jsonl")
    ]
    with np.load(tmp_path / "out" / "photo_1.npz", allow_pickle=False) as file:
        saved = {name: file[name] for name in file.files}
    about = json.loads(str(saved.pop("about")))
    assert "synthetic people only" in about["warning"] and about["given_box"] == [60, 5, 119, 85]
    shapes = {name: values.shape for name, values in saved.items()}
    assert shapes == {
        "global_orient": (3,),
        "body_pose": (69,),
        "transl": (3,),
        "betas": (10,),
        "open_body_betas": (10,),
        "poses": (1, 156),
        "trans": (1, 3),
        "gender": (),
        "body_model": (),
        "mocap_framerate": (),
        "mocap_frame_rate": (),
        "K": (3, 3),
        "box": (4,),
        "vertices": (13492, 3),
        "joints": (24, 3),
        "joints_2d": (24, 2),
        "token_ids": (6,),
        "translation": (3,),
        "rotation_matrices": (24, 3, 3),
    }
    side = saved["box"][2:] - saved["box"][:2]
    assert side.tolist() == [96, 96], "1.2 times the longer side of the given box"
    numbers = ("global_orient", "body_pose", "transl", "poses", "trans")
    assert {saved[name].dtype for name in numbers} == {np.dtype(np.float32)}
    pose = np.concatenate([saved["global_orient"], saved["body_pose"]]).reshape(24, 3)
    matrices = axis_angle_to_matrix(torch.from_numpy(pose))
    assert np.allclose(matrices, saved["rotation_matrices"], atol=1e-5)
    vertices = open_body.vertices(
        matrices[1:],
        root=matrices[0],
        betas=torch.from_numpy(saved["open_body_betas"]),
        translation=torch.from_numpy(saved["transl"]),
    )
    assert np.allclose(vertices, saved["vertices"], atol=1e-4)
    assert (saved["betas"] == 0).all() and saved["open_body_betas"].any(), "SMPL's shape is not the open body's"
    assert saved["gender"] == "neutral" and saved["body_model"] == "open"
    assert (saved["poses"][0, :66] == pose.flatten()[:66]).all() and not saved["poses"][0, 66:].any()
    assert (saved["trans"][0] == saved["transl"]).all() and (saved["translation"] == saved["transl"]).all()
    picture = cv2.imread(str(tmp_path / "out" / "photo_overlay.png"))
    assert picture.shape == (90, 120 + 45, 3)


def test_an_unknown_camera_is_said_to_be_assumed(run, photo, tmp_path):
    result = run(photo, "--whole")
    assert result.exit_code == 0 and "assumed: diagonal field of view 55° (--focal-px, --fov or" in result.output
    with np.load(tmp_path / "out" / "photo_0.npz") as file:
        assert "assumed" in json.loads(str(file["about"]))["camera"]


def test_assumed_intrinsics_golden():
    """A diagonal of 500 px seen under 90° has a focal length of 250 px."""
    K = assumed_intrinsics(400, 300, 90.0)
    assert torch.allclose(K, torch.tensor([[250.0, 0, 200], [0, 250, 150], [0, 0, 1]]), atol=1e-3)
    with pytest.raises(UserError, match="field of view is impossible"):
        assumed_intrinsics(400, 300, 200.0)


def test_a_box_sees_only_its_pixels(regressor_file, tokenizer, open_body, photo):
    from regressor.datasets.image_files import read_image

    regressor = load_regressor(regressor_file, tokenizer=tokenizer)
    image = read_image(photo)
    K = assumed_intrinsics(120, 90)
    alone = predict_people(regressor, open_body, image, [(10, 10, 40, 40)], K)
    both = predict_people(regressor, open_body, image, [(60, 20, 100, 80), (10, 10, 40, 40)], K)
    assert torch.allclose(alone.vertices[0], both.vertices[1], atol=1e-4)
    changed = image.copy()
    changed[60:] = 0
    far = predict_people(regressor, open_body, changed, [(10, 10, 40, 40)], K)
    assert torch.equal(far.vertices, alone.vertices)


def test_readers_of_amass_take_what_is_written(run, photo, tmp_path):
    """``read_clip``, which ``encode`` and ``prepare`` use, and smplx' own parameters."""
    from tokenizer.mocap.readers import read_clip

    assert run(photo, "--whole", "--no-overlay").exit_code == 0
    file = tmp_path / "out" / "photo_0.npz"
    clip = read_clip(file)
    with np.load(file) as saved:
        given = torch.from_numpy(saved["poses"][:, 3:66]).view(1, 21, 3)
        assert np.allclose(clip.translation, saved["trans"])
    read = torch.from_numpy(clip.pose_body)
    assert geodesic_distance(axis_angle_to_matrix(read), axis_angle_to_matrix(given)).max() < 1e-3


def test_help_needs_no_torch():
    code = "import sys; sys.argv = ['x', 'predict', '--help']\ntry:\n import regressor.commands.cli as c; c.main()\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "--whole" in done.stdout, done.stderr
    assert time.monotonic() - started < 3
