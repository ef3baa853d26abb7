"""Readers of tars and raw data sets, on files made here to the layouts of the real ones."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import tarfile

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from regressor.datasets.annotation import FitRules, ReadOptions, read_keys
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.readers.joint_orders import COCO18, SMPL24, SMPL45
from regressor.geometry.camera import project_to_crop
from tokenizer.body.skeleton import keypoint_index
from tokenizer.engine.errors import UserError


def jpeg(width=200, height=150):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    done, data = cv2.imencode(".jpg", np.stack([np.full_like(x, 60), y, x], -1).astype(np.uint8))
    assert done
    return data.tobytes()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def prepare(name, sources, out, *, split="train", **reading):
    options = ReadOptions(split=split, **reading)
    return prepare_shards(name, list(sources), out, options, StoreOptions(), workers=1)


def fitted_person(**changes):
    draw = np.random.default_rng(1)
    points = np.tile([100.0, 75.0, 1.0], (44, 1))
    points_3d = np.concatenate([draw.normal(size=(44, 3)), draw.random((44, 1))], 1)
    return {
        "keypoints_2d": points.astype(np.float32),
        "keypoints_3d": points_3d.astype(np.float32),
        "center": np.array([100.0, 75.0]),
        "scale": np.array([0.3, 0.4]),
        "body_pose": 0.2 * draw.normal(size=72),
        "betas": draw.normal(size=10),
        "has_body_pose": np.array(1.0),
        "has_betas": np.array(1.0),
        "extra_info": {"detection_npz_idx": 0},
        **changes,
    }


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/pose_token_hmr_was_here",)


def test_tars_of_4d_humans(tmp_path):
    people = [fitted_person(), fitted_person(has_body_pose=np.array(0.0)), fitted_person(has_betas=np.array(0.0))]
    masks = io.BytesIO()
    np.savez(masks, masks=np.zeros((1, 4, 4), bool))
    write_tar(
        tmp_path / "000000.tar",
        [
            ("a/x.jpg", jpeg()),
            ("a/x.detection.npz", masks.getvalue()),
            ("a/x.data.pyd", pickle.dumps(people)),
            ("a/y.data.pyd", pickle.dumps([])),
            ("a/y.png", jpeg()),
            ("notes.txt", b"hello"),
        ],
    )
    report = prepare("4dhumans", [tmp_path], tmp_path / "out")
    assert (report.people, report.broken, report.skipped) == ({"train": 3}, [], {"nobody in the picture": 1})
    sample = open_crops(tmp_path / "out").sample(np.arange(3), "train")
    assert sample["box"].tolist() == [[60, 35, 140, 115]] * 3  # the longer side, 0.4 × 200
    for name in ("body_pose", "global_orient", "betas"):
        assert sample[f"has_{name}"].tolist() == [True, False, False], "pose and shape only together"
    assert not sample["true_3d"].any() and sample["keypoints_2d"][0, 7].tolist() == [0, 0, 1]
    root = Rotation.from_rotvec(people[0]["body_pose"][:3]).as_matrix()
    np.testing.assert_allclose(sample["global_orient"][0], root, atol=1e-6)
    np.testing.assert_allclose(sample["keypoints_3d"][0], people[0]["keypoints_3d"])
    np.testing.assert_allclose(sample["betas"][0], people[0]["betas"], rtol=1e-6)


def test_who_of_4d_humans_counts(tmp_path):
    """As HMR2.0 was trained: each rule, its limit, and its words in the list of what is left out."""
    unsure, few = fitted_person(), fitted_person()
    unsure["keypoints_2d"][:40, 2] = 0.29
    few["keypoints_2d"][:41, 2] = 0.29
    people = [
        fitted_person(),
        unsure,
        few,
        fitted_person(extra_info={"fitting_loss": np.array(31_000.0)}),
        fitted_person(extra_info={"fitting_loss": np.array([31_001.0])}),
    ]
    one = pickle.dumps([fitted_person()])
    write_tar(
        tmp_path / "0.tar",
        [
            ("a/x.jpg", jpeg()),
            ("a/x.data.pyd", pickle.dumps(people)),
            ("a/bad.jpg", jpeg()),
            ("a/bad.data.pyd", one),
            ("b/worse.jpg", jpeg()),
            ("b/worse.data.pyd", one),
        ],
    )
    rules = FitRules(corrupt=frozenset({"bad", "b/worse"}))
    report = prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out", fits=rules)
    assert report.people == {"train": 3}
    known = (open_crops(tmp_path / "out").sample(np.arange(3), "train")["keypoints_2d"][..., 2] > 0).sum(1)
    assert known.tolist() == [44, 4, 44]
    listed = (tmp_path / "out" / "left_out.txt").read_text()
    for expected in (
        "person 2 has too few 2D keypoints; got 3 from confidence 0.3",
        "person 4 was fitted badly",
        "31001",
        "a/bad\tlisted as corrupt",
        "b/worse\tlisted as corrupt",
    ):
        assert expected in listed, expected
    assert "31000" in report.about["note"] and "0.3" in report.about["note"]
    everybody = FitRules(0.0, 0, float("inf"))
    assert prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out", fits=everybody).people == {"train": 7}
    keys = tmp_path / "keys.txt"
    keys.write_text("bad  # torn\n\nb/worse\n")
    assert read_keys(keys) == rules.corrupt
    with pytest.raises(UserError, match="list of keys"):
        read_keys(tmp_path / "no.txt")


@pytest.mark.parametrize(("tar", "measured"), [("h36m-train/0.tar", True), ("H36M_0.tar", True), ("coco/0.tar", False)])
def test_bodies_of_human36m_were_measured(tmp_path, tar, measured):
    (tmp_path / tar).parent.mkdir(exist_ok=True)
    write_tar(tmp_path / tar, [("x.jpg", jpeg()), ("x.data.pyd", pickle.dumps([fitted_person()]))])
    prepare("4dhumans", [(tmp_path / tar)], tmp_path / "out")
    assert open_crops(tmp_path / "out").sample(np.arange(1), "train")["true_3d"].tolist() == [measured]


def test_what_is_wrong_in_a_tar_is_listed(tmp_path):
    people = pickle.dumps([fitted_person()])
    write_tar(
        tmp_path / "0.tar",
        [
            ("good.jpg", jpeg()),
            ("good.data.pyd", people),
            ("hostile.jpg", jpeg()),
            ("hostile.data.pyd", pickle.dumps(Hostile())),
            ("text.jpg", b"no image"),
            ("text.data.pyd", people),
            ("alone.jpg", jpeg()),
            ("lost.data.pyd", people),
            ("dict.jpg", jpeg()),
            ("dict.data.pyd", pickle.dumps({"a": 1})),
            ("some.jpg", jpeg()),
            (
                "some.data.pyd",
                pickle.dumps(
                    [
                        fitted_person(),
                        5,
                        fitted_person(keypoints_2d=np.zeros((25, 3))),
                        fitted_person(scale=np.array([0.0, 0])),
                        fitted_person(betas=np.full(10, np.nan), has_betas=np.array(1.0)),
                        {"center": np.zeros(2)},
                    ]
                ),
            ),
            ("cut.jpg", jpeg()),
            ("cut.data.pyd", people),
        ],
    )
    data = (tmp_path / "0.tar").read_bytes()
    cut = data.rindex(b"cut.data.pyd") + 600
    (tmp_path / "0.tar").write_bytes(data[:cut])
    report = prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out")
    assert report.people == {"train": 2}
    reasons = "\n".join(f"{name}: {reason}" for name, reason in report.broken)
    for expected in (
        "could run code",
        "text is no image",
        "alone: has no data.pyd",
        "lost: has no picture",
        "no list of people",
        "some, person 1 is no dictionary",
        r"(25, 3)",
        "no area",
        "not finite",
        "is incomplete",
        "cut short or damaged after",
    ):
        assert expected in reasons, expected
    assert len(report.broken) == 11
    assert not os.path.exists("/tmp/pose_token_hmr_was_here")  # noqa: PTH110
    (tmp_path / "no.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"Nobody was found.*cut short or damaged"):
        prepare("4dhumans", [tmp_path / "no.tar"], tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No tars"):
        prepare("4dhumans", [tmp_path / "empty"], tmp_path / "none")


@pytest.mark.parametrize(("sure", "taken"), [(1.05, True), (-0.1, False), (1.5, False)])
@pytest.mark.parametrize("name", ["keypoints_2d", "keypoints_3d"])
def test_confidences_outside_0_to_1_are_no_confidences(tmp_path, name, sure, taken):
    """A detector's score of 1.05 counts as 1; what is below 0 or far above 1 is refused, and listed."""
    other = fitted_person()
    other[name][3, -1] = sure
    write_tar(tmp_path / "0.tar", [("x.jpg", jpeg()), ("x.data.pyd", pickle.dumps([fitted_person(), other]))])
    report = prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out")
    assert report.people == {"train": 1 + taken} and len(report.broken) == 1 - taken
    if taken:
        assert open_crops(tmp_path / "out").sample(np.array([1]), "train")[name][0, 3, -1] == 1
    else:
        where, reason = report.broken[0]
        assert "person 1" in where and f"{name} of" in reason and "confidences" in reason and "0 to 1" in reason


