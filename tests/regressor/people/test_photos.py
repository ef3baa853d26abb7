"""Photographs become files: in parts, together, with broken images listed."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from regressor.people.detection.detected_person import DetectedPerson
from regressor.people.predict import predict_crops
from tokenizer.body.rotations import geodesic_distance


def test_precision_is_that_of_the_network_alone(run, photo, tmp_path):
    """fp32 where nothing is said; a half moves rotations by less than a degree."""
    rotations = []
    for extra in ((), ("--precision", "fp32"), ("--precision", "fp16"), ("--precision", "bf16")):
        result = run(photo, "--box", "10,10,50,80", *extra)
        assert result.exit_code == 0, result.output
        rotations.append(torch.from_numpy(np.load(tmp_path / "out" / f"{photo.stem}_0.npz")["rotation_matrices"]))
    assert torch.equal(rotations[0], rotations[1])
    for half in rotations[2:]:
        assert 0 < geodesic_distance(rotations[0], half).rad2deg().max() < 1


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
    assert run(photo, "--boxes", json_boxes, "--overwrite").exit_code == 0
    assert seen[:3] == [3, 3, 1] and seen[3][0] == 5
    assert len(together) == 7
    for path, vertices in together.items():
        np.testing.assert_allclose(np.load(path)["vertices"], vertices, atol=1e-4)
    (tmp_path / "out" / "photo_0.npz").unlink()
    refused = run(photo, *[part for box in [*boxes, "500,5,540,80"] for part in ("--box", box)])
    assert refused.exit_code == 2 and "lies outside" in refused.output
    assert not (tmp_path / "out" / "photo_0.npz").exists(), "nothing is written of what cannot be done whole"


def test_one_bad_image_does_not_stop_the_others(run, photo, tmp_path):
    (tmp_path / "a_text.jpg").write_text("no image")
    result = run(tmp_path / "a_text.jpg", photo, "--whole")
    assert result.exit_code == 2 and "1 of 2 images could not be used" in result.output
    assert result.output.count("a_text.jpg is no image; got a text file") == 1
    assert (tmp_path / "out" / "photo_0.npz").exists()


def test_pictures_and_meshes_are_left_away(run, photo, tmp_path):
    assert run(photo, "--whole", "--no-overlay", "--no-mesh").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"photo_0.npz", "predictions.jsonl"}
    assert "vertices" not in np.load(tmp_path / "out" / "photo_0.npz").files
    assert run(photo, "--whole", "--no-mesh").exit_code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.*g")} == {"photo_overlay.png"}


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
    assert run(folder, "--whole", "--overwrite").exit_code == 0
    assert seen == [3, 2]
    for name, vertices in alone.items():
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}_0.npz")["vertices"], vertices, atol=1e-4)
    monkeypatch.setattr(predict_files, "_MOST_WAITING", 1)
    assert run(folder, "--whole", "--overwrite").exit_code == 0 and seen[2:] == [1] * 5, "large images do not wait"


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


class OneOrNobody:
    """In place of the detector: one person in pictures that are not all black."""

    source = "blazepose-heavy"

    def people(self, image, path):
        points = np.array([[40.0, 10], [70, 80]], np.float32)
        person = DetectedPerson(("nose", "left_ankle"), points, np.ones(2), (30.0, 5.0, 80.0, 85.0), 0.9, self.source)
        return [person] if image.any() else []


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr("regressor.people.jobs.is_installed", lambda: True)
    monkeypatch.setattr("regressor.people.photos.Detector", OneOrNobody)


@pytest.mark.usefixtures("detector")
def test_without_boxes_people_are_detected_and_the_result_says_by_what(run, photo, tmp_path):
    def about():
        with np.load(tmp_path / "out" / "photo_0.npz", allow_pickle=False) as file:
            return json.loads(str(file["about"]))

    result = run(photo)
    assert result.exit_code == 0, result.output
    assert about()["given_box"] == [30, 5, 80, 85] and about()["detected_by"] == "blazepose-heavy"
    assert run(photo, "--box", "30,5,80,85").exit_code == 0 and "detected_by" not in about()


@pytest.fixture
def empty(tmp_path):
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((90, 120, 3), np.uint8))
    return tmp_path / "empty.png"


def error_lines(result):
    return [line for line in result.output.splitlines() if line.startswith("error: ")]


@pytest.mark.usefixtures("detector")
def test_a_photograph_of_nobody_is_no_error_and_the_others_are_done(run, photo, empty, tmp_path):
    summary = tmp_path / "people.json"
    result = run(photo, empty, "--json", summary)
    assert result.exit_code == 0 and result.output.count(f"Nobody is found in {empty}") == 1
    assert (tmp_path / "out" / "photo_0.npz").exists() and not (tmp_path / "out" / "left_out.txt").exists()
    assert [row["image"] for row in json.loads(summary.read_text())] == [str(photo)]
    alone = run(empty, "--json", summary)
    assert alone.exit_code == 0 and "1 image is done" in alone.output and json.loads(summary.read_text()) == []
    alone = run(empty, "--overwrite")
    assert alone.exit_code == 0 and alone.output.count("Nobody is found") == 1 and "Wrote" not in alone.output


@pytest.mark.usefixtures("detector")
def test_strict_makes_nobody_an_error(run, photo, empty, tmp_path):
    result = run(photo, empty, "--strict")
    assert result.exit_code == 2 and (tmp_path / "out" / "photo_0.npz").exists()
    assert len(error_lines(result)) == 1 and "Nobody is found in 1 of 2 images" in error_lines(result)[0]
    assert run(photo, empty, "--strict").exit_code == 2, "also where it is known from before"
    alone = run(empty, "--strict", "--overwrite")
    assert alone.exit_code == 2 and alone.output.count(f"Nobody is found in {empty}") == 1
    assert run(photo, "--strict").exit_code == 0


def test_what_is_done_is_not_done_again_unless_something_changed(run, photo, tmp_path, monkeypatch):
    from regressor.people import photos as predict_files

    plain, seen = predict_files.predict_crops, []
    monkeypatch.setattr(predict_files, "predict_crops", lambda *a: seen.append(len(a[2].boxes)) or plain(*a))

    def predictions(*arguments):
        seen.clear()
        result = run(photo, *arguments)
        assert result.exit_code == 0, result.output
        assert ("done in" in result.output) == (not seen)
        return len(seen)

    assert [predictions("--whole") for _ in range(2)] == [1, 0]
    assert predictions("--whole", "--overwrite") == 1
    assert predictions("--whole", "--fov", "40") == 1, "another camera"
    assert [predictions("--box", box) for box in ("1,1,50,80", "1,1,50,80", "2,1,50,80")] == [1, 0, 1]
    (tmp_path / "out" / "photo_0.obj").unlink()
    assert predictions("--box", "2,1,50,80") == 1, "a file of it is gone"
    cv2.imwrite(str(photo), np.zeros((90, 120, 3), np.uint8))
    assert predictions("--box", "2,1,50,80") == 1, "another image"


def test_who_is_no_longer_in_an_image_leaves_no_files(run, photo, tmp_path):
    other = tmp_path / "out" / "photo_9.npz"
    assert run(photo, "--box", "1,1,50,80", "--box", "40,1,90,80").exit_code == 0
    other.write_bytes(b"of somebody else")
    assert run(photo, "--whole", "--no-overlay").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("photo_0.npz", "photo_0.obj", "photo_9.npz", "predictions.jsonl")
    }


def test_summaries_have_a_row_a_person(run, photo, tmp_path):
    table, rows = tmp_path / "people.csv", tmp_path / "people.json"
    given = ("--box", "1,1,50,80", "--box", "40,1,90,80", "--csv", table, "--json", rows)
    for _ in range(2):  # the second time from what is done
        assert run(photo, *given).exit_code == 0
        with table.open(newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        with np.load(tmp_path / "out" / "photo_1.npz") as saved:
            translation = saved["transl"]
        assert [(row["image"], row["number"], row["x0"], row["source"]) for row in found] == [
            (str(photo), "0", "1.0", "box given"),
            (str(photo), "1", "40.0", "box given"),
        ]
        assert found[1]["files"] == "photo_1.npz photo_1.obj" and found[1]["camera"].startswith("assumed")
        assert float(found[1]["translation_z"]) == pytest.approx(float(translation[2]), abs=1e-4)
        assert [row["box"] for row in json.loads(rows.read_text())] == [[1, 1, 50, 80], [40, 1, 90, 80]]
        table.unlink(), rows.unlink()


def test_keypoints_of_a_file_say_where_people_are(run, photo, empty, tmp_path):
    points = np.stack([np.linspace(30, 60, 17), np.linspace(10, 80, 17), np.full(17, 0.8)], 1)
    people = [{"image_id": photo.name, "category_id": 1, "keypoints": points.ravel().tolist(), "score": 0.5}]
    far = np.array([1000, 1000, 0])
    people.append({"image_id": photo.name, "category_id": 1, "keypoints": (points + far).ravel().tolist()})
    (tmp_path / "k.json").write_text(json.dumps(people))
    result = run(photo, empty, "--keypoints", tmp_path / "k.json", "--no-overlay")
    assert result.exit_code == 0, result.output
    assert f"1 of 2 people of {photo} have no keypoint inside it" in result.output
    assert f"Nobody is found in {empty}" in result.output
    assert {path.name for path in (tmp_path / "out").glob("*.npz")} == {"photo_0.npz"}
    with np.load(tmp_path / "out" / "photo_0.npz") as saved:
        about, keypoints = json.loads(str(saved["about"])), saved["keypoints_2d"]
    assert about["detected_by"] == "k.json" and about["score"] == pytest.approx(0.8)
    assert keypoints.shape == (44, 3) and (keypoints[:, 2] > 0).sum() == 17
    both = run(photo, "--keypoints", tmp_path / "k.json", "--whole")
    assert both.exit_code == 2 and "--whole and --keypoints" in both.output


def test_a_detector_that_is_missing_is_one_message_before_any_image(run, photo, monkeypatch, tmp_path):
    monkeypatch.setattr("regressor.people.jobs.is_installed", lambda: True)
    monkeypatch.setattr("regressor.people.detection.model_files.cache_folder", lambda: tmp_path / "none")
    monkeypatch.setattr("regressor.people.opening.image_bytes", lambda path: pytest.fail("it is read"))
    result = run(photo)
    assert result.exit_code == 2 and "Run `pose-regressor install-detector`" in result.output
