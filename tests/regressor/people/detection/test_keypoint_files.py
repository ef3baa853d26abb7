"""Keypoints of other detectors, each form in the order and units that its program writes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from regressor.datasets.readers.joint_orders import BODY25, COCO17, HALPE26
from regressor.people.detection.keypoint_files import KeypointFile
from tokenizer.engine.errors import UserError

IMAGE = np.zeros((480, 640, 3), np.uint8)


def points_of(count, seed=0):
    """x, y, score of ``count`` keypoints within the image."""
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.uniform(50, 400, (count, 2)), generator.uniform(0.4, 1, (count, 1))], 1)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos" / "a b.jpg"
    path.parent.mkdir()
    path.touch()
    return path


def written(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def instances(*people, boxes=True):
    """MMPose's people: keypoints and scores apart."""
    return [
        {
            "keypoints": person[:, :2].tolist(),
            "keypoint_scores": person[:, 2].tolist(),
            **({"bbox": [[40, 30, 410, 420]], "bbox_score": 0.75} if boxes else {}),
        }
        for person in people
    ]


def coco(points, name="a b.jpg"):
    flat = points.ravel().tolist()
    return {
        "images": [{"id": 7, "file_name": name, "width": 640, "height": 480}],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [40, 30, 100, 200], "keypoints": flat}],
    }


def forms(points):
    """By name: the content of a file with these keypoints (J,3) of one image, and the name of the file."""
    flat = points.ravel().tolist()
    return {
        "COCO": (coco(points), "any.json"),
        "COCO's results": ([{"image_id": "a b.jpg", "category_id": 1, "keypoints": flat, "score": 0.5}], "any.json"),
        "AlphaPose": ([{"image_id": "a b.jpg", "keypoints": flat, "score": 2.5, "box": [40, 30, 9, 9]}], "any.json"),
        "MMPose's inferencer": (instances(points), "a b.json"),
        "MMPose's demo": ({"meta_info": {}, "instance_info": instances(points)}, "results_a b.json"),
        "MMPose, one frame": ([{"frame_id": 0, "instances": instances(points)}], "a b.json"),
        "easy_ViTPose": (
            {
                "keypoints": [{"0": points[:, [1, 0, 2]].tolist()}],
                "skeleton": {str(number): name for number, name in enumerate(COCO17)},
            },
            "a b.json",
        ),
    }


@pytest.mark.parametrize("form", forms(points_of(17)))
def test_coco_17_is_read_in_every_form(form, photo, tmp_path):
    points = points_of(17)
    content, name = forms(points)[form]
    (person,) = KeypointFile(written(tmp_path / "k" / name, content), [photo]).people(IMAGE, photo)
    assert person.ordered(COCO17) == pytest.approx(points, rel=1e-5)
    assert (person.ordered(("left_heel", "neck")) == 0).all() and person.points_3d is None
    assert person.source == name


@pytest.mark.parametrize(("count", "names"), [(26, HALPE26), (133, COCO17), (136, HALPE26)])
@pytest.mark.parametrize("form", ["COCO", "COCO's results", "AlphaPose", "MMPose's inferencer"])
def test_whole_bodies_are_read_by_their_number(form, count, names, photo, tmp_path):
    points = points_of(count)
    content, name = forms(points)[form]
    (person,) = KeypointFile(written(tmp_path / "k" / name, content), [photo]).people(IMAGE, photo)
    named = [row for row, keypoint in enumerate(names) if keypoint]
    assert person.ordered([names[row] for row in named]) == pytest.approx(points[named], rel=1e-5)
    heel = {26: 24, 133: 19, 136: 24}[count]
    assert person.ordered(("left_heel",))[0] == pytest.approx(points[heel], rel=1e-5)


@pytest.mark.parametrize("name", ["a b_keypoints.json", "other_keypoints.json"])
def test_openpose_25_belongs_to_the_image_of_its_name_or_to_the_only_one(name, photo, tmp_path):
    points = points_of(25)
    content = {"version": 1.3, "people": [{"pose_keypoints_2d": points.ravel().tolist()}]}
    (person,) = KeypointFile(written(tmp_path / "k" / name, content), [photo]).people(IMAGE, photo)
    assert person.ordered(BODY25) == pytest.approx(points, rel=1e-5)