def bedlam_person(open_body, width=200, height=150):
    """A BEDLAM dictionary of SMPL layout whose 2D is its 3D (here: the open body's joints) seen by its camera."""
    K = np.array([[250.0, 0, width / 2], [0, 250, height / 2], [0, 0, 1]])
    pose = 0.1 * np.random.default_rng(2).normal(size=72)
    pose[:3] = (np.pi, 0, 0)
    pose[66:] = 0
    external = np.eye(4)
    external[:3, 3] = (0.1, 0.2, 3.0)
    person = {
        "center": np.array([width / 2, height / 2]),
        "scale": 0.5,
        "pose_cam": pose,
        "shape": np.linspace(-1, 1, 11),
        "trans_cam": np.array([0.05, 0.1, 1.0]),
        "cam_ext": external,
        "cam_int": K,
        "gender": "female",
    }
    turns = torch.from_numpy(Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix()).float()
    joints = open_body.joints(
        turns[None, 1:],
        root=turns[:1],
        betas=torch.linspace(-1, 0.8, 10)[None],
        translation=torch.tensor([[0.15, 0.3, 4.0]]),
    )[0].numpy()
    pixels = joints @ K.T
    person["gtkps"] = np.concatenate([pixels[:, :2] / pixels[:, 2:], np.zeros((21, 2))])
    return person


