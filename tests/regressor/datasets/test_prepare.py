"""Shards: pictures and annotation come back true to each other; bad items are listed; a killed run goes on."""

from __future__ import annotations

import json

import cv2
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.commands.cli import main
from regressor.datasets.annotation import ImageRecord, Person, ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.cropping import Framing, crop_stored
from regressor.datasets.prepare import StoreOptions, people_of, prepare_shards
from regressor.datasets.readers.joint_orders import COCO17, COCO18, SMPL45
from regressor.datasets.shard_file import encode_person
from regressor.geometry.camera import assumed_intrinsics, project_to_crop
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import KEYPOINT_NAMES, keypoint_index
from tokenizer.engine.errors import UserError


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


@pytest.fixture
def threedpw(tmp_path):
    """Five rows of an evaluation npz in two sequences, with their images; the first two rows share one."""
    names = [f"imageFiles/{seq}/image_{i:05d}.jpg" for seq, i in (("a", 0), ("a", 0), ("a", 1), ("b", 0), ("b", 1))]
    for name in names:
        write_jpeg(tmp_path / "3DPW" / name, smooth_image())
    arrays = evaluation_arrays([name.encode() for name in names])
    np.savez(tmp_path / "3dpw_test.npz", **arrays)
    return tmp_path / "3dpw_test.npz", arrays


def prepare(path, out, name="evaluation-npz", *, images=None, workers=1, storing=None, **reading):
    reading = {"split": "test", "images": images, **reading}
    return prepare_shards(name, [path], out, ReadOptions(**reading), storing or StoreOptions(), workers=workers)


def test_what_an_evaluation_npz_says_comes_back(threedpw, tmp_path):
    path, arrays = threedpw
    report = prepare(path, tmp_path / "out", images=tmp_path / "3DPW", people=2)
    assert (report.people, report.photos, report.shards, report.broken) == ({"test": 5}, 4, 3, [])
    store = open_crops(tmp_path / "out")
    assert store.sequences("test") == ["a", "a", "a", "b", "b"]
    assert store.attributes["scale_unit"] == "3dpw_test.npz: pixels"
    order = np.array([4, 0, 0, 2])
    sample = store.at_size(40).sample(order, "test")
    assert sample["image"].shape == (4, 3, 40, 40) and sample["image"].dtype == torch.uint8
    pose = torch.from_numpy(arrays["body_pose"][order]).float()
    torch.testing.assert_close(sample["global_orient"], axis_angle_to_matrix(pose[:, :3]))
    torch.testing.assert_close(sample["body_pose"], axis_angle_to_matrix(pose[:, 3:].view(4, 23, 3)))
    torch.testing.assert_close(sample["betas"], torch.from_numpy(arrays["betas"][order]).float())
    assert sample["has_betas"].all() and sample["has_body_pose"].all() and sample["has_global_orient"].all()
    assert sample["gender"].tolist() == [2, 2, 2, 2] and sample["gender"].dtype == torch.int64
    assert torch.equal(sample["box"], torch.tensor([[60.0, 35, 140, 115]]).expand(4, 4))
    assert torch.equal(sample["K"][0], assumed_intrinsics(200, 150))
    # Keypoints in crop units: the middle of the box; those without confidence say nothing.
    assert sample["keypoints_2d"][0, 0].tolist() == [0, 0, 1] and not sample["keypoints_2d"][:, 25:].any()
    torch.testing.assert_close(
        sample["keypoints_3d"][:, 25:].double(),
        torch.from_numpy(arrays["extra_keypoints_3d"][order]),
        rtol=1e-6,
        atol=1e-6,
    )
    # Pixel (i, j) of a crop of 40 shows the photograph at box + 2 (i + ½): red is x, green is y.
    annotation = store.annotation(order, "test")
    assert annotation.pop("image").shape == (4, 3, 0, 0)
    assert all(torch.equal(values, sample[name]) for name, values in annotation.items())
    centres = 2 * (torch.arange(40) + 0.5)
    assert (sample["image"][0, 0].float() - (60 + centres)).abs().max() <= 3
    assert (sample["image"][0, 1].float() - (35 + centres)[:, None]).abs().max() <= 3


