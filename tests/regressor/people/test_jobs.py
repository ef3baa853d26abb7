"""Boxes and crops as users give them: what is understood, what is refused, with which words."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from regressor.datasets.image_files import read_image
from regressor.geometry.boxes import read_boxes
from regressor.people.jobs import checked, jobs_of
from tokenizer.engine.errors import UserError


def boxes_file(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_images(tmp_path):
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    cv2.imwrite(str(tmp_path / "a.png"), red[..., ::-1])
    assert (read_image(tmp_path / "a.png") == red).all(), "RGB"
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("text.jpg", "empty.jpg"):
        with pytest.raises(UserError, match="is no image"):
            read_image(tmp_path / name)
    with pytest.raises(UserError, match="No image at"):
        read_image(tmp_path / "none.jpg")


def test_images_without_a_box_are_left_out_and_never_taken_whole(tmp_path):
    """Detectors write nothing, or an empty list, for photographs that show nobody."""
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 30, 3), np.uint8))
    images = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    file = boxes_file(tmp_path / "boxes.json", {"a.png": [[1, 2, 20, 30]], "b.png": []})
    assert read_boxes(file, images) == [[(1, 2, 20, 30)], [], []]
    jobs = checked(jobs_of(images, (), file, whole=False))
    assert [(job.name, job.boxes) for job in jobs.todo] == [("a", ((1, 2, 20, 30),))]
    assert jobs.left_out == tuple(f"No box is given for {image}." for image in images[1:])
    assert len(checked(jobs_of(images, (), None, whole=True)).todo) == 3


@pytest.mark.parametrize(
    ("boxes", "file", "whole", "got"),
    [
        ((), None, False, "no option that gives it"),
        (("1,2,3,4",), Path("b.json"), False, "--box and --boxes"),
        (("1,2,3,4",), None, True, "--box and --whole"),
    ],
)
def test_where_people_are_must_be_clear(boxes, file, whole, got):
    with pytest.raises(UserError, match=f"got {got}.*give --box X0,Y0,X1,Y1 .* or --boxes FILE .* or --whole"):
        jobs_of([Path("me.jpg")], boxes, file, whole)


def test_people_are_detected_where_nothing_says_where_they_are_and_the_detector_is_installed(monkeypatch):
    monkeypatch.setattr("regressor.people.jobs.is_installed", lambda: True)
    images = [Path("a.jpg"), Path("b.jpg")]
    jobs = jobs_of(images, (), None, whole=False)
    assert [(job.detect, job.nobody, job.boxes) for job in jobs] == [(True, False, ())] * 2
    assert [job.detect for job in jobs_of(images, (), None, whole=True)] == [False, False]
    assert [job.detect for job in jobs_of(images[:1], ("1,2,3,4",), None, whole=False)] == [False]
    with pytest.raises(UserError, match="got --box and --whole"):
        jobs_of(images, ("1,2,3,4",), None, whole=True)


def test_without_a_detector_the_message_says_how_to_install_it():
    with pytest.raises(UserError, match="Run `pose-regressor install-detector` once, and people are found; or give"):
        jobs_of([Path("me.jpg")], (), None, whole=False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{photo}"], "not clear where the people are; got no option"),
        (["{photo}", "--whole", "--box", "1,2,3,4"], "got --box and --whole"),
        (["{photo}", "{other}", "--box", "10,10,50,80"], "A box belongs to one image"),
        (["{photo}", "--box", "200,200,300,300"], "outside the image"),
        (["{photo}", "--box", "10,10,10,80"], "no area"),
        (["{photo}", "--box", "10,10,80"], "four numbers"),
        (["{photo}", "{other}", "--boxes", "{three}"], "3 boxes, 2 images"),
        (["{photo}", "{photo}", "--whole"], "the same name"),
        (["{text}", "--whole"], "is no image"),
        (["{photo}.gone.png", "--whole"], "No image at"),
        (["{photo}", "--whole", "--fov", "0"], "field of view"),
    ],
)
def test_bad_input_gets_one_message_and_exit_code_2(run, photo, tmp_path, arguments, says):
    other, text, three = tmp_path / "other.png", tmp_path / "text.jpg", tmp_path / "three.json"
    other.write_bytes(photo.read_bytes())
    text.write_text("no image")
    three.write_text(json.dumps([[1, 2, 3, 4]] * 3))
    result = run(*[a.format(photo=photo, other=other, text=text, three=three) for a in arguments])
    assert result.exit_code == 2 and says in result.output
    assert len([line for line in result.output.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{photo}.gone.png", "--whole"], "No image at"),
        (["{photo}", "--box", "200,200,300,300"], "outside the image"),
        (["{photo}", "--boxes", "{photo}.json"], "photo.png.json"),
        (["{photo}", "--whole", "--fov", "500"], "field of view"),
        (["{folder}/*.tiff", "--whole"], "No image fits"),
        (["{photo}", "--box", "1,2,3"], "four numbers"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(run, photo, tmp_path, monkeypatch, arguments, says):
    from regressor.people import photos as predict_files

    monkeypatch.setattr(predict_files, "load_for", lambda *_: pytest.fail("it is loaded"))
    result = run(*[text.format(photo=photo, folder=photo.parent) for text in arguments])
    assert result.exit_code == 2 and says in result.output and "predict:" not in result.output
    assert not (tmp_path / "out").exists()
