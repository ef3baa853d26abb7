"""npz files: what they hold, or one message, and never more memory than their size warrants."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from npz_files import npy, write

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.npz import read_npy, read_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_every_kind_come_back(tmp_path, save):
    arrays = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.array(120.0),
        "empty": np.zeros((0, 3)),
        "text": np.array(["ab", "c"]),
        "bytes": np.array(b"male"),
        "big": np.arange(3, dtype=">i4"),
        "truth": np.array([True, False]),
        "fields": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
    }
    save(tmp_path / "a.npz", **arrays)
    read = read_npz(tmp_path / "a.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape and read[name].flags.writeable
        assert np.array_equal(read[name], array), name
    assert read_npz(tmp_path / "a.npz", keys=("big", "other")).keys() == {"big"}


def refused(path, match, most_mib):
    tracemalloc.start()
    with pytest.raises(UserError, match=match) as caught:
        read_npz(path, "clip")
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert str(caught.value).startswith(f"Cannot read clip {path}") and peak < most_mib


def test_a_small_file_cannot_become_a_large_array(tmp_path):
    zeros = np.zeros(40_000_000)
    refused(write(tmp_path / "a.npz", poses=npy(zeros)), "far larger than the file", 10)
    refused(write(tmp_path / "a.npz", **{f"part_{i}": npy(zeros[:9_000_000]) for i in range(4)}), "far larger", 260)


@pytest.mark.parametrize("shape", [(10**12,), (2**32, 2**32, 3), (7,), (-1,)])
def test_shapes_that_are_only_stated_take_nothing(tmp_path, shape):
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(memory, {"descr": "<f8", "fortran_order": False, "shape": shape})
    data = memory.getvalue() + bytes(48)
    refused(write(tmp_path / "a.npz", poses=data), "an array of shape", 10)


def test_a_single_array_takes_no_more_than_its_file(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(np.arange(6.0)))
    assert read_npy(tmp_path / "a.npy").tolist() == [0, 1, 2, 3, 4, 5]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 33,)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(48))
    with pytest.raises(ValueError, match="an array of shape"):
        read_npy(tmp_path / "a.npy")


def test_truth_values_and_characters_are_what_they_should_be(tmp_path):
    """numpy takes them on trust, and counts other truth values as more than one."""
    refused(
        write(tmp_path / "a.npz", a=npy(np.ones(5, bool)).replace(b"\1\1\1\1\1", b"\1\7\0\1\1")), "truth values", 10
    )
    refused(write(tmp_path / "b.npz", a=npy(np.array(["a"]))[:-4] + b"\xff\xff\xff\x7f"), "no characters", 10)
