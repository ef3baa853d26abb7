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
from regressor.people.predict import predict_crops, predict_people
from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance
from tokenizer.engine.errors import UserError


def test_two_people_in_one_photo(run, photo, tmp_path, open_body):
    result = run(photo, "--box", "10,10,50,80", "--box", "60,5,119,85", "--fov", "60")
    assert result.exit_code == 0, result.output
    assert "only" in result.output and "synthetic" in result.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["photo_0.npz", "photo_0.obj", "photo_1.npz", "photo_1.obj", "photo_overlay.png"]
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
    posed = open_body.vertices(
        matrices[1:],
        root=matrices[0],
        betas=torch.from_numpy(saved["open_body_betas"]),
        translation=torch.from_numpy(saved["transl"]),
    )
    assert np.allclose(posed, saved["vertices"], atol=1e-4)
    assert (saved["betas"] == 0).all() and saved["open_body_betas"].any(), "SMPL's shape is not the open body's"
    assert saved["gender"] == "neutral" and saved["body_model"] == "open"
    assert (saved["poses"][0, :66] == pose.flatten()[:66]).all() and not saved["poses"][0, 66:].any()
    assert (saved["trans"][0] == saved["transl"]).all() and (saved["translation"] == saved["transl"]).all()
    picture = cv2.imread(str(tmp_path / "out" / "photo_overlay.png"))
    assert picture.shape == (90, 120 + 45, 3)


def test_precision_is_that_of_the_network_alone(run, photo, tmp_path):
    """fp32 where nothing is said; a half moves rotations by less than a degree."""
    found = []
    for extra in ((), ("--precision", "fp32"), ("--precision", "fp16"), ("--precision", "bf16")):
        result = run(photo, "--box", "10,10,50,80", *extra)
        assert result.exit_code == 0, result.output
        found.append(torch.from_numpy(np.load(tmp_path / "out" / f"{photo.stem}_0.npz")["rotation_matrices"]))
    assert torch.equal(found[0], found[1])
    for half in found[2:]:
        assert 0 < geodesic_distance(found[0], half).rad2deg().max() < 1


def test_a_crowd_goes_through_in_parts(run, photo, tmp_path, monkeypatch):
    from regressor.people import photos as predict_files

    boxes = [f"{5 * i},5,{5 * i + 40},80" for i in range(7)]
    json_boxes = tmp_path / "boxes.json"
    json_boxes.write_text(json.dumps({"photo.png": [[int(edge) for edge in box.split(",")] for box in boxes]}))
    assert run(photo, "--boxes", json_boxes).exit_code == 0
    together = {path: np.load(path)["vertices"] for path in (tmp_path / "out").glob("*.npz")}
    seen = []
    plain = predict_files.predict_crops
    monkeypatch.setattr(predict_files, "_AT_ONCE", 3)
    monkeypatch.setattr(predict_files, "_MOST_DRAWN", 5)
    monkeypatch.setattr(predict_files, "predict_crops", lambda *a: seen.append(len(a[2].boxes)) or plain(*a))
    monkeypatch.setattr(
        predict_files, "overlay_picture", lambda image, vertices, *rest: seen.append(vertices.shape) or image
    )
    assert run(photo, "--boxes", json_boxes).exit_code == 0
    assert seen[:3] == [3, 3, 1] and seen[3][0] == 5
    assert len(together) == 7
    for path, vertices in together.items():
        np.testing.assert_allclose(np.load(path)["vertices"], vertices, atol=1e-4)
    (tmp_path / "out" / "photo_0.npz").unlink()
    refused = run(photo, *[part for box in [*boxes, "500,5,540,80"] for part in ("--box", box)])
    assert refused.exit_code == 2 and "lies outside" in refused.output
    assert not (tmp_path / "out" / "photo_0.npz").exists(), "nothing is written of what cannot be done whole"


def test_an_unknown_camera_is_said_to_be_assumed(run, photo, tmp_path):
    result = run(photo, "--whole")
    assert result.exit_code == 0 and "field of view of 55° is assumed" in result.output
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