def test_a_folder_has_a_file_an_image(tmp_path):
    images = [tmp_path / "photos" / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    images[0].parent.mkdir()
    for image in images:
        image.touch()
    folder = tmp_path / "k"
    written(folder / "a_keypoints.json", {"people": [{"pose_keypoints_2d": points_of(25).ravel().tolist()}] * 2})
    written(folder / "b.json", instances(points_of(17)))
    written(folder / "c.json", [])
    source = KeypointFile(folder, images)
    assert [len(source.people(IMAGE, image)) for image in images] == [2, 1, 0], "c shows nobody"


def test_people_of_each_image_are_found_by_name_in_their_folders(tmp_path):
    images = [tmp_path / folder / f"{folder}.jpg" for folder in ("one", "two")]
    for image in images:
        image.parent.mkdir()
        image.touch()
    first, second = points_of(17, 1), points_of(17, 2)
    content = [
        {"image_id": name, "keypoints": points.ravel().tolist()}
        for name, points in (("C:\\data\\one.jpg", first), ("two.jpg", second), ("third.jpg", first))
    ]
    source = KeypointFile(written(tmp_path / "k.json", content), images)
    for image, points in zip(images, (first, second), strict=True):
        (person,) = source.people(IMAGE, image)
        assert person.ordered(COCO17) == pytest.approx(points, rel=1e-5)
    assert source.people(IMAGE, tmp_path / "third.jpg") == [], "not asked for"


def test_mmpose_names_its_keypoints(photo, tmp_path):
    points = points_of(17)
    backwards = {str(number): name for number, name in enumerate(reversed(COCO17))}
    content = {"meta_info": {"keypoint_id2name": backwards}, "instance_info": instances(points)}
    (person,) = KeypointFile(written(tmp_path / "k.json", content), [photo]).people(IMAGE, photo)
    assert person.ordered(COCO17) == pytest.approx(points[::-1], rel=1e-5)
    assert person.box == (40, 30, 410, 420) and person.score == 0.75


def test_without_a_box_it_is_around_the_keypoints(photo, tmp_path):
    points = points_of(17)
    file = written(tmp_path / "k.json", instances(points, boxes=False))
    (person,) = KeypointFile(file, [photo]).people(IMAGE, photo)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    margin = 0.1 * (high - low)
    assert person.box == pytest.approx((*(low - margin), *(high + margin)), rel=1e-4)
    assert person.score == pytest.approx(points[:, 2].mean(), rel=1e-5)


def test_points_outside_the_image_are_not_known(photo, tmp_path):
    points = points_of(17)
    points[0, :2], points[1, :2] = (-200, 50), (645, 50)
    (person,) = KeypointFile(written(tmp_path / "k.json", instances(points)), [photo]).people(IMAGE, photo)
    assert person.ordered(COCO17[:2]) == pytest.approx(np.array([[0, 0, 0], [645, 50, points[1, 2]]]), rel=1e-5)


def test_a_bad_person_is_noted_and_the_others_stay(photo, tmp_path):
    good, nan, silent = points_of(17), points_of(17), points_of(17)
    nan[3, 0], silent[:, 2] = np.nan, 0
    content = [*instances(good, nan, silent, points_of(19)), {"keypoints": [], "keypoint_scores": []}]
    content[0]["keypoint_scores"][0] = 1.07  # a heat map may rise above one
    source = KeypointFile(written(tmp_path / "k.json", content), [photo])
    (person,) = source.people(IMAGE, photo)
    assert person.ordered(("nose",))[0, 2] == 1
    assert len(source.notes) == 4
    for note, says in zip(source.notes, ("person 1: keypoints", "no keypoint of any confidence", "19 keypoints", "")):
        assert says in note


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "Cannot read"),
        ("[1, 2]", "is no file of COCO keypoints"),
        ('{"a": 1}', "is no file of COCO keypoints"),
        ("[]", "has no people of"),
        (json.dumps([{"frame_id": n, "instances": []} for n in range(3)]), "is of a video; got 3 frames"),
        (json.dumps({"keypoints": [{}, {}], "skeleton": {}}), "is of a video; got 2 frames"),
        (json.dumps({"people": []}), "has no people of"),
        (json.dumps(instances(points_of(21))), "unknown order; got 21 keypoints"),
        (json.dumps(coco(points_of(17), "else.jpg")), "has no people of"),
        (json.dumps({"keypoints": [{"0": [1, None, "x"]}], "skeleton": {}}), "has no people of"),
    ],
)
def test_other_files_are_one_message(content, says, photo, tmp_path):
    file = tmp_path / "k.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"k\.json") as error:
        KeypointFile(file, [photo])
    assert says in str(error.value)


def test_a_folder_without_json_is_one_message(photo, tmp_path):
    with pytest.raises(UserError, match="No JSON in"):
        KeypointFile(photo.parent, [photo])
