"""Boxes and crops as users give them: what is understood, what is refused, with which words."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from regressor.datasets.cropping import cut_crop, read_image, whole_pixel_box
from regressor.geometry.boxes import check_box, parse_box, read_boxes
from regressor.people.jobs import checked, jobs_of
from tokenizer.engine.errors import UserError

A, B = Path("in/a.jpg"), Path("in/b.jpg")


def boxes_file(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_boxes_on_the_command_line():
    assert parse_box("1,2,30.5,40") == (1, 2, 30.5, 40)
    for text in ("1,2,3", "1,2,3,x", "", "1,2,3,nan", "1,2,3,4,5"):
        with pytest.raises(UserError, match="four numbers"):
            parse_box(text)


@pytest.mark.parametrize(
    ("name", "content", "images", "expected"),
    [
        ("b.json", [[1, 2, 3, 4], [5, 6, 7, 8]], [A], [[(1, 2, 3, 4), (5, 6, 7, 8)]]),
        ("b.json", [1, 2, 3, 4], [A], [[(1, 2, 3, 4)]]),
        ("b.json", [[1, 2, 3, 4], [5, 6, 7, 8]], [A, B], [[(1, 2, 3, 4)], [(5, 6, 7, 8)]]),
        ("b.json", {"b.jpg": [[1, 2, 3, 4]], "in/a.jpg": [5, 6, 7, 8]}, [A, B], [[(5, 6, 7, 8)], [(1, 2, 3, 4)]]),
        ("b.csv", "image,x0,y0,x1,y1\na.jpg,1,2,3,4\na.jpg,5,6,7,8\n", [A], [[(1, 2, 3, 4), (5, 6, 7, 8)]]),
    ],
)
def test_boxes_in_files(tmp_path, name, content, images, expected):
    assert read_boxes(boxes_file(tmp_path / name, content), images) == expected


ROWS = "image,x0,y0,x1,y1\r\nMärz.jpg,10,10.5,290,400\r\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        ROWS.partition("\n")[2],
        ROWS.replace(",", ";"),
        ROWS.replace(",", ";").replace(".5", ",5"),
        ROWS.replace(",", "\t"),
        "sep=;\r\n" + ROWS.replace(",", ";"),
        ROWS.replace("\r\n", ",,\r\n") + ",,,\r\n",
        "filename,score,y1,x1,y2,x2\nMärz.jpg,.9,10.5,10,400,290\n",
        "image;x;y;w;h\nMärz.jpg;10;10,5;280;389,5\n",
        "image,x0,y0,x1,y1\nC:\\photos\\März.jpg,10,10.5,290,400\n",
    ],
)
def test_tables_as_spreadsheets_save_them(tmp_path, text, encoding):
    (tmp_path / "b.csv").write_bytes(text.encode(encoding))
    assert read_boxes(tmp_path / "b.csv", [Path("in/März.jpg")]) == [[(10, 10.5, 290, 400)]]


def test_json_of_other_programs(tmp_path):
    """Notepad's mark in front; detectors' lists, in which ``bbox`` is COCO's: x, y, width, height."""
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a.jpg": [[1, 2, 3, 4]]}).encode())
    assert read_boxes(tmp_path / "a.json", [A]) == [[(1, 2, 3, 4)]]
    found = [{"image": "a.jpg", "bbox": [10, 20, 5, 6], "score": 0.9}, {"image": "a.jpg", "bbox": [1, 2, 5, 6]}]
    assert read_boxes(boxes_file(tmp_path / "b.json", found), [A]) == [[(10, 20, 15, 26), (1, 2, 6, 8)]]
    alphapose = [{"image_id": "a.jpg", "category_id": 1, "keypoints": [5, 6, 1], "score": 2.9, "box": [10, 20, 5, 6]}]
    assert read_boxes(boxes_file(tmp_path / "c.json", alphapose), [A]) == [[(10, 20, 15, 26)]]
    corners = [{"image_id": "a.jpg", "box": [10, 20, 30, 60]}]
    assert read_boxes(boxes_file(tmp_path / "d.json", corners), [A]) == [[(10, 20, 30, 60)]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("b.json", [[1, 2, 3, 4]] * 3, "3 boxes, 2 images"),
        ("b.json", "{", "Cannot read boxes"),
        ("b.json", {"a.jpg": []}, "no box for in/a.jpg, nor for the others; got boxes for nothing"),
        ("b.json", {"c.jpg": [1, 2, 3, 4]}, "no box for in/a.jpg, nor .* boxes for c.jpg"),
        ("b.json", [[1, 2, 3, 4], [1, 2, 3]], "is no box"),
        ("b.json", 5, "No list of boxes"),
        ("b.json", {"a.jpg": [1, 2, 3, 4], "b.jpg": [1, 2, 3, 4], "c.jpg": [1, 2, 3, 4]}, "not given; got c.jpg"),
        ("b.json", [{"bbox": [1, 2, 3, 4]}], "names no image"),
        ("b.json", {"version": 1.3, "people": []}, "holds annotation of OpenPose or COCO, no list of boxes; got keys"),
        ("b.json", {"images": [], "annotations": []}, "holds annotation of OpenPose or COCO, no list of boxes"),
        ("b.json", {"a.jpg": [[1, 2, 3, 4, 0.9]]}, "four numbers"),
        ("b.csv", "image,cx,cy,r\n", "names no columns of boxes"),
        ("b.csv", "\0\xff", "Cannot read|no box"),
        ("b.csv", "a.jpg,1,2,3\n", "line 1 is no box"),
        ("none.csv", None, "Cannot read boxes"),
    ],
)
def test_unclear_box_files_are_refused(tmp_path, name, content, says):
    path = tmp_path / name if content is None else boxes_file(tmp_path / name, content)
    with pytest.raises(UserError, match=says):
        read_boxes(path, [A, B])