@pytest.mark.parametrize("form", ["tar", "npz"])
def test_bedlam_is_true_to_its_camera(form, open_body, tmp_path):
    person = bedlam_person(open_body)
    if form == "tar":
        write_tar(tmp_path / "0.tar", [("s/1.png", jpeg()), ("s/1.data.pyd", pickle.dumps([person]))])
        source = tmp_path / "0.tar"
    else:
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "1.png").write_bytes(jpeg())
        source = tmp_path / "labels.npz"
        np.savez(source, imgname=np.array(["s/1.png"]), **{name: np.array([value]) for name, value in person.items()})
    prepare("bedlam", [source], tmp_path / "out")
    sample = open_crops(tmp_path / "out").sample(np.arange(1), "train")
    posed = {"root": sample["global_orient"], "betas": torch.linspace(-1, 0.8, 10)[None]}
    joints = open_body.joints(sample["body_pose"], **posed, translation=sample["translation"])
    seen = project_to_crop(joints, sample["box"], sample["K"])[0]
    checked = 0
    for row, name in enumerate(SMPL24):
        if name:
            found = sample["keypoints_2d"][0, keypoint_index(name)]
            torch.testing.assert_close(found[:2], seen[row], atol=1e-4, rtol=0)
            checked += int(found[2])
    assert checked == 14
    assert sample["true_3d"].all() and sample["has_betas"].all()
    assert sample["gender"].tolist() == [0], "the labels are those of the neutral body"
    np.testing.assert_allclose(sample["betas"][0], np.linspace(-1, 1, 11)[:10], atol=1e-6)


