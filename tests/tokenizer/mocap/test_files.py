"""Which files of mocap are found, and the splits that folders decide."""

from __future__ import annotations

import pytest

from tokenizer.engine.errors import UserError
from tokenizer.mocap.files import find_files


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_motion_files_are_found_sorted_and_hidden_or_other_files_are_not(tmp_path):
    touch(tmp_path / "cmu", "b.bvh", "a/c.npz", "notes.txt", ".hidden.npz", ".git/d.npz")
    assert [file.name for file in find_files([tmp_path / "cmu"])] == ["cmu/a/c.npz", "cmu/b.bvh"]


def test_folders_named_after_splits_decide_them(tmp_path):
    touch(tmp_path / "set", "train/a.npz", "val/b.npz", "c.npz")
    assert {file.path.name: file.split for file in find_files([tmp_path / "set"])} == {
        "a.npz": "train",
        "b.npz": "val",
        "c.npz": None,
    }


def test_without_a_validation_folder_clips_of_train_stay_to_be_drawn(tmp_path):
    touch(tmp_path / "set", "train/a.npz", "test/b.npz")
    assert [file.split for file in find_files([tmp_path / "set"])] == ["test", None]


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="No file or folder"):
        find_files([tmp_path / "nothing"])
