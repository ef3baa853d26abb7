"""Streams of npz files."""

from __future__ import annotations

import numpy as np
import pytest
from npz_files import npy, write

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.npz import read_npz


def test_a_file_that_is_cut_short_anywhere_is_one_message(tmp_path):
    whole = write(tmp_path / "a.npz", poses=npy(np.arange(6.0))).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "a.npz").write_bytes(whole[:length])
        with pytest.raises(UserError, match="Cannot read npz"):
            read_npz(tmp_path / "a.npz")
