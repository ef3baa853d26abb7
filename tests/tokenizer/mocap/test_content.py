"""What a file of arrays holds, by name, whatever its format."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tokenizer.engine.errors import UserError
from tokenizer.mocap.content import open_content


def test_arrays_of_an_npz_are_there_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", poses=np.arange(6.0).reshape(2, 3))
    content = open_content(tmp_path / "a.npz")
    assert "poses" in content.names
    assert content.array("poses").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_arrays_of_a_pickled_dictionary_are_there_by_name(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"trans": np.ones((2, 3))}))
    assert open_content(tmp_path / "a.pkl").array("trans").shape == (2, 3)


def test_a_damaged_file_is_one_message(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"a\.npz"):
        open_content(tmp_path / "a.npz")
