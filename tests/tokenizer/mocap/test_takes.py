"""Takes: one take in several files is never on both sides of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tokenizer.body.skeleton import BODY_JOINT_NAMES, mirror_permutation
from tokenizer.commands.cli import main
from tokenizer.mocap.prepare import PrepareOptions, prepare
from tokenizer.mocap.store import open_store
from tokenizer.mocap.takes import fingerprint, groups_of, near_equal, take_of

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "mocap"
MIRROR = list(mirror_permutation(BODY_JOINT_NAMES))


def motion(seed: int, frames: int = 240) -> np.ndarray:
    """(n,21,3) axis-angle: joints that swing, each in its own way."""
    draw = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None] / 120
    size, pace, phase = draw.gamma(1, 0.15, (3, 21, 3))
    return draw.normal(0, 0.3, (21, 3)) + size * np.sin(time * (1 + 20 * pace) + 30 * phase)


def mirrored(poses: np.ndarray) -> np.ndarray:
    return poses[:, MIRROR] * [1, -1, -1]


VARIANTS = {
    "half the rate": lambda poses: poses[::2],
    "another quarter": lambda poses: poses[3::4],
    "mirrored": mirrored,
    "saved again": lambda poses: poses.astype(np.float32).round(4),
    "a frame less": lambda poses: poses[1:],
    "a frame cut out": lambda poses: np.delete(poses, 100, 0),
    "mirrored, a third": lambda poses: mirrored(poses)[::3],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_one_take_are_near_and_others_are_not(name):
    takes = [motion(seed) for seed in range(12)]
    prints = [fingerprint(poses) for poses in takes] + [fingerprint(VARIANTS[name](poses)) for poses in takes]
    assert sorted(near_equal(prints)) == [(i, i + 12) for i in range(12)]


def test_takes_without_motion_are_one_and_cost_little():
    still = [fingerprint(np.zeros((5, 21, 3))) for _ in range(3000)]
    assert set(groups_of(3000, near_equal(still))) == {0} and near_equal([]) == []


@pytest.mark.parametrize(
    ("names", "take"),
    [
        (("cmu/02/02_03_poses.npz", "02_03.bvh", "2_3_mirrored_60fps.npz", "x/02_03_stageii.npz"), "2 3"),
        (("KIT/3/walk_slow05_poses.npz", "walk_slow05 (1).npz", "WALK-slow05 - Copy.bvh"), "walk slow05"),
        (("a/000021.npy", "a/M000021.npy"), "21"),
        (("video7/hmr4d_results.pt",), "video7 hmr4d_results"),
        (("run_120 fps.npz", "run_30hz_poses.npz"), "run"),
        (("PunchLeft.npz",), "punch left"),
    ],
)
def test_names_of_takes(names, take):
    assert {take_of(name) for name in names} == {take}


def save(path: Path, poses: np.ndarray, fps: float = 120.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    full = np.zeros((len(poses), 156))
    full[:, 3:66] = poses.reshape(len(poses), 63)
    np.savez(path, poses=full, trans=np.zeros((len(poses), 3)), mocap_framerate=fps)


def splits(out: Path) -> dict[str, str]:
    return {source.name: source.split for source in open_store(out).sources}


def test_near_equal_takes_share_a_split_and_are_said(tmp_path):
    for seed in range(8):
        poses = motion(seed)
        save(tmp_path / "m" / f"take{seed}_poses.npz", poses)
        save(tmp_path / "m" / f"other{seed * 7}_poses.npz", mirrored(poses)[::2], 60)
        save(tmp_path / "n" / f"take{seed}_mirror.npz", mirrored(poses)[2:])
    arguments = ["prepare", tmp_path / "m", tmp_path / "n", "--out", tmp_path / "p.h5", "--val-fraction", 0.4]
    done = CliRunner().invoke(main, list(map(str, [*arguments, "--workers", 1])))
    assert done.exit_code == 0, done.output
    split_of = splits(tmp_path / "p.h5")
    assert set(split_of.values()) == {"train", "val"} and len(split_of) == 24
    for seed in range(8):
        names = (f"m/take{seed}_poses.npz", f"m/other{seed * 7}_poses.npz", f"n/take{seed}_mirror.npz")
        assert len({split_of[name] for name in names}) == 1
    assert "n/take3_mirror.npz is nearly equal to" in done.stderr and ": both in " in done.stderr


def test_folders_that_part_a_take_are_overruled_for_the_held_out_split(tmp_path):
    save(tmp_path / "m" / "train" / "a_poses.npz", motion(1))
    save(tmp_path / "m" / "train" / "b_poses.npz", motion(2))
    save(tmp_path / "m" / "val" / "c_poses.npz", mirrored(motion(1))[::4], 30)
    report = prepare([tmp_path / "m"], tmp_path / "p.h5", PrepareOptions(), workers=1)
    assert splits(tmp_path / "p.h5") == {
        "m/train/a_poses.npz": "val",
        "m/train/b_poses.npz": "train",
        "m/val/c_poses.npz": "val",
    }
    assert report.near == [(tmp_path / "m/val/c_poses.npz", tmp_path / "m/train/a_poses.npz", "val")]
    assert report.total.poses == {"train": 60, "val": 120}


def test_what_no_folder_decides_follows_the_take_that_one_does(tmp_path):
    save(tmp_path / "m" / "train" / "x_poses.npz", motion(1))
    save(tmp_path / "m" / "val" / "y_poses.npz", motion(2))
    for seed in (1, 2):
        save(tmp_path / "a" / f"{seed}_poses.npz", mirrored(motion(seed))[::2], 60)
    prepare([tmp_path / "a", tmp_path / "m"], tmp_path / "p.h5", PrepareOptions(val_fraction=0.5), workers=1)
    assert splits(tmp_path / "p.h5") == {
        "a/1_poses.npz": "train",
        "a/2_poses.npz": "val",
        "m/train/x_poses.npz": "train",
        "m/val/y_poses.npz": "val",
    }


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared mocap")
@pytest.mark.slow
def test_real_takes_are_told_apart():
    files = sorted(SHARED.glob("cmu*/*/*.npz"))
    takes = [np.load(file)["poses"][:, 3:66].reshape(-1, 21, 3) for file in files]
    assert near_equal([fingerprint(poses) for poses in takes]) == []
    both = [fingerprint(poses) for poses in takes] + [fingerprint(mirrored(poses[1::2])) for poses in takes]
    assert sorted(near_equal(both)) == [(i, i + len(takes)) for i in range(len(takes))]
