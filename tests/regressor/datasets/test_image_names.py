"""Names of images lead to files, whatever system wrote them."""

from __future__ import annotations

import pytest
from coco_files import coco, person, read, write_jpeg

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.image_names import ImageFolder
from regressor.datasets.readers import reader


@pytest.mark.parametrize(
    "name",
    ["images\\a.jpg", "a.jpg", "D:\\Users\\me\\images\\a.jpg", "/data/up/1/a.jpg", "./images/A.JPG", "images/a.jpg"],
)
def test_names_of_images_lead_to_them(tmp_path, name):
    write_jpeg(tmp_path / "images" / "a.jpg")
    for root in (tmp_path / "images", tmp_path):
        if root == tmp_path and "images" not in name:
            continue
        assert ImageFolder(root).find(name) == tmp_path / "images" / "a.jpg"


def test_without_a_folder_images_are_beside_or_in_one_of_that_name(tmp_path):
    source = coco(tmp_path / "annotations", [person()])
    (source.parent / "a.jpg").unlink()
    for folder in (tmp_path, source.parent):
        write_jpeg(folder / "images" / "a.jpg")
        options = ReadOptions()
        (photo,) = (item for part in reader("coco")([source], options).parts for item in part.photos())
        assert photo.image == folder / "images" / "a.jpg", "the nearer counts"
    (photo,) = (item for part in reader("coco")([source], ReadOptions(tmp_path)).parts for item in part.photos())
    assert not photo.image.exists(), "a folder that is named counts alone"


def test_names_of_images_do_not_mix_folders_up(tmp_path):
    for folder in ("train", "val"):
        write_jpeg(tmp_path / folder / "a.jpg")
    folder = ImageFolder(tmp_path)
    assert folder.find("D:\\set\\val\\a.jpg") == tmp_path / "val" / "a.jpg"
    assert not folder.find("test/a.jpg").exists() and not folder.find("a\0b.jpg").exists()
    write_jpeg(tmp_path / "Ma\u0308rz.jpg")  # umlauts in two pieces, as macOS has them
    assert ImageFolder(tmp_path).find("M\u00e4rz.jpg").exists()
    images = [{"id": 1, "file_name": "x/a.jpg"}, {"id": 2, "file_name": "y\\a.jpg"}]
    left = read(coco(tmp_path, [person(), person(image_id=2)], images=images), tmp_path / "val")[2]
    assert len(left) == 1 and "y\\a.jpg" in left[0].name and "and so does x/a.jpg" in left[0].reason
