"""Keypoints as JSON of many makers: by names, with their confidences, on the pixels that were annotated."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from coco_files import HEIGHT, WIDTH, coco, flat, person, place, read, write_jpeg
from image_data_sets import smooth_image
from image_data_sets import write_jpeg as write_picture

from regressor.commands.cli import main
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.readers.joint_orders import BODY25, COCO17, COCO18, HALPE26
from tokenizer.body.skeleton import KEYPOINT_NAMES, keypoint_index
from tokenizer.engine.errors import UserError

H36M = (
    "pelvis",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "spine",
    "thorax",
    "neck_base",
    "head_top",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
)
DOG = (
    "left_eye",
    "right_eye",
    "nose",
    "neck",
    "root_of_tail",
    "left_shoulder",
    "left_elbow",
    "left_front_paw",
    "right_shoulder",
    "right_elbow",
    "right_front_paw",
    "left_hip",
    "left_knee",
    "left_back_paw",
    "right_hip",
    "right_knee",
    "right_back_paw",
)


def category(names=COCO17, name="person", number=1, **changes):
    return {"id": number, "name": name, "supercategory": name, "keypoints": list(names), "skeleton": [], **changes}


def by_name(names, confidence=1.0):
    return {name: (*place(name), confidence) for name in names if name in KEYPOINT_NAMES}


def test_keypoints_are_read_by_the_names_of_their_category(tmp_path):
    backwards = tuple(reversed(COCO17))
    people = [person(backwards), person(H36M, category_id=2, id=2), person(BODY25, category_id=3, id=3)]
    kinds = [category(backwards), category(H36M, "Human", 2), category(BODY25, "man", 3)]
    points, _, left = read(coco(tmp_path, people, kinds))
    assert not left
    assert points[0] == by_name(COCO17) and points[2] == by_name(BODY25)
    limbs = [name for name in H36M if name in COCO17]
    assert len(limbs) == 12
    assert {name: points[1][name] for name in limbs} == by_name(limbs)
    assert points[1]["mid_hip"] == (*place("pelvis"), 1) and "neck" not in points[1], "H36M's neck is another"


def test_another_count_than_names_is_listed(tmp_path):
    _, _, left = read(coco(tmp_path, [person(), person(COCO17[:5])], [category()]))
    assert len(left) == 1 and "got 5 keypoints; expected 17: nose" in left[0].reason
    _, _, left = read(coco(tmp_path, [person(COCO17[:5])]))
    assert "5 keypoints without names" in left[0].reason


def test_what_is_no_person_is_left_out_and_listed(tmp_path):
    people = [person(), person(DOG, category_id=2, id=5), person(category_id=9, id=6), person(category_id=2, id=7)]
    people += [{"id": 8, "image_id": 1, "category_id": 2, "bbox": [0, 0, 9, 9]}]
    source = coco(tmp_path, people, [category(), category(DOG, "dog", 2, supercategory="Canidae")])
    points, _, left = read(source)
    assert points == [by_name(COCO17)]
    reasons = {(item.name, item.broken): item.reason for item in left}
    assert reasons["a.jpg, annotation 5", True] == "its category is 'dog (Canidae)', not a person"
    assert "got 9; expected 1 person, 2 dog" in reasons["a.jpg, annotation 6", True]
    assert ("a.jpg, annotation 7", True) in reasons, "also where it has as many points as a person"
    assert not left[-1].broken, "COCO's many objects without keypoints are counted alone"
    done = CliRunner().invoke(main, ["prepare", "coco", str(source), "--out", str(tmp_path / "o"), "--workers", "1"])
    assert done.exit_code == 0 and "a.jpg, annotation 5: its category is 'dog (Canidae)', not a person" in done.output
    assert "keypoints: 17 kinds, by name" in done.output


def test_scores_stay_confidences(tmp_path):
    scored = person(third=0.93)
    scored["keypoints"][-1] = scored["keypoints"][-4] = 0.04  # ankles, guessed
    scored["keypoints"][2] = 1.7
    points, _, left = read(coco(tmp_path, [scored, person(third=-0.5, id=2), person(third=1, id=3)]))
    assert points[0]["left_ankle"][2] == points[0]["right_ankle"][2] == 0.04
    assert points[0]["left_hip"][2] == 0.93 and points[0]["nose"][2] == 1
    assert points[1] == by_name(COCO17) and "below 0" in left[0].reason
    prepare_shards("coco", [tmp_path / "ann.json"], tmp_path / "o", ReadOptions(), StoreOptions(), workers=1)
    kept = open_crops(tmp_path / "o").sample(np.arange(1), "train")["keypoints_2d"][0]
    assert kept[keypoint_index("left_ankle"), 2] == pytest.approx(0.04)


@pytest.mark.parametrize("box", [..., None, [], [0, 0, 0, 0], [5, 5, 0, 9]])
def test_without_a_box_it_is_around_the_keypoints(tmp_path, box):
    _, boxes, left = read(coco(tmp_path, [person(bbox=box)]))
    low, high = np.array([place(name) for name in COCO17]).min(0), np.array([place(name) for name in COCO17]).max(0)
    middle, half = (low + high) / 2, 0.6 * (high - low)
    assert not left and np.allclose(boxes[0], [*middle - half, *middle + half])


def test_what_is_guessed_does_not_widen_the_box(tmp_path):
    guessed = person(third=0.9, bbox=None)
    guessed["keypoints"][-3:] = [1.0, 1.0, 0.04]
    _, boxes, _ = read(coco(tmp_path, [guessed]))
    assert boxes[0][0] > 5


def test_feet(tmp_path):
    """COCO-WholeBody's, Halpe's by names and by number, and its full body under COCO's 17 names."""
    feet = [name for name in BODY25 if "toe" in name or "heel" in name]
    whole = person(foot_kpts=flat(feet, 1), foot_valid=True)
    assert read(coco(tmp_path, [whole], [category()]))[0] == [by_name([*COCO17, *feet])]
    assert read(coco(tmp_path, [person(foot_kpts=flat(feet), foot_valid=False)]))[0] == [by_name(COCO17)]
    assert "foot_kpts has another length" in read(coco(tmp_path, [person(foot_kpts=[1] * 15)]))[2][0].reason
    halpe = [name or "head" for name in HALPE26]
    short = [*COCO17, "head", "neck", "hip", "lbt", "rbt", "lst", "rst", "lh", "rh"]
    for kinds in (None, [category(short)], [category()]):
        assert read(coco(tmp_path, [person(halpe)], kinds))[0] == [by_name(HALPE26)]
    full = person([*halpe, *["head"] * 110])
    assert read(coco(tmp_path, [full], [category()]))[0] == [by_name(HALPE26)]


