"""Boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from regressor.geometry.boxes import check_box, parse_box, read_boxes
from regressor.geometry.camera import square_box
from tokenizer.engine.errors import UserError


def test_square_box_keeps_centre_and_longer_side():
    assert torch.allclose(square_box(torch.tensor([10.0, 20, 30, 60]), 1.5), torch.tensor([-10.0, 10, 50, 70]))


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
    detections = [{"image": "a.jpg", "bbox": [10, 20, 5, 6], "score": 0.9}, {"image": "a.jpg", "bbox": [1, 2, 5, 6]}]
    assert read_boxes(boxes_file(tmp_path / "b.json", detections), [A]) == [[(10, 20, 15, 26), (1, 2, 6, 8)]]
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
