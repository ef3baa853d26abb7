"""Instructions of pickles: any program gives a message or a plain value."""

from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pickle_makers import (
    BYTEARRAY,
    CHUMPY,
    DTYPE,
    FROM_BUFFER,
    NDARRAY,
    RECONSTRUCT,
    Reader,
    data,
    dtype,
    empty,
    name,
    number,
    state,
    text,
    tuple_of,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")


CODES = st.sampled_from(["f8", "<f4", "O", "i8", "u1", "S3", "U2", "b1", "S0", "c16", "V8", "?", ">i2"])


NAMES = st.sampled_from(
    [
        NDARRAY,
        DTYPE,
        RECONSTRUCT,
        FROM_BUFFER,
        BYTEARRAY,
        CHUMPY,
        name("numpy.core.multiarray", "scalar"),
        name("builtins", "set"),
        name("builtins", "complex"),
        name("builtins", "bytes"),
        name("builtins", "object"),
        name("copyreg", "_reconstructor"),
        name("collections", "OrderedDict"),
        name("_codecs", "encode"),
        name("joblib.numpy_pickle", "NumpyArrayWrapper"),
        name("scipy.sparse.csc", "csc_matrix"),
        name("scipy.sparse", "coo_matrix"),
        name("os", "system"),
        name("builtins", "eval"),
    ]
)


SIZES = st.one_of(st.integers(-2, 9), st.sampled_from([1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1]))


VALUES = st.one_of(
    SIZES.map(number),
    st.binary(max_size=24).map(data),
    st.sampled_from([b"N", b"\x88", b"\x89", b"]", b"}", b")"]),
    st.sampled_from(["x", "a", "idxs", "C", "F", "<", "latin1", "data", "shape", "indptr", "row", "dtype"]).map(text),
    st.floats().map(lambda value: b"G" + struct.pack(">d", value)),
    CODES.map(dtype),
    NAMES,
)


ARRAYS = st.builds(
    lambda shape, code, content: empty() + state(shape, code, content) + b"b",
    st.lists(SIZES, max_size=3),
    CODES,
    st.one_of(st.binary(max_size=48).map(data), st.just(b"(NNl"), VALUES),
)


BUFFERS = st.builds(
    lambda content, code, shape: (
        FROM_BUFFER + tuple_of(content, dtype(code), tuple_of(*map(number, shape)), text("C")) + b"R"
    ),
    VALUES,
    CODES,
    st.lists(SIZES, max_size=3),
)


PLACES = st.integers(0, 5)


STEPS = st.one_of(
    VALUES,
    ARRAYS,
    BUFFERS,
    PLACES.map(lambda place: b"q%c" % place),
    PLACES.map(lambda place: b"h%c" % place),
    st.sampled_from([bytes([code]) for code in b"(0012RRbbbsssuaae\x81\x85\x86\x87tld\x90\x91\x94\x93oQ."]),
    st.integers(0, 255).map(lambda code: bytes([code])),
    st.integers(0, 1 << 40).map(lambda size: b"\x8e" + struct.pack("<Q", size)),
    st.integers(0, (1 << 32) - 1).map(lambda place: b"r" + struct.pack("<I", place)),
)


PROGRAMS = st.builds(
    lambda steps, repeats: b"\x80\x04" + b"".join(steps) * repeats + b".",
    st.lists(STEPS, max_size=24),
    st.sampled_from([1, 1, 1, 2, 60]),
)


REAL = [
    pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": [np.float32(2), "x", (1, None)], "c": {1, 2}}, protocol)
    for protocol in range(6)
]


DAMAGED = st.builds(
    lambda whole, changes: bytes(changes.get(place, byte) for place, byte in enumerate(whole)),
    st.sampled_from(REAL),
    st.dictionaries(st.integers(0, 400), st.integers(0, 255), max_size=4),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(PROGRAMS, PROGRAMS, PROGRAMS, DAMAGED))
def test_any_instructions_give_a_message_or_a_plain_value(reader, program):
    reader.read(program)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_programs_give_messages_or_plain_values():
    """Run with ``-s`` to see the figures."""
    reader = Reader()

    @settings(max_examples=100_000, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(PROGRAMS, PROGRAMS, PROGRAMS, DAMAGED))
    def read(program):
        reader.read(program)

    read()
    assert reader.values > 5_000 and reader.errors > 5_000
    figures = (
        f"{reader.values:,} values, {reader.errors:,} messages; at most {reader.seconds:.3f} s, {reader.mib:.0f} MiB"
    )
    sys.stdout.write(f"\n{figures}\n")
