"""Arrays in pickles: every kind comes back, lies reach no memory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import sparse

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.safe_pickle import as_array, load_pickle


@pytest.mark.parametrize("package", ["core", "_core"])
def test_arrays_of_older_and_newer_numpy_load(tmp_path, package):
    """The name of numpy's inner package changed with 2.0; both occur in files, whatever is installed."""
    values = np.arange(5, dtype=np.float32)
    text = pickle.dumps({"a": values, "b": values[2]}, protocol=0).decode("latin1")
    text = text.replace("numpy._core.", "numpy.core.").replace("numpy.core.", f"numpy.{package}.")
    assert f"numpy.{package}.multiarray" in text
    (tmp_path / "p.pkl").write_bytes(text.encode("latin1"))
    loaded = load_pickle(tmp_path / "p.pkl")
    assert np.array_equal(loaded["a"], values) and loaded["b"] == 2


@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
def test_sparse_matrices_become_dense(tmp_path, form):
    dense = np.eye(3, 5)
    dense[1, 4] = 7
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(sparse.coo_matrix(dense).asformat(form), protocol=2))
    assert np.array_equal(as_array(load_pickle(tmp_path / "p.pkl")), dense)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "values",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        np.array(3, dtype=">i2"),
        np.array(["ab", "c"]),
        np.array([b"ab", b"c"]),
        np.zeros((0, 3)),
        np.ones(3, bool),
        np.array([1 + 2j]),
        np.array([[1, "x"], [None, 2.5]], dtype=object),
    ],
    ids=["fortran", "transposed", "big-endian", "text", "bytes", "empty", "bool", "complex", "objects"],
)
def test_arrays_of_every_kind_and_protocol_come_back(tmp_path, values, protocol):
    (tmp_path / "p.pkl").write_bytes(pickle.dumps([values, (values,)], protocol=protocol))
    first, (second,) = load_pickle(tmp_path / "p.pkl")
    expected = pickle.loads((tmp_path / "p.pkl").read_bytes())[0]
    assert type(first) is np.ndarray and first.dtype == expected.dtype and first.shape == values.shape
    assert np.array_equal(first, values) and np.array_equal(second, values)


class Call:
    """Pickles as the call of a class or function that the list knows, with arguments that lie."""

    def __init__(self, function, arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


RECONSTRUCT = np.ones(1).__reduce__()[0]


LIES = {
    "object flags": Call(np.dtype, ("f8", False, True), (3, "<", None, None, None, -1, -1, 63)),
    "too few bytes": Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (4,), np.dtype("f8"), False, b"12345678")),
    "too few objects": Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1000,), np.dtype("O"), False, [1])),
    "negative shape": Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (-2, -3), np.dtype("f8"), False, b"x" * 48)),
    "objects from bytes": Call(np.float64(0).__reduce__()[0], (np.dtype("O"), b"12345678")),
    "ndarray called": Call(np.ndarray, ((1,), "O", b"12345678")),
    "fields": np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
}


@pytest.mark.parametrize("name", LIES)
def test_arrays_that_lie_about_themselves_reach_no_memory(tmp_path, name):
    """Only flags are passed over, being never asked for; each of the others is one message."""
    (tmp_path / "p.pkl").write_bytes(pickle.dumps([LIES[name]], protocol=2))
    if name == "object flags":
        load_pickle(tmp_path / "p.pkl")
    else:
        with pytest.raises(UserError, match="Cannot read"):
            load_pickle(tmp_path / "p.pkl")


def test_sparse_indices_beyond_the_matrix_are_one_message(tmp_path):
    matrix = sparse.csc_matrix(np.eye(3, 5))
    matrix.indices = matrix.indices + 1_000_000
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(matrix, protocol=2))
    with pytest.raises(UserError, match="is damaged"):
        as_array(load_pickle(tmp_path / "p.pkl"))