def test_bedlam_of_smplx_and_of_cameras_on_their_side(open_body, tmp_path):
    upright = bedlam_person(open_body, 150, 200)
    upright["pose_cam"] = np.concatenate([upright["pose_cam"][:66], np.ones(99)])
    write_tar(
        tmp_path / "0.tar",
        [
            ("s_closeup/1.png", jpeg()),
            ("s_closeup/1.data.pyd", pickle.dumps([upright])),
            ("t/2.png", jpeg()),
            (
                "t/2.data.pyd",
                pickle.dumps(
                    [
                        {**upright, "pose_cam": np.zeros(66)},
                        {**upright, "gtkps": np.zeros((24, 2))},
                        {**upright, "shape": np.zeros(3)},
                        {**upright, "cam_int": np.full((3, 3), np.inf)},
                    ]
                ),
            ),
        ],
    )
    report = prepare("bedlam", [tmp_path / "0.tar"], tmp_path / "out")
    assert report.people == {"train": 1} and len(report.broken) == 4
    sample = open_crops(tmp_path / "out").sample(np.arange(1), "train")
    assert sample["image_size"].tolist() == [[150, 200]] and not sample["has_betas"].any()
    assert torch.equal(sample["body_pose"][0, 21:], torch.eye(3).expand(2, 3, 3))
    # Turned clockwise, what was left (no red) is on top: red grows downwards.
    column = sample["image"][0, 0, :, 128].float()
    assert column[200] > column[60] + 40
    assert SMPL45[24] == "nose"
    np.savez(tmp_path / "bad.npz", imgname=np.array(["a"]))
    with pytest.raises(UserError, match="no labels of BEDLAM"):
        prepare("bedlam", [tmp_path / "bad.npz"], tmp_path / "none")


def sequence_of_3dpw(frames=4):
    draw = np.random.default_rng(3)
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, :3, :3] = Rotation.from_rotvec(draw.normal(size=(frames, 3))).as_matrix()
    cameras[:, :3, 3] = draw.normal(size=(frames, 3))
    K = np.array([[200.0, 0, 100], [0, 200, 75], [0, 0, 1]])
    seen = draw.normal(size=(frames, 24, 3)) * 0.3 + [0, 0, 4]  # in camera axes
    world = np.einsum("nji,nkj->nki", cameras[:, :3, :3], seen - cameras[:, None, :3, 3])
    pixels = seen @ K.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    points = np.zeros((frames, 3, 18))
    for row, name in enumerate(COCO18):
        if name in SMPL24:
            points[:, :2, row], points[:, 2, row] = pixels[:, SMPL24.index(name)], 0.8
    poses, trans = 0.3 * draw.normal(size=(frames, 72)), draw.normal(size=(frames, 3))
    content = {
        "sequence": "walk_00",
        "cam_poses": cameras,
        "cam_intrinsics": K,
        "img_frame_ids": np.arange(frames),
        "poses": [poses, poses],
        "trans": [trans, trans],
        "betas": [np.arange(10.0), np.arange(300.0)],
        "genders": ["m", "f"],
        "poses2d": [points.copy(), points.copy()],
        "jointPositions": [world.reshape(-1, 72)] * 2,
        "campose_valid": [np.ones(frames), np.ones(frames)],
    }
    return content, seen, points


def write_3dpw(root, content, frames=4):
    (root / "sequenceFiles" / "test").mkdir(parents=True)
    (root / "imageFiles" / "walk_00").mkdir(parents=True)
    for frame in range(frames):
        (root / "imageFiles" / "walk_00" / f"image_{frame:05d}.jpg").write_bytes(jpeg())
    # Protocol 2 is that of the real files, which Python 2 wrote.
    (root / "sequenceFiles" / "test" / "walk_00.pkl").write_bytes(pickle.dumps(content, protocol=2))