def test_boxes_that_hold_nobody_are_refused():
    assert check_box((-5, -5, 20, 20), 100, 80, "a.jpg") == (-5, -5, 20, 20)
    for box in ((10, 10, 10, 20), (20, 10, 10, 20), (0, 0, 0.5, 0.5)):
        with pytest.raises(UserError, match="no area"):
            check_box(box, 100, 80, "a.jpg")
    for box in ((100, 0, 120, 20), (-20, 0, 0, 20), (0, 80, 10, 100), (0, -20, 10, 0)):
        with pytest.raises(UserError, match=r"outside the image; got .* within 0,0,100,80"):
            check_box(box, 100, 80, "a.jpg")


def test_a_crop_is_the_box_and_nothing_else():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    assert (cut_crop(image, np.array([10, 20, 42, 52]), 32) == image[20:52, 10:42]).all()
    halved = cut_crop(image, np.array([10, 20, 42, 52]), 16)
    mean = image[20:52, 10:42].reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(halved - mean).max() <= 1, "area average"
    beyond = cut_crop(image, np.array([-16, -16, 16, 16]), 32)
    assert (beyond[16:, 16:] == image[:16, :16]).all() and (beyond[:16, :16] == image[0, 0]).all()
    with pytest.raises(UserError, match="outside its image"):
        cut_crop(image, np.array([200, 0, 210, 10]), 16)


def test_boxes_of_whole_pixels_stay_square_and_near():
    for box in ([10.4, 20.6, 42.7, 52.9], [-3.3, 1.1, -3.1, 1.3]):
        whole = whole_pixel_box(np.array(box))
        assert (whole == np.round(whole)).all() and whole[2] - whole[0] == whole[3] - whole[1] >= 1
        assert np.abs(whole - box).max() <= 1


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
        ((), None, False, "no option that tells it"),
        (("1,2,3,4",), Path("b.json"), False, "--box and --boxes"),
        (("1,2,3,4",), None, True, "--box and --whole"),
    ],
)
def test_where_people_are_must_be_clear(boxes, file, whole, got):
    with pytest.raises(UserError, match=f"got {got}. Give --box X0,Y0,X1,Y1 .* or --boxes FILE .* or --whole"):
        jobs_of([Path("me.jpg")], boxes, file, whole)
