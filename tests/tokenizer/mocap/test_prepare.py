"""``prepare``: what is kept and what is left out, in which split, the same for any number of processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from mocap_folders import save_clip

from tokenizer.commands.cli import main
from tokenizer.engine.errors import UserError
from tokenizer.mocap.files import find_files
from tokenizer.mocap.prepare import PrepareOptions, prepare
from tokenizer.mocap.store import open_store

FPS30 = PrepareOptions(fps=30)


def run(*arguments: object):
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)])


def test_a_store_of_a_folder(folder, tmp_path):
    report = prepare([folder], tmp_path / "poses.h5", FPS30, command="by hand", workers=1)
    store = open_store(tmp_path / "poses.h5")
    assert [source.name for source in store.sources] == sorted(
        f"mocap/subject{i % 2}/clip{i}_poses.npz" for i in range(6)
    )
    assert report.total.clips.total() == 6 and report.total.poses.total() == report.frames_read == sum(range(6, 12))
    with np.load(folder / "subject0" / "clip0_poses.npz") as first:
        expected = first["poses"][:, 3:66].reshape(-1, 21, 3)
    np.testing.assert_allclose(store.poses()[:6], expected, atol=1e-6)
    np.testing.assert_allclose(store.betas(), 0.1)
    assert store.command == "by hand"


def test_the_frame_rate_of_each_clip_counts(tmp_path):
    save_clip(tmp_path / "m" / "fast_poses.npz", frames=41, fps=120.0)
    save_clip(tmp_path / "m" / "slow_poses.npz", frames=10, fps=20.0, seed=1)
    prepare([tmp_path / "m"], tmp_path / "poses.h5", PrepareOptions(fps=30, trim=0.5), workers=1)
    sources = open_store(tmp_path / "poses.h5").sources
    assert [(source.frames, source.fps) for source in sources] == [(6, 30.0), (6, 20.0)]


def test_any_number_of_processes_gives_the_same_store(folder, tmp_path):
    save_clip(folder / "broken_poses.npz", poses=np.zeros((8, 72)))
    for workers in (1, 2):
        prepare([folder], tmp_path / f"{workers}.h5", FPS30, workers=workers)
    one, two = open_store(tmp_path / "1.h5"), open_store(tmp_path / "2.h5")
    assert one.digest == two.digest and one.sources == two.sources
    np.testing.assert_array_equal(one.poses(), two.poses())


def test_a_dying_reader_is_an_error_not_a_wait(folder, tmp_path):
    def kill(stage, done, total):
        for child in multiprocessing.active_children():
            child.kill()

    for seed in range(10, 40):
        save_clip(folder / f"more{seed}_poses.npz", seed=seed)
    with pytest.raises(UserError, match="ended at once"):
        prepare([folder], tmp_path / "poses.h5", FPS30, workers=2, progress=kill)
    assert not (tmp_path / "poses.h5").exists()


def test_folders_decide_the_split(tmp_path):
    for name in ("train/a/1", "train/b/2", "val/a/3", "test/4", "other/5", "val/train/6"):
        save_clip(tmp_path / "m" / f"{name}_poses.npz", seed=len(name) + int(name[-1]))
    splits = {file.name[2:-10]: file.split for file in find_files([tmp_path / "m"])}
    assert splits == {
        "train/a/1": "train",
        "train/b/2": "train",
        "val/a/3": "val",
        "test/4": "test",
        "other/5": None,
        "val/train/6": "train",
    }
    assert {file.split for file in find_files([tmp_path / "m" / "val" / "a"])} == {None}
    assert {file.split for file in find_files([tmp_path / "m" / "train"])} == {None}, "no val there: some are drawn"


def test_a_take_keeps_its_split_when_moved_or_joined_by_others(tmp_path):
    def splits(folder: Path) -> dict[str, str]:
        prepare([folder], tmp_path / "poses.h5", PrepareOptions(val_fraction=0.4), workers=1)
        return {source.digest: source.split for source in open_store(tmp_path / "poses.h5").sources}

    for seed in range(20):
        save_clip(tmp_path / "m" / f"{seed:02d}_poses.npz", seed=seed)
    before = splits(tmp_path / "m")
    assert 0 < list(before.values()).count("val") < 20
    for seed in range(20):
        (tmp_path / "m" / f"{seed:02d}_poses.npz").rename(tmp_path / "m" / f"{seed:d}_mirrored_60fps.npz")
    for seed in range(20, 30):
        save_clip(tmp_path / "m" / f"{seed}_poses.npz", seed=seed)
    after = splits(tmp_path / "m")
    assert len(after) == 30 and after.items() >= before.items()


def test_test_takes_are_reserved_out_of_train_alone_and_named_in_the_store(tmp_path):
    for seed in range(20):
        save_clip(tmp_path / "m" / ("val" if seed < 5 else "train") / f"{seed:02d}_poses.npz", seed=seed)
    splits = []
    for share in (0.0, 0.3):
        done = run(tmp_path / "m", "--out", tmp_path / "p.h5", "--workers", 1, "--test-share", share)
        assert done.exit_code == 0, done.output
        splits.append({source.name: source.split for source in open_store(tmp_path / "p.h5").sources})
    reserved = sorted(name for name, split in splits[1].items() if split == "test")
    assert 0 < len(reserved) < 15 and all(splits[0][name] == "train" for name in reserved)
    assert {name: split for name, split in splits[1].items() if name not in reserved} == {
        name: split for name, split in splits[0].items() if name not in reserved
    }
    with h5py.File(tmp_path / "p.h5") as file:
        assert file.attrs["test_sources"].split("\n") == reserved
    assert "--test-share=0.3" in open_store(tmp_path / "p.h5").command


def test_files_of_one_take_are_reserved_together(tmp_path):
    for seed in range(12):
        save_clip(tmp_path / "m" / "train" / f"{seed:02d}_poses.npz", seed=seed)
        save_clip(tmp_path / "m" / "val" / f"x{seed:02d}_poses.npz", seed=100 + seed)
        with np.load(tmp_path / "m" / "train" / f"{seed:02d}_poses.npz") as clip:
            again = {**clip, "poses": clip["poses"] + 1e-7}
        np.savez(tmp_path / "m" / "train" / f"other_name_{seed}.npz", **again)
    prepare([tmp_path / "m"], tmp_path / "p.h5", PrepareOptions(test_share=0.5), workers=1)
    splits = {source.name.split("/")[-1]: source.split for source in open_store(tmp_path / "p.h5").sources}
    pairs = [(splits[f"{seed:02d}_poses.npz"], splits[f"other_name_{seed}.npz"]) for seed in range(12)]
    assert {*pairs} == {("train", "train"), ("test", "test")}


@pytest.mark.parametrize("fraction", [1e-9, 0.999999])
def test_neither_split_is_left_empty(folder, tmp_path, fraction):
    report = prepare([folder], tmp_path / "poses.h5", PrepareOptions(val_fraction=fraction), workers=1)
    store = open_store(tmp_path / "poses.h5")
    assert min(report.total.clips["train"], report.total.clips["val"]) == 1
    for split in ("train", "val"):
        assert len(store.poses(split)) == report.total.poses[split] > 0
    assert prepare([folder], tmp_path / "all.h5", PrepareOptions(val_fraction=0), workers=1).total.clips == {"train": 6}


def test_broken_and_useless_files_are_listed_and_the_rest_is_kept(folder, tmp_path):
    whole = folder / "subject0" / "clip0_poses.npz"
    (folder / "short_poses.npz").write_bytes(whole.read_bytes()[:3000])
    save_clip(folder / "nan_poses.npz", poses=np.full((4, 156), np.nan), trans=np.zeros((4, 3)))
    save_clip(folder / "norate_poses.npz", mocap_framerate=0.0)
    save_clip(
        folder / "wild_poses.npz",
        frames=60,
        poses=np.random.default_rng(0).normal(size=(60, 156)),
        mocap_framerate=120.0,
    )
    (folder / "text.bvh").write_text("nothing")
    np.savez(folder / "neutral_stagei.npz", betas=np.zeros(16))
    shutil.copy(whole, folder / "zz_copy_poses.npz")
    (folder / "._clip0_poses.npz").write_bytes(b"what an archiver leaves")
    done = run(folder, "--out", tmp_path / "poses.h5", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "5 files broken:" in done.stderr and "2 files skipped:" in done.stderr
    lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    for name, reason in {
        "short_poses.npz": "Cannot read",
        "nan_poses.npz": "not finite",
        "norate_poses.npz": "frame rate",
        "wild_poses.npz": "jumps",
        "text.bvh": "no BVH",
        "neutral_stagei.npz": "no motion",
        "zz_copy_poses.npz": "same poses as an earlier file",
    }.items():
        assert any(name in line and reason in line for line in lines), (name, lines)
    assert len(lines) == 7 and len(open_store(tmp_path / "poses.h5").sources) == 6
    assert "Read " in done.stdout and f"Wrote {tmp_path / 'poses.h5'}" in done.stdout


def test_ten_broken_of_a_thousand(tmp_path):
    (tmp_path / "m").mkdir()
    for number in range(1000):
        path = tmp_path / "m" / f"{number:04d}_poses.npz"
        np.savez(path, poses=np.full((2, 156), number * 1e-4), mocap_framerate=30.0)
        if number % 100 == 7:
            path.write_bytes(path.read_bytes()[:-7])
    done = run(tmp_path / "m", "--out", tmp_path / "poses.h5", "--workers", 1)
    store = open_store(tmp_path / "poses.h5")
    assert len(store.sources) == 990 and len(store.poses()) == 1980
    assert "10 files broken:" in done.stderr and all(f"{n:04d}_poses.npz" in done.stderr for n in range(7, 1000, 100))


def test_strict_stops_at_the_first_and_leaves_the_old_store(folder, tmp_path):
    out = tmp_path / "poses.h5"
    prepare([folder], out, FPS30, workers=1)
    before = out.read_bytes()
    save_clip(folder / "aa_poses.npz", poses=np.zeros((4, 72)))
    save_clip(folder / "bb_poses.npz", mocap_framerate=0.0)
    done = run(folder, "--out", out, "--strict", "--workers", 1)
    assert done.exit_code == 2 and "aa_poses.npz" in done.stderr and "bb_poses.npz" not in done.stderr
    assert "--strict" in done.stderr
    assert out.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["mocap", "poses.h5"]


def test_no_poses_found(tmp_path):
    out = tmp_path / "poses.h5"
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--out", out).exit_code == 2
    assert "No poses found" in run(tmp_path / "empty", "--out", out).stderr
    assert "No file or folder" in run(tmp_path / "absent", "--out", out).stderr
    save_clip(tmp_path / "bad" / "a_poses.npz", mocap_framerate=0.0)
    done = run(tmp_path / "bad", "--out", out, "--workers", 1)
    assert done.exit_code == 2 and "No poses found" in done.stderr and "frame rate" in done.stderr
    assert not out.exists() and not list(tmp_path.glob("*.partial"))


def test_links_are_followed_and_loops_end(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "data").symlink_to(folder, target_is_directory=True)
    (links / "again").symlink_to(links, target_is_directory=True)
    names = [file.name for file in find_files([links])]
    assert len(names) == 6 and all(name.startswith("links/data/subject") for name in names)
    assert [file.name for file in find_files([links / "data"])] == [name.removeprefix("links/") for name in names]


def test_the_same_folder_has_one_name_however_it_is_given(folder, monkeypatch):
    expected = [file.name for file in find_files([folder])]
    monkeypatch.chdir(folder / "subject0")
    assert [file.name for file in find_files([Path("../../mocap")])] == expected
    assert [file.name for file in find_files([Path("..")])] == expected


def test_names_that_are_no_utf8(folder, tmp_path):
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9_poses.npz")
    try:
        shutil.copy(folder / "subject0" / "clip0_poses.npz", odd)
    except OSError:
        pytest.skip("the file system takes only UTF-8 names")
    (folder / "subject0" / "clip0_poses.npz").unlink()
    done = run(folder, "--out", tmp_path / "poses.h5", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "mocap/caf\\udce9_poses.npz" in [source.name for source in open_store(tmp_path / "poses.h5").sources]


def test_a_full_disk_is_one_message(folder, tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(h5py.Dataset, "__setitem__", no_space)
        done = run(folder, "--out", tmp_path / "poses.h5", "--workers", 1)
    assert done.exit_code == 2 and done.stderr.count("error:") == 1 and "No space left on device" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mocap", "poses.h5.unfinished"]
    assert "Of 6 files what an earlier run had read was taken" in run(folder, "--out", tmp_path / "poses.h5").output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mocap", "poses.h5"]


def test_only_a_pose_store_is_replaced(folder, tmp_path):
    (tmp_path / "thesis.h5").write_bytes(b"precious")
    done = run(folder, "--out", tmp_path / "thesis.h5", "--workers", 1)
    assert done.exit_code == 2 and (tmp_path / "thesis.h5").read_bytes() == b"precious"


@pytest.mark.parametrize("option", [("--fps", 0), ("--fps", "nan"), ("--trim", 1.5), ("--val-fraction", 1)])
def test_impossible_numbers(folder, tmp_path, option):
    done = run(folder, "--out", tmp_path / "poses.h5", *option)
    assert done.exit_code == 2 and " is not a " in done.stderr


def test_cmu_is_credited(tmp_path):
    save_clip(tmp_path / "CMU" / "a_poses.npz")
    save_clip(tmp_path / "acmus" / "b_poses.npz", seed=1)
    assert run(tmp_path, "--out", tmp_path / "poses.h5", "--licence", "ours", "--workers", 1).exit_code == 0
    first, second = open_store(tmp_path / "poses.h5").sources
    assert first.licence.startswith("ours; motion from the CMU") and "EIA-0196217" in first.licence
    assert second.licence == "ours"
    assert "--licence" not in open_store(tmp_path / "poses.h5").command


def test_bvh_and_npz_together_with_a_map_of_ones_own(tmp_path):
    save_clip(tmp_path / "m" / "a_poses.npz")
    rows = "\n".join(f"{angle} 0 0" for angle in range(4))
    (tmp_path / "m" / "b.bvh").write_text(
        "HIERARCHY\nROOT Knee\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n}\n"
        f"MOTION\nFrames: 4\nFrame Time: 0.1\n{rows}\n"
    )
    (tmp_path / "map.json").write_text('{"left_knee": "Knee"}')
    done = run(tmp_path / "m", "--out", tmp_path / "poses.h5", "--joint-map", tmp_path / "map.json", "--workers", 1)
    assert done.exit_code == 0, done.output
    store = open_store(tmp_path / "poses.h5")
    assert [(s.frames, round(s.fps)) for s in store.sources] == [(8, 30), (4, 10)]
    np.testing.assert_allclose(store.poses()[8:, 3, 0], np.radians(range(4)), atol=1e-6)