def test_alphapose_and_results_of_detectors(tmp_path):
    write_jpeg(tmp_path / "a.jpg")
    write_jpeg(tmp_path / "000000000042.jpg")
    halpe = [name or "head" for name in HALPE26]
    items = [
        {"image_id": "a.jpg", "category_id": 1, "keypoints": flat(halpe, 0.5), "score": 2.9, "box": [10, 20, 80, 120]},
        {"image_id": 42, "category_id": 1, "keypoints": flat(COCO17, 0.25), "score": 0.9},
        {"image_id": "a.jpg", "category_id": 18, "keypoints": flat(COCO17)},
        {"keypoints": flat(COCO17)},
        {"image_id": "gone.jpg", "category_id": 1, "keypoints": flat(COCO17)},
    ]
    (tmp_path / "alphapose-results.json").write_text(json.dumps(items), encoding="utf-8")
    points, boxes, left = read(tmp_path / "alphapose-results.json")
    assert points == [by_name(HALPE26, 0.5), by_name(COCO17, 0.25), by_name(COCO17)]
    assert boxes[0] == pytest.approx([50 - 48, 80 - 72, 50 + 48, 80 + 72])
    assert [item.reason for item in left] == ["has no image_id", "its category is 18, not 1, which is a person in COCO"]
    out = prepare_shards(
        "coco", [tmp_path / "alphapose-results.json"], tmp_path / "o", ReadOptions(), StoreOptions(), workers=1
    )
    assert out.people == {"train": 2} and "No image at" in out.broken[-1][1]


@pytest.mark.parametrize(("people", "points"), [("bodies", "joints"), ("people", "pose_keypoints_2d")])
def test_alphapose_in_the_forms_of_cmu_and_openpose(tmp_path, people, points):
    """One file by the names of images, its people as OpenPose lists them; and the same, a file an image."""
    write_jpeg(tmp_path / "a.jpg")
    image = {"version": "AlphaPose v0.3", people: [{points: flat(COCO18, 0.5)}, {points: flat(COCO18[:4])}]}
    (tmp_path / "alphapose-results.json").write_text(json.dumps({"a.jpg": image, "gone.jpg": image}), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(image), encoding="utf-8")
    keypoints, _, left = read(tmp_path / "alphapose-results.json")
    assert keypoints == [by_name(COCO18, 0.5)] * 2
    assert [item.name for item in left] == ["a.jpg, person 1", "gone.jpg, person 1"]
    assert read(tmp_path / "a.json")[0] == keypoints[:1]
    out = prepare_shards(
        "coco", [tmp_path / "alphapose-results.json"], tmp_path / "o", ReadOptions(), StoreOptions(), workers=1
    )
    assert out.people == {"train": 1}


def test_openpose_is_a_file_an_image(tmp_path):
    write_jpeg(tmp_path / "photos" / "März.JPG")
    (tmp_path / "json").mkdir()
    people = [
        {"pose_keypoints_2d": flat(BODY25, 0.75)},
        {"pose_keypoints_2d": flat(COCO18, 0.5)},
        {"pose_keypoints_2d": [0.5, 0.25, 0.9] * 25},
        {"pose_keypoints_2d": flat(BODY25[:15])},
        {"pose_keypoints_2d": [0.0] * 75},
    ]
    for name in ("März_keypoints.json", "Mai_keypoints.json"):
        (tmp_path / "json" / name).write_text(json.dumps({"version": 1.3, "people": people}), encoding="utf-8-sig")
    points, _, left = read(tmp_path / "json", tmp_path / "photos")
    assert points == [by_name(BODY25, 0.75), by_name(COCO18, 0.5)]
    told = " ".join(item.reason for item in left)
    assert "--keypoint_scale 0" in told and "15 keypoints; expected 25, or 18" in told
    assert "No image at" in told and "Mai.jpg" in told
    assert read(tmp_path / "json" / "Mai_keypoints.json", tmp_path / "photos" / "März.JPG")[0] == points


