"""What readers yield: tasks of about equal size, keys of files, lists of keys, rules of fits."""

from __future__ import annotations

import os

import numpy as np
import pytest

from regressor.datasets.annotation import FitRules, ImageRecord, Person, SkippedItem, file_key, listed_tasks, read_keys
from tokenizer.engine.errors import UserError

PERSON = Person(np.array([0.0, 0, 10, 10]))


def record(name, people):
    return ImageRecord(name, b"", (PERSON,) * people)


def test_tasks_hold_whole_images_and_at_least_the_people_asked_for():
    items = [record("a", 2), record("b", 2), SkippedItem("c", "broken"), record("d", 0), record("e", 5), record("f", 1)]
    tasks = list(listed_tasks("key", "val", iter(items), 3))
    assert [[item.name for item in task.items] for task in tasks] == [["a", "b"], ["c", "d", "e"], ["f"]]
    assert [task.key for task in tasks] == ["key val 3 0", "key val 3 1", "key val 3 2"]
    assert {task.split for task in tasks} == {"val"}
    assert [item for task in tasks for item in task.photos()] == items, "in order, and skipped items stay listed"


def test_no_items_make_no_task_and_skipped_items_alone_make_one():
    assert list(listed_tasks("key", "train", [], 3)) == []
    (task,) = listed_tasks("key", "train", [SkippedItem("a", "broken")], 3)
    assert task.items == (SkippedItem("a", "broken"),)


def test_the_key_of_a_file_changes_with_its_size_and_its_time(tmp_path):
    path = tmp_path / "labels.npz"
    path.write_bytes(b"1234")
    os.utime(path, ns=(5, 7_000))
    assert file_key(path) == f"{path.resolve()} 4 {path.stat().st_mtime_ns}"
    first = file_key(path)
    path.write_bytes(b"12345")
    os.utime(path, ns=(5, 7_000))
    longer = file_key(path)
    os.utime(path, ns=(5, 9_000_000_000))
    assert len({first, longer, file_key(path)}) == 3
    for missing in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(UserError, match=r"No file at .*Check the path"):
            file_key(missing)


def test_lists_of_keys_leave_out_blanks_and_comments(tmp_path):
    path = tmp_path / "corrupt.txt"
    path.write_text("a/1.jpg\n\n  # a comment\n b/2.jpg  # known since 2023\na/1.jpg\n", encoding="utf-8")
    assert read_keys(path) == {"a/1.jpg", "b/2.jpg"}
    with pytest.raises(UserError, match=r"Cannot read the list of keys .*one key a line"):
        read_keys(tmp_path / "none.txt")
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="Cannot read the list of keys"):
        read_keys(path)


def test_rules_of_fits_are_one_line_that_does_not_depend_on_the_order_of_keys():
    assert str(FitRules()) == "0.3 4 31000.0 "
    assert str(FitRules(corrupt=frozenset(["b", "a"]))) == str(FitRules(corrupt=frozenset(["a", "b"])))
    assert str(FitRules(corrupt=frozenset(["b", "a"]))).endswith(" a,b")
