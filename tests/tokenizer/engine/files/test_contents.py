"""Versions and tensors of files: what is wrong is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from regressor.checkpoints.backbones import saved_backbone
from regressor.checkpoints.regressor_file import read_exported
from regressor.evaluation.compare import read_result
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.contents import check_version, tensor_problems
from tokenizer.engine.files.state_files import save_state


def test_versions_up_to_the_newest_are_read():
    assert check_version(1, 2, "a") == 1 and check_version(np.int64(2), 2, "a") == 2
    with pytest.raises(UserError, match=r"a was written by a newer version; got format_version 3; expected at most 2"):
        check_version(3, 2, "a")


@pytest.mark.parametrize("version", [None, "2", True, 0, -1, 1.0, [1]])
def test_what_is_no_version_is_damage(version):
    with pytest.raises(UserError, match="a is damaged; got format_version"):
        check_version(version, 2, "a")


def test_problems_of_tensors_are_sorted_and_named():
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(1), "d": torch.zeros(())}
    expected = {"a": (3, 2), "c": (1,), "d": ()}
    assert tensor_problems(tensors, expected) == ["a (2, 3), not (3, 2)", "missing c", "unknown b"]


@pytest.mark.parametrize("version", [{}, {"format_version": "9"}, {"format_version": 99}])
def test_every_file_of_ours_says_what_is_wrong_with_its_version(tmp_path, version):
    save_state(tmp_path / "r.pt", {"format": "pose-token-hmr/regressor", "network": {}, **version})
    with pytest.raises(UserError, match="format_version"):
        read_exported(tmp_path / "r.pt")
    save_state(tmp_path / "b.pt", {"format": "pose-token-hmr/backbone", "backbone": {}, **version})
    with pytest.raises(UserError, match="format_version"):
        saved_backbone(tmp_path / "b.pt")
    result = {"format": "pose-token-hmr/evaluation", "per_sample_mm": {}, **(version or {"format_version": None})}
    (tmp_path / "e.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match="format_version"):
        read_result(tmp_path / "e.json")
