"""Pickles made to harm: whatever their instructions are, the answer is one message or a plain value, soon and small.

They run in another process, whose crash, memory and time are measured.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from pickle_makers import (
    BYTEARRAY,
    CHUMPY,
    FROM_BUFFER,
    RECONSTRUCT,
    data,
    dtype,
    empty,
    name,
    number,
    state,
    text,
    tuple_of,
)

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.safe_pickle import as_array, loads_pickle

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")


HUGE = b"\x8b" + struct.pack("<i", 200_000) + b"\x7f" * 200_000
"""A whole number of half a million digits."""
OBJECTS = empty() + state((2,), "O", b"(NNl") + b"b"
HARM = {
    # an array of objects, seen as numbers, written to: pointers of the process's own choice
    "a view of an object array": b"\x80\x02("
    + OBJECTS
    + b"q\x01"
    + FROM_BUFFER
    + tuple_of(b"h\x01", dtype("u8"), tuple_of(number(2)), text("C"))
    + b"Rq\x02"
    + number(0)
    + number(4096)
    + b"sl.",
    "an item of an array": b"\x80\x02" + OBJECTS + number(0) + b"]s.",
    "items of a bytearray that a view shares": b"\x80\x02"
    + BYTEARRAY
    + tuple_of(data(b"12345678"))
    + b"Rq\x01"
    + FROM_BUFFER
    + tuple_of(b"h\x01", dtype("u8"), tuple_of(number(1)), text("C"))
    + b"R0h\x01"
    + number(0)
    + number(1)
    + b"s.",
    "two states of one array": b"\x80\x02("
    + empty()
    + b"q\x01"
    + state((2,), "O", b"(NNl")
    + b"bq\x02"
    + b"h\x01"
    + state((9999,), "S8", data(b"x" * 79992))
    + b"bl.",
    "two states of one type": b"\x80\x02" + dtype("f8") + (tuple_of(number(3), text("<"), b"NNN") + b"b") * 2 + b".",
    "a bytearray of a size": b"\x80\x02" + BYTEARRAY + tuple_of(number(1 << 40)) + b"R.",
    "bytes of a size": b"\x80\x02" + name("builtins", "bytes") + tuple_of(number(1 << 40)) + b"R.",
    "a state of a class": b"\x80\x02" + CHUMPY + b"N}" + text("array") + number(1) + b"s\x86b.",
    "a state of a function": b"\x80\x02" + RECONSTRUCT + b"}" + text("x") + number(1) + b"sb.",
    "a state of a dictionary": b"\x80\x02" + name("collections", "OrderedDict") + b")R}" + text("x") + b"Nsb.",
    "a text longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "a deep tuple as a key": b"\x80\x02})" + b"\x85" * 300_000 + b"Ns.",
    "a shared tuple as a key": b"\x80\x02})q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"Ns.",
    "keys that collide": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + (k * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for k in range(1, 30_000))
    + b"u.",
    "a list that shares itself a billion times": b"\x80\x02]q\x00"
    + b"".join(b"(h%ch%clq%c" % (i, i, i + 1) for i in range(40))
    + b".",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "sets of one list, again and again": b"\x80\x02("
    + b"".join(map(number, range(3000)))
    + b"lq\x00("
    + (name("builtins", "set") + b"h\x00\x85R") * 9000
    + b"l.",
    "arrays of one text, again and again": b"\x80\x02"
    + data(b"x" * 400_000)
    + b"q\x00("
    + b"".join([FROM_BUFFER + tuple_of(b"h\x00", dtype("S1"), tuple_of(number(400_000)), text("C")) + b"R"] * 1000)
    + b"l.",
    "an array without elements, but rows": b"\x80\x02" + empty() + state((1 << 60, 0), "f8", data(b"")) + b"b.",
    "texts of no size": b"\x80\x02" + empty() + state((1 << 60,), "S0", data(b"")) + b"b.",
    "truth that is neither": b"\x80\x02" + empty() + state((4,), "b1", data(b"\x07\x01\x00\xff")) + b"b.",
    "characters that are none": b"\x80\x02" + empty() + state((1,), "U1", data(b"\xff\xff\xff\x7f")) + b"b.",
    "an encoding that takes long": b"\x80\x02"
    + name("_codecs", "encode")
    + tuple_of(text("ä" * 40_000), text("punycode"))
    + b"R.",
    "an extension": b"\x80\x02\x82\x01.",
    "a buffer from outside": b"\x80\x05\x97.",
    "something outside the file": b"\x80\x02Pabc\n.",
    "an array without elements, but rows of rows": b"\x80\x02"
    + empty()
    + state((1 << 20, 1 << 20, 0), "O", b"]")
    + b"b.",
    "a shape that takes minutes to multiply": b"\x80\x02"
    + empty()
    + tuple_of(number(1), HUGE + b"q\x00" + tuple_of(*[b"h\x00"] * 32), dtype("f8"), b"\x89", data(b""))
    + b"b.",
    "a shape of joblib's that takes minutes to multiply": b"\x80\x02"
    + name("joblib.numpy_pickle", "NumpyArrayWrapper")
    + b")\x81}("
    + (text("dtype") + dtype("f8") + text("order") + text("C"))
    + (text("shape") + HUGE + b"q\x00" + tuple_of(*[b"h\x00"] * 30_000))
    + b"ub.",
    "numbers of many digits": b"I" + b"9" * 200_000 + b"\n.",
}


@pytest.mark.parametrize("harm", HARM)
def test_a_pickle_made_to_harm_is_one_message(reader, harm):
    answer = reader.read(HARM[harm])
    assert "Cannot read a.pkl" in answer["error"] and len(answer["error"]) < 400


def test_sizes_and_places_that_are_only_stated_take_nothing(reader):
    for program in (b"\x80\x02Nr\xff\xff\xff\xff.", b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N."):
        assert reader.read(program)["value"] is True


def test_nothing_stays_behind_in_the_process():
    """States given to what the allow-list shares between files would be seen by the next one."""
    for harm in ("a state of a class", "a state of a function"):
        with pytest.raises(UserError, match="a state for a"):
            loads_pickle(HARM[harm], "a.pkl")
    chumpy = loads_pickle(b"\x80\x02" + CHUMPY + b")\x81}" + text("x") + b"(" + number(3) + b"lsb.", "b.pkl")
    assert as_array(chumpy).tolist() == [3]


def test_arrays_do_not_change_any_more():
    values = loads_pickle(pickle.dumps([np.arange(3), np.array([1, None])], protocol=2), "a.pkl")
    for array in values:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


MATRIX = {"shape": (3, 5), "data": np.ones(2), "indices": np.array([0, 1]), "indptr": np.array([0, 1, 2, 2])}


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (10**6, 10**6)},
        {"indptr": np.array([0, 10**12, 2])},
        {"indptr": np.array([5, 0, 2])},
        {"data": np.array(["x", "y"])},
        {"data": np.ones(3)},
    ],
    ids=["huge", "long rows", "rows that go back", "texts", "too many numbers"],
)
def test_matrices_that_lie_about_themselves_are_one_message(change):
    matrix = pickle.dumps({**MATRIX, **change}, protocol=2)[2:-1]
    program = b"\x80\x02" + name("scipy.sparse", "csr_matrix") + b")\x81" + matrix + b"b."
    with pytest.raises(UserError, match="A stored SparseRows is damaged"):
        as_array(loads_pickle(program, "a.pkl"))


def test_texts_of_very_different_lengths_do_not_become_one_array():
    """numpy gives each the room of the longest: 400 GB here."""
    with pytest.raises(UserError, match="very different lengths"):
        as_array(["a"] * 100_000 + ["x" * 1_000_000])