def test_3dpw_in_camera_axes(tmp_path):
    content, seen, points = sequence_of_3dpw()
    content["campose_valid"][1][2] = 0
    content["cam_poses"][3] = 0  # not a rotation, but then nobody is valid there
    for person in (0, 1):
        content["campose_valid"][person][3] = 0
    content["poses2d"][0][1] = 0
    write_3dpw(tmp_path / "3DPW", content)
    report = prepare("3dpw", [tmp_path / "3DPW"], tmp_path / "out")
    assert report.people == {"test": 4} and not report.broken
    assert report.skipped == {"marked as invalid by 3DPW": 4}
    store = open_crops(tmp_path / "out")
    assert store.sequences("test") == ["walk_00"] * 4
    sample = store.sample(np.arange(4), "test")
    frames = [0, 0, 1, 2]  # people 0 and 1, person 1, person 0
    assert sample["gender"].tolist() == [2, 1, 1, 2]
    for row, frame in enumerate(frames):
        turn = content["cam_poses"][frame, :3, :3] @ Rotation.from_rotvec(content["poses"][0][frame, :3]).as_matrix()
        np.testing.assert_allclose(sample["global_orient"][row], turn, atol=1e-5)
        for name in ("left_knee", "right_wrist"):
            found = sample["keypoints_3d"][row, keypoint_index(name)].numpy()
            np.testing.assert_allclose(found, [*seen[frame, SMPL24.index(name)], 1], atol=1e-5)
        x = points[frame, 0][points[frame, 2] > 0]
        y = points[frame, 1][points[frame, 2] > 0]
        side = 1.2 * max(np.ptp(x), np.ptp(y))
        box = sample["box"][row].numpy()
        np.testing.assert_allclose(box[2:] - box[:2], side, rtol=1e-4)
        # The body stands where its camera sees its pelvis: rest pelvis + translation = the pelvis in camera axes.
        world = content["jointPositions"][0][frame, :3]
        rest = world - content["trans"][0][frame]
        np.testing.assert_allclose(sample["translation"][row].numpy() + rest, seen[frame, 0], atol=1e-5)
    known = sample["keypoints_2d"][..., 2] > 0
    both = known & (sample["keypoints_3d"][..., 3] > 0)
    projected = project_to_crop(sample["keypoints_3d"][..., :3], sample["box"], sample["K"])
    assert both.sum() == 4 * 13
    torch.testing.assert_close(sample["keypoints_2d"][..., :2][both], projected[both], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cam_poses": np.full((4, 4, 4), np.nan)}, "cam_poses is not finite"),
        ({"poses2d": [np.zeros((4, 18, 3))] * 2}, "poses2d has another shape"),
        ({"trans": [np.zeros((4, 3))]}, "has no trans"),
        ({"genders": ["m", "robot"]}, "unknown gender"),
        ({"poses": Hostile()}, "could run code"),
    ],
)
def test_3dpw_sequences_that_are_damaged_are_listed(tmp_path, change, message):
    content, _, _ = sequence_of_3dpw()
    write_3dpw(tmp_path / "3DPW", {**content, **change})
    with pytest.raises(UserError, match=f"Nobody was found.*{message}"):
        prepare("3dpw", [tmp_path / "3DPW"], tmp_path / "out")


def write_emdb(root, name="walk", frames=4, **changes):
    draw = np.random.default_rng(4)
    camera = np.tile(np.eye(4), (frames, 1, 1))
    camera[:, :3, :3] = Rotation.from_rotvec(draw.normal(size=(frames, 3))).as_matrix()
    content = {
        "gender": "female",
        "name": f"P1_{name}",
        "emdb1": True,
        "emdb2": False,
        "n_frames": frames,
        "good_frames_mask": np.array([True] * (frames - 1) + [False]),
        "camera": {
            "intrinsics": np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]]),
            "extrinsics": camera,
            "width": 200,
            "height": 150,
        },
        "smpl": {
            "poses_root": draw.normal(size=(frames, 3)),
            "poses_body": 0.2 * draw.normal(size=(frames, 69)),
            "trans": draw.normal(size=(frames, 3)),
            "betas": draw.normal(size=10),
        },
        "bboxes": {"bboxes": np.tile([80.0, 50, 120, 110], (frames, 1)), "invalid_idxs": np.array([1])},
        **changes,
    }
    folder = root / "P1" / name
    (folder / "images").mkdir(parents=True)
    for frame in range(frames):
        (folder / "images" / f"{frame:05d}.jpg").write_bytes(jpeg())
    (folder / f"P1_{name}_data.pkl").write_bytes(pickle.dumps(content))
    return content