def test_one_bad_image_does_not_stop_the_others(run, photo, tmp_path):
    (tmp_path / "a_text.jpg").write_text("no image")
    result = run(tmp_path / "a_text.jpg", photo, "--whole")
    assert result.exit_code == 2 and "1 of 2 images could not be used" in result.output
    assert result.output.count("a_text.jpg is no image; got a text file") == 1
    assert (tmp_path / "out" / "photo_0.npz").exists()


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


def test_pictures_and_meshes_are_left_away(run, photo, tmp_path):
    assert run(photo, "--whole", "--no-overlay", "--no-mesh").exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo_0.npz"]
    assert "vertices" not in np.load(tmp_path / "out" / "photo_0.npz").files
    assert run(photo, "--whole", "--no-mesh").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo_0.npz", "photo_overlay.png"]


def test_people_of_several_images_go_through_the_network_together(run, tmp_path, monkeypatch, photo):
    from regressor.people import photos as predict_files

    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(5):
        image = np.random.default_rng(number).integers(0, 256, (50 + number, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    alone = {}
    for path in folder.iterdir():
        assert run(path, "--whole").exit_code == 0
        alone[path.stem] = np.load(tmp_path / "out" / f"{path.stem}_0.npz")["vertices"]
    plain, seen = predict_files.predict_crops, []
    monkeypatch.setattr(predict_files, "_AT_ONCE", 3)
    monkeypatch.setattr(predict_files, "predict_crops", lambda *a: seen.append(len(a[2].boxes)) or plain(*a))
    assert run(folder, "--whole").exit_code == 0
    assert seen == [3, 2]
    for name, vertices in alone.items():
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}_0.npz")["vertices"], vertices, atol=1e-4)
    monkeypatch.setattr(predict_files, "_MOST_WAITING", 1)
    assert run(folder, "--whole").exit_code == 0 and seen[2:] == [1] * 5, "large images do not wait"


def test_of_a_folder_what_is_broken_is_named_and_the_rest_done(run, photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    good = photo.read_bytes()
    files = {"a.png": good, "a.PNG": good, "b.jpg": b"no image", "c.png": good[:-20], "d.avif": b"", "notes.txt": b"x"}
    files["e.png"] = np.lib.format.magic(1, 0) + bytes(100)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for given in (folder, folder / "*.*"):
        result = run(given, "--whole")
        assert result.exit_code == 2 and ("4 of 6" if given == folder else "5 of 7") in result.output
        told = (tmp_path / "out" / "left_out.txt").read_text(encoding="utf-8")
        assert "b.jpg is no image; got a text file" in told and "e.png is no image; got an array of NumPy" in told
        assert "c.png cannot be read" in told and "d.avif is no image; got an empty file" in told
        assert {path.name for path in (tmp_path / "out").glob("*.npz")} == {"a_png_0.npz", "a_PNG_0.npz"}


def test_what_is_no_number_is_not_written(run, photo, tmp_path, monkeypatch):
    from regressor.people import photos as predict_files

    def broken(*arguments):
        people = predict_crops(*arguments)
        people.vertices[0, 0, 0] = float("nan")
        return people

    monkeypatch.setattr(predict_files, "predict_crops", broken)
    done = run(photo, "--whole")
    assert done.exit_code == 2 and "Non-finite prediction" in done.output and "--precision fp32" in done.output
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_is_refused(run, photo, tmp_path, tokenizer_file):
    import h5py

    other = tmp_path / "other.h5"
    other.write_bytes(tokenizer_file.read_bytes())
    result = run(photo, "--whole", tokenizer=other)
    assert result.exit_code == 0, "a copy is the same tokenizer"
    with h5py.File(other, "r+") as file:
        file["codebook"][0] += 1
    result = run(photo, "--whole", tokenizer=other)
    assert result.exit_code == 2 and "is damaged" in result.output


def test_help_needs_no_torch():
    code = "import sys; sys.argv = ['x', 'predict', '--help']\ntry:\n import regressor.commands.cli as c; c.main()\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "--whole" in done.stdout, done.stderr
    assert time.monotonic() - started < 3