def test_units_of_boxes_are_told_apart_or_told(threedpw, tmp_path):
    path, arrays = threedpw
    np.savez(path, **{**arrays, "scale": arrays["scale"] / 200})
    prepare(path, tmp_path / "auto", images=tmp_path / "3DPW")
    assert open_crops(tmp_path / "auto").attributes["scale_unit"] == "3dpw_test.npz: pixels/200"
    assert open_crops(tmp_path / "auto").sample(np.array([0]), "test")["box"].tolist() == [[60, 35, 140, 115]]
    with pytest.raises(UserError, match="no area"):
        prepare(path, tmp_path / "told", images=tmp_path / "3DPW", scale_unit="pixels")


@pytest.mark.parametrize("size", [16, 50, 100, 160])
@pytest.mark.parametrize("box", [(60.0, 35.0, 140.0, 115.0), (40.3, 20.6, 90.3, 70.6), (-30.0, -20.0, 50.0, 60.0)])
def test_crops_show_what_their_box_says_at_any_size(box, size):
    box = np.array(box)
    row = encode_person(smooth_image(), box, margin=1.4, pixels=64, quality=100)
    crop = crop_stored(row["jpeg"], row["stored"], Framing(tuple(box)), size).astype(float)
    x, y = (low + (box[2] - box[0]) / size * (np.arange(size) + 0.5) for low in box[:2])
    right, below = x > 4, y > 4  # of the image's edge; what lies beyond shows the edge
    error = crop[below][:, right, :2] - np.stack(np.meshgrid(x[right], y[below]), -1)
    assert np.abs(error).max() < 5, "as JPEG keeps colours"
    assert np.abs(error.mean((0, 1))).max() < 0.3, "no shift"


def test_what_is_stored_is_wide_and_small():
    row = encode_person(smooth_image(), np.array([60.0, 35, 140, 115]), margin=1.5, pixels=40, quality=90)
    assert row["stored"].tolist() == [40, 15, 160, 135]
    assert cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), 1).shape == (60, 60, 3)


def test_bad_items_are_left_out_and_listed(threedpw, tmp_path):
    path, _ = threedpw
    names = [f"imageFiles/x/{i}.jpg" for i in range(9)]
    for name in names[:-2]:
        write_jpeg(tmp_path / "3DPW" / name, smooth_image())
    (tmp_path / "3DPW" / names[7]).write_text("no image")
    changes = evaluation_arrays(names, gender=np.array(["m", "f", "x", "neutral", *["f"] * 5]))
    changes["center"][3] = (4000, 75)
    changes["scale"][[4, 5]] = (0, -80)
    changes["body_pose"][6, 5] = np.nan
    np.savez(path, **changes)
    report = prepare(path, tmp_path / "out", images=tmp_path / "3DPW", people=3)
    assert report.people == {"test": 2}
    reasons = [f"{name}: {reason}" for name, reason in report.broken]
    for number, reason in (
        (2, "unknown gender"),
        (3, "outside the image"),
        (4, "no area"),
        (5, "no area"),
        (6, "not finite"),
        (7, "is no image"),
        (8, "No image at"),
    ):
        assert [one for one in reasons if f"{number}.jpg" in one and reason in one], (number, reason)
    assert len(reasons) == 7 and len((tmp_path / "out" / "left_out.txt").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body_keypoints_2d": np.zeros((5, 24, 3))}, r"body_keypoints_2d does not fit.*\(5, 25, 3\)"),
        ({"keypoints_2d": np.zeros((5, 17, 3))}, r"keypoints_2d does not fit"),
        ({"center": np.zeros((4, 2))}, "center does not fit 5 images"),
        ({"center": None}, "no center"),
        ({"imgname": np.array([b"a", None, 1, 2, 3], dtype=object)}, "pickled objects"),
    ],
)
def test_npz_that_do_not_fit_are_one_message(threedpw, tmp_path, change, message):
    path, arrays = threedpw
    np.savez(path, **{name: value for name, value in {**arrays, **change}.items() if value is not None})
    with pytest.raises(UserError, match=message):
        prepare(path, tmp_path / "out")