def test_emdb_in_camera_axes(tmp_path):
    content = write_emdb(tmp_path / "EMDB")
    write_emdb(tmp_path / "EMDB", "far", emdb1=False, emdb2=True)
    write_emdb(tmp_path / "EMDB", "short", good_frames_mask=np.ones(3, bool))
    report = prepare("emdb", [tmp_path / "EMDB"], tmp_path / "out", split="test")
    assert report.people == {"test": 2} and len(report.broken) == 1 and "several lengths" in report.broken[0][1]
    assert report.skipped == {"marked as invalid by EMDB": 2, "a sequence that is not of emdb1": 1}
    store = open_crops(tmp_path / "out")
    assert store.sequences("test") == ["P1_walk"] * 2 and "× 1.2" in store.attributes["boxes"]
    sample = store.sample(np.arange(2), "test")
    for row, frame in enumerate((0, 2)):
        root = Rotation.from_rotvec(content["smpl"]["poses_root"][frame]).as_matrix()
        np.testing.assert_allclose(
            sample["global_orient"][row], content["camera"]["extrinsics"][frame, :3, :3] @ root, atol=1e-5
        )
        np.testing.assert_allclose(sample["betas"][row], content["smpl"]["betas"], rtol=1e-6)
    np.testing.assert_allclose(sample["box"][0], [64, 44, 136, 116], atol=1e-4)
    assert sample["gender"].tolist() == [1, 1] and sample["has_body_pose"].all()
    assert prepare("emdb", [tmp_path / "EMDB"], tmp_path / "all", split="test", subset="all").people == {"test": 4}


def test_synthetic_crops_stay_exact(crops_file, tmp_path):
    report = prepare("synthetic", [crops_file], tmp_path / "out")
    assert report.people == {"train": 12, "val": 5, "test": 6}
    before = open_crops(crops_file).sample(np.arange(5), "val")
    after = open_crops(tmp_path / "out").at_size(32).sample(np.arange(5), "val")
    for name in ("keypoints_2d", "keypoints_3d", "global_orient", "body_pose", "betas", "translation"):
        torch.testing.assert_close(after[name], before[name], atol=1e-5, rtol=1e-5, msg=name)
    seen = project_to_crop(after["keypoints_3d"][..., :3], after["box"], after["K"])
    torch.testing.assert_close(after["keypoints_2d"][..., :2], seen, atol=1e-4, rtol=0)


def test_training_reads_shards(crops_file, tmp_path, tokenizer, tiny_config, open_body):
    from regressor.training.train import train_regressor

    prepare("synthetic", [crops_file], tmp_path / "out")
    store = open_crops(tmp_path / "out")
    assert store.size == 256
    exported = train_regressor(store, tokenizer, tmp_path / "run", tiny_config, open_body)
    assert exported.is_file()


def test_bedlam_scenes_lie_as_they_are_unpacked(open_body, tmp_path):
    person = bedlam_person(open_body)
    labels = {name: np.array([value]) for name, value in person.items()}
    for scene, folder in (
        ("a_batch01", "images/a_batch01/png"),
        ("b_batch02", "images/b_batch02"),
        ("c", "images"),
        ("d_batch03", "images/d_batch03_6fps/png"),
        ("e_30fps", "images/e/png"),
        ("f", "images/f_30fps"),
        ("g", "images/g_6fps/png"),
    ):
        (tmp_path / "images" / "g" / "png").mkdir(parents=True, exist_ok=True)  # the same scene at another frame rate
        (tmp_path / folder / "seq_0").mkdir(parents=True)
        (tmp_path / folder / "seq_0" / f"{scene}.png").write_bytes(jpeg())
        (tmp_path / "labels").mkdir(exist_ok=True)
        np.savez(tmp_path / "labels" / f"{scene}.npz", imgname=np.array([f"seq_0/{scene}.png"]), **labels)
    report = prepare("bedlam", [tmp_path / "labels"], tmp_path / "out", images=tmp_path / "images")
    assert report.people == {"train": 7} and not report.broken