def test_the_pixels_that_were_annotated(tmp_path):
    """Sizes are compared: a smaller copy, and a phone's photograph annotated as it is stored."""
    images = [
        {"id": 1, "file_name": "a.jpg", "width": 2 * WIDTH, "height": 2 * HEIGHT},
        {"id": 2, "file_name": "phone.jpg", "width": WIDTH, "height": HEIGHT},
        {"id": 3, "file_name": "phone2.jpg", "width": HEIGHT, "height": WIDTH},
        {"id": 4, "file_name": "b.jpg"},
        {"id": 5, "file_name": "c.jpg", "width": 0, "height": "?"},
        {"id": 6, "file_name": "d.jpg", "width": HEIGHT, "height": WIDTH},
    ]
    source = coco(tmp_path, [person(image_id=number, bbox=None) for number in range(1, 7)], images=images)
    for name, turned in (("phone", True), ("phone2", True), ("b", False), ("c", False), ("d", False)):
        write_jpeg(tmp_path / f"{name}.jpg", turned=turned)
    report = prepare_shards("coco", [source], tmp_path / "o", ReadOptions(), StoreOptions(), workers=1)
    assert report.people == {"train": 3}
    told = dict(report.broken)
    assert set(told) == {"a.jpg", "phone.jpg", "d.jpg"}
    assert "another size than its annotation says; got 120 × 160 pixels; expected 240 × 320" in told["a.jpg"]
    assert "turned by its EXIF" in told["phone.jpg"] and "EXIF" not in told["d.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_in_front(tmp_path, encoding):
    source = coco(tmp_path, [person()])
    source.write_bytes(source.read_text(encoding="utf-8").encode(encoding))
    assert read(source)[0] == [by_name(COCO17)]


def prepare(path, out, name="evaluation-npz", *, images=None, workers=1, storing=None, **reading):
    reading = {"split": "test", "images": images, **reading}
    return prepare_shards(name, [path], out, ReadOptions(**reading), storing or StoreOptions(), workers=workers)


def coco_file(path, annotations, images=2):
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 150} for i in range(images)],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))
    for i in range(images):
        write_picture(path.parent / f"{i}.jpg", smooth_image())


def coco_person(image=0, **changes):
    keypoints = np.zeros((17, 3))
    keypoints[COCO17.index("left_knee")] = (110, 70, 2)
    keypoints[COCO17.index("nose")] = (90, 60, 1)
    keypoints[COCO17.index("right_ear")] = (33, 44, 0)
    return {"id": 7, "image_id": image, "bbox": [80, 50, 40, 50], "keypoints": keypoints.ravel().tolist(), **changes}


def test_coco_keypoints_find_their_names(tmp_path):
    coco_file(tmp_path / "k.json", [coco_person(), coco_person(1, bbox=[0, 0, 20, 10])])
    prepare(tmp_path / "k.json", tmp_path / "out", "coco", split="train")
    sample = open_crops(tmp_path / "out").sample(np.arange(2), "train")
    assert sample["box"].tolist() == [[70, 45, 130, 105], [-2, -7, 22, 17]]  # 1.2 × the longer side
    points = sample["keypoints_2d"][0]
    torch.testing.assert_close(points[keypoint_index("left_knee")], torch.tensor([40 / 60 - 0.5, 25 / 60 - 0.5, 1]))
    assert points[keypoint_index("nose"), 2] == 1 and points[:, 2].sum() == 2
    assert not (sample["has_body_pose"] | sample["has_betas"] | sample["true_3d"]).any()


def test_coco_bad_input(tmp_path):
    coco_file(
        tmp_path / "k.json",
        [
            coco_person(),
            coco_person(keypoints=[1.0] * 75),
            coco_person(bbox=[5, 5, 0, 10]),
            coco_person(iscrowd=1),
            coco_person(bbox=None),
            coco_person(bbox=[1, 2, float("nan"), 4]),
            coco_person(keypoints=[0] * 51),
            coco_person(99),
            coco_person(keypoints=["a"] * 51),
        ],
        images=3,
    )
    report = prepare(tmp_path / "k.json", tmp_path / "out", "coco")
    assert report.people == {"test": 3} and len(report.broken) == 4
    assert report.skipped == {"a crowd": 1, "no keypoint is labelled": 1, "nobody in the picture": 2}
    for text in ("[1, 2]", "{}", "{", '{"images": 1, "annotations": []}', '{"images": [1], "annotations": []}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match="COCO keypoints"):
            prepare(tmp_path / "bad.json", tmp_path / "none", "coco")