def coco_file(path, annotations, images=2):
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 150} for i in range(images)],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))
    for i in range(images):
        write_jpeg(path.parent / f"{i}.jpg", smooth_image())


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


@pytest.mark.parametrize("count", [0, 1, 500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_number_of_people_in_one_image(count):
    person = Person(np.array([10.0, 10, 14, 14]))
    rows, left = people_of(ImageRecord("crowd", smooth_image(), (person,) * count), StoreOptions())
    assert len(rows) == count and bool(left) == (not count)


def test_nobody_in_a_picture_is_no_mistake():
    assert people_of(ImageRecord("empty", b"", ()), StoreOptions())[1][0].reason == "nobody in the picture"


def test_a_box_far_larger_than_its_image_is_told():
    rows, left = people_of(
        ImageRecord("a", smooth_image(), (Person(np.array([-9e3, -9e3, 9e3, 9e3])),)), StoreOptions()
    )
    assert not rows and "far larger" in left[0].reason


@pytest.mark.slow
def test_workers_change_nothing(threedpw, tmp_path):
    path, _ = threedpw
    for workers in (1, 2):
        prepare(path, tmp_path / str(workers), images=tmp_path / "3DPW", people=2, workers=workers)
    assert open_crops(tmp_path / "1").digest == open_crops(tmp_path / "2").digest


def test_a_killed_run_goes_on(threedpw, tmp_path):
    path, _ = threedpw
    whole = prepare(path, tmp_path / "whole", images=tmp_path / "3DPW", people=2)
    assert whole.resumed == 0
    out = tmp_path / "out"
    prepare(path, out, images=tmp_path / "3DPW", people=2)
    (out / "shards.json").unlink()
    (out / "test-00001.h5").write_bytes((out / "test-00001.h5").read_bytes()[:999])
    kept = (out / "test-00000.h5").stat().st_mtime_ns
    with pytest.raises(UserError, match="again if it did not end"):
        open_crops(out)
    with pytest.raises(UserError, match="is something else"):
        prepare(path, out, images=tmp_path / "3DPW", people=2)
    (out / "test-00001.h5").unlink()
    assert prepare(path, out, images=tmp_path / "3DPW", people=2).resumed == 2
    assert (out / "test-00000.h5").stat().st_mtime_ns == kept
    assert open_crops(out).digest == open_crops(tmp_path / "whole").digest
    other = prepare(path, out, images=tmp_path / "3DPW", people=2, storing=StoreOptions(quality=50))
    assert other.resumed == 0 and open_crops(out).digest != open_crops(tmp_path / "whole").digest


def test_other_data_is_not_replaced(threedpw, tmp_path):
    path, _ = threedpw
    prepare(path, tmp_path / "out", images=tmp_path / "3DPW")
    coco_file(tmp_path / "k.json", [coco_person()])
    with pytest.raises(UserError, match="holds other data; got evaluation-npz"):
        prepare(tmp_path / "k.json", tmp_path / "out", "coco")
    with pytest.raises(UserError, match="is a file"):
        prepare(path, path)


def test_a_shard_lost_changed_or_damaged_between_two_epochs_is_told(threedpw, tmp_path):
    path, _ = threedpw
    out = tmp_path / "out"
    prepare(path, out, images=tmp_path / "3DPW", people=2)
    store = open_crops(out)
    with h5py.File(out / "test-00000.h5", "a") as file:
        del file["betas"]
    with pytest.raises(UserError, match=r"misshapen, betas.*prepare"):
        store.sample(np.array([0]), "test")
    assert len(store.sample(np.array([3, 4]), "test")["image"]) == 2, "the others are as they were"
    (out / "test-00000.h5").write_bytes((out / "test-00001.h5").read_bytes())
    with pytest.raises(UserError, match="was changed since"):
        store.sample(np.array([0]), "test")
    (out / "test-00000.h5").unlink()
    with pytest.raises(UserError, match=r"No shard at.*prepare.* again"):
        store.sample(np.array([0]), "test")
    with pytest.raises(UserError, match="out of range"):
        store.sample(np.array([5]), "test")
    with pytest.raises(UserError, match="no split 'train'"):
        store.count("train")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"format_version": 9},
        {"shards": []},
        {"shards": [{"file": "a"}]},
        {"attributes": {}},
        {"shards": [{"file": "../a.h5", "split": "test", "count": 1, "digest": "", "sequences": [["", 1]]}]},
    ],
)
def test_a_damaged_index_is_one_message(threedpw, tmp_path, change):
    path, _ = threedpw
    prepare(path, tmp_path / "out", images=tmp_path / "3DPW")
    index = tmp_path / "out" / "shards.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(UserError, match=r"shards\.json|newer version"):
        open_crops(tmp_path / "out")