WRONG = (
    None,
    "x",
    b"x",
    [],
    {},
    np.nan,
    1e30,
    10**400,
    [1, [2]],
    ["x"] * 4,
    np.zeros(0),
    np.zeros((3, 3, 3)),
    np.array("x"),
    np.array([None]),
    np.full((2, 2), np.nan),
    np.zeros(4, complex),
    "absent",
)


def places(content, before=()):
    """The place of everything in nested dictionaries and lists, as keys from the outside in."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*before, key)
        if not isinstance(content, list) or not isinstance(value, float | int):
            yield from places(value, (*before, key))


def changed(content, place, value):
    content = copy.deepcopy(content)
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    if isinstance(value, str) and value == "absent":
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return content


def tar_of(content, folder):
    write_tar(folder / "a.tar", [("a.jpg", jpeg(40, 30)), ("a.data.pyd", pickle.dumps(content))])
    return folder / "a.tar"


def threedpw_of(content, folder):
    path = folder / "3DPW" / "sequenceFiles" / "test" / "walk_00.pkl"
    if not path.exists():
        write_3dpw(folder / "3DPW", content, frames=2)
    path.write_bytes(pickle.dumps(content))
    return path


def emdb_of(content, folder):
    path = folder / "EMDB" / "P1" / "walk" / "P1_walk_data.pkl"
    if not path.exists():
        write_emdb(folder / "EMDB", frames=2)
    path.write_bytes(pickle.dumps(content))
    return path


def npz_of(content, folder):
    (folder / "a.jpg").write_bytes(jpeg(40, 30))
    np.savez(folder / "a.npz", **content)
    return folder / "a.npz"


def coco_of(content, folder):
    (folder / "a.jpg").write_bytes(jpeg(40, 30))
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def evaluation_arrays():
    return {
        "imgname": np.array(["a.jpg"]),
        "center": np.full((1, 2), 15.0),
        "scale": np.full(1, 30.0),
        "body_pose": np.zeros((1, 72)),
        "has_body_pose": np.ones(1),
        "betas": np.zeros((1, 10)),
        "has_betas": np.ones(1),
        "body_keypoints_2d": np.ones((1, 25, 3)),
        "extra_keypoints_3d": np.ones((1, 19, 4)),
        "gender": np.array(["f"]),
    }


def coco_content():
    person = {"id": 1, "image_id": 1, "keypoints": [15.0, 15, 2] * 17, "bbox": [5, 5, 20, 20], "iscrowd": 0}
    return {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [person]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["4dhumans", "bedlam", "bedlam-npz", "3dpw", "emdb", "evaluation-npz", "coco"])
def test_anything_in_any_place_is_a_message_or_a_skip(form, tmp_path, open_body):
    body = bedlam_person(open_body, 40, 30)
    content, write = {
        "4dhumans": lambda: ([fitted_person(center=np.array([15.0, 15]))], tar_of),
        "bedlam": lambda: ([body], tar_of),
        "bedlam-npz": lambda: ({"imgname": np.array(["a.jpg"]), **{k: np.array([v]) for k, v in body.items()}}, npz_of),
        "3dpw": lambda: (sequence_of_3dpw(2)[0], threedpw_of),
        "emdb": lambda: (write_emdb(tmp_path / "EMDB", frames=2), emdb_of),
        "evaluation-npz": lambda: (evaluation_arrays(), npz_of),
        "coco": lambda: (coco_content(), coco_of),
    }[form]()
    reader, storing = form.removesuffix("-npz") if form == "bedlam-npz" else form, StoreOptions(pixels=16)
    source = write(content, tmp_path)
    assert not prepare_shards(reader, [source], tmp_path / "whole", ReadOptions(), storing, workers=1).broken
    told = 0
    for number, (place, value) in enumerate((place, value) for place in places(content) for value in WRONG):
        try:
            source = write(changed(content, place, value), tmp_path)
        except (TypeError, ValueError, OverflowError):
            continue  # what this form of file cannot hold
        try:
            report = prepare_shards(reader, [source], tmp_path / str(number), ReadOptions(), storing, workers=1)
            told += bool(report.broken)
        except UserError as error:
            told += 1
            assert "\n" not in str(error)
    assert told > 30
