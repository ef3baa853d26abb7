"""Checkpoints of other projects: their tensors by bare names, what does not fit, and their settings."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.foreign import check_names_and_shapes, foreign_tensors, load_foreign, setting


def test_names_lose_what_wrappers_put_before_them():
    content = {"net": {"module._orig_mod.a": torch.ones(1), "b.module.c": torch.zeros(2), "epoch": 3}}
    tensors = foreign_tensors(content, "net", "a.pth", expected="weights")
    assert tensors.keys() == {"a", "b.module.c"} and tensors["a"].item() == 1


def test_names_that_would_become_equal_stay_as_they_are():
    content = {"net": {"module.a": torch.ones(1), "a": torch.zeros(1)}}
    assert foreign_tensors(content, "net", "a.pth", expected="weights").keys() == {"module.a", "a"}


@pytest.mark.parametrize("model", [{}, {"a": 1}, 2])
def test_no_tensors_under_a_key_names_the_keys_there_are(model):
    with pytest.raises(UserError, match=r"a\.pth holds no tensors under 'model'; got the keys model, epoch"):
        foreign_tensors({"model": model, "epoch": 3}, "model", "a.pth", expected="weights")


@pytest.mark.parametrize(("content", "reason"), [(None, "No file at"), ([1], "holds no dictionary; got list")])
def test_what_is_no_dictionary_is_refused(tmp_path, content, reason):
    if content is not None:
        torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=reason):
        load_foreign(tmp_path / "a.pth", expected="weights")


def test_a_file_cut_short_is_refused(tmp_path):
    torch.save({"a": torch.ones(100)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:-60])
    with pytest.raises(UserError, match=r"Cannot read .*b\.pth; nothing in it was run"):
        load_foreign(tmp_path / "b.pth", expected="weights")


def test_every_tensor_that_does_not_fit_is_named_once():
    tensors = {
        "counts": torch.zeros(2, dtype=torch.int64),
        "nan": torch.tensor([0.0, torch.nan]),
        "good": torch.zeros(2),
        "other": torch.zeros(1),
        "sparse": torch.eye(2).to_sparse(),
        "long": torch.full((3,), torch.nan),
    }
    shapes = {"counts": (2,), "nan": (2,), "good": (2,), "sparse": (2, 2), "long": (4,), "gone": (1,)}
    with pytest.raises(UserError) as refused:
        check_names_and_shapes(tensors, shapes, "The weights do not fit")
    expected = (
        "The weights do not fit; got counts of torch.int64, torch.strided; long (3,), not (4,); missing gone; "
        "nan with numbers that are not finite; sparse of torch.float32, torch.sparse_coo; unknown other"
    )
    assert str(refused.value).startswith(expected)
    check_names_and_shapes({"good": torch.zeros(2)}, {"good": (2,)}, "The weights do not fit")


def test_settings_are_read_through_the_nodes_that_wrap_them():
    class Node:
        def __init__(self, **state):
            self.__dict__.update(state)

    plain = {"MODEL": OrderedDict(HEADS=16)}
    wrapped = Node(_content={"MODEL": Node(_content={"HEADS": Node(_val=16)})})
    for settings in (plain, wrapped):
        assert setting(settings, "MODEL", "HEADS") == 16
        assert setting(settings, "MODEL", "WIDTH") is None and setting(settings, "MODEL", "HEADS", "X") is None