def test_orders_of_joints():
    assert len(COCO17) == 17 and len(COCO18) == 18 and len(SMPL45) == 45
    assert COCO18[8] == "right_hip" and COCO17[9] == "left_wrist" and SMPL45[29] == "left_big_toe"
    for names in (COCO17, COCO18, SMPL45):
        known = [name for name in names if name]
        assert len(set(known)) == len(known) and set(known) <= set(KEYPOINT_NAMES[:25])
    assert set(SMPL45) - {""} == set(KEYPOINT_NAMES[:25])


def test_from_prepare_to_a_table(threedpw, tmp_path, regressor, tokenizer_file, tiny_config):
    from regressor.checkpoints.regressor_file import save_regressor
    from tokenizer.frozen import load_tokenizer

    path, _ = threedpw
    run = CliRunner().invoke(
        main,
        [
            "prepare",
            "evaluation-npz",
            str(path),
            "--images",
            str(tmp_path / "3DPW"),
            "--out",
            str(tmp_path / "out"),
            "--workers",
            "1",
        ],
    )
    assert run.exit_code == 0, run.output
    assert "people: 5 in test; 4 photographs; 1 shards" in run.output and "scale unit: " in run.output
    save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, load_tokenizer(tokenizer_file), {})
    for protocol in ("emdb", "3dpw"):
        command = [
            "evaluate",
            str(tmp_path / "r.pt"),
            str(tmp_path / "out"),
            "--tokenizer",
            str(tokenizer_file),
            "--protocol",
            protocol,
            "--json",
            str(tmp_path / "result.json"),
            "--device",
            "cpu",
        ]
        done = CliRunner().invoke(main, command)
        # The annotation knows genders, and 3DPW's rule wants a joint regressor: licensed files, asked for in one line.
        assert done.exit_code == 2 and ("by gender" in done.output or "--joint-regressor" in done.output)
    arrays = dict(np.load(path))
    arrays["gender"] = np.array(["neutral"] * 5)
    np.savez(path, **arrays)
    prepare(path, tmp_path / "out", images=tmp_path / "3DPW")
    command[command.index("3dpw")] = "emdb"
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "result.json").read_text())
    assert about["samples"] == 5 and "'a'" in str(about["sequences"]) and "'b'" in str(about["sequences"])
    assert "those of the file" in json.dumps(about)
    unknown = CliRunner().invoke(main, ["prepare", "coco2", "x", "--out", "y"])
    assert unknown.exit_code == 2 and "evaluation-npz, coco" in unknown.output


def test_2d_agrees_with_3d_seen_through_K():
    """The crop units of a keypoint are those of its 3D through K and box, as for every other sample."""
    K = torch.tensor([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]])
    points = torch.tensor([[0.1, -0.2, 3.0]]).expand(44, 3)
    pixels = points @ K.T
    pixels = torch.cat([pixels[:, :2] / pixels[:, 2:], torch.ones(44, 1)], 1)
    person = Person(np.array([80.0, 40, 140, 100]), keypoints_2d=pixels.numpy(), K=K.numpy())
    row = people_of(ImageRecord("a", smooth_image(), (person,)), StoreOptions())[0][0]
    from regressor.datasets.shards import _sample

    columns = {
        name: np.asarray(row[name], np.float32)[None]
        for name in ("keypoints_2d", "box", "K", "gender", "global_orient", "body_pose")
    }
    sample = _sample(columns)
    expected = project_to_crop(points[None], sample["box"], sample["K"])
    torch.testing.assert_close(sample["keypoints_2d"][..., :2], expected)
