"""Pickles of other people: arrays in, nothing that runs."""

from __future__ import annotations

import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from scipy import sparse

from tokenizer.body.model import load_body
from tokenizer.body.skeleton import PARENTS
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.safe_pickle import as_array, load_pickle


@pytest.fixture
def chumpy(monkeypatch):
    """Modules that look like chumpy, so that pickles of its objects can be written."""
    classes = {}
    for name, module in (("Ch", "chumpy.ch"), ("Select", "chumpy.reordering"), ("transpose", "chumpy.reordering")):
        classes[name] = type(name, (), {"__init__": lambda self, **state: self.__dict__.update(state)})
        classes[name].__module__ = module
        if module not in sys.modules:
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        setattr(sys.modules[module], name, classes[name])
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return classes


def tiny_model(joints=24, vertices=6890):
    """Arrays of a SMPL file, all zeros but for what tells one from another."""
    parents = np.array([-1, *PARENTS[1:]])
    weights = np.zeros((vertices, joints))
    weights[:, 0] = 1
    return {
        "v_template": np.arange(3.0 * vertices).reshape(vertices, 3) / vertices,
        "shapedirs": np.arange(30.0 * vertices).reshape(vertices, 3, 10) / vertices,
        "posedirs": np.zeros((vertices, 3, 207)),
        "J_regressor": np.eye(joints, vertices),
        "weights": weights,
        "kintree_table": np.stack([parents, np.arange(joints)]),
        "f": np.array([[0, 1, 2]], dtype=np.uint32),
    }


def test_official_pickles_are_read_without_chumpy(tmp_path, chumpy, monkeypatch):
    """As in the makers' files: chumpy variables and selections of them, a sparse regressor, an expression unused."""
    model = tiny_model()
    np.savez(tmp_path / "plain.npz", **model)
    wider = np.concatenate([model["shapedirs"], np.ones((6890, 3, 5))], 2)
    chosen = np.arange(wider.size).reshape(wider.shape)[..., :10]
    model["shapedirs"] = chumpy["Select"](a=chumpy["Ch"](x=wider), idxs=chosen.ravel(), preferred_shape=chosen.shape)
    model["v_template"] = chumpy["Ch"](x=model["v_template"])
    model["J"] = chumpy["transpose"](a=chumpy["Ch"](x=np.ones((3, 24))), axes=None)
    model["J_regressor"] = sparse.csc_matrix(model["J_regressor"])
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(model, protocol=2))
    model["weights"] = model["J"]
    (tmp_path / "expression.pkl").write_bytes(pickle.dumps(model, protocol=2))
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)
    body, plain = load_body(tmp_path / "SMPL_NEUTRAL.pkl"), load_body(tmp_path / "plain.npz")
    assert torch.equal(body.shapedirs, plain.shapedirs)
    assert torch.equal(body.v_template, plain.v_template)
    assert torch.allclose(body.joint_template, plain.joint_template, atol=1e-6)
    with pytest.raises(UserError, match="cannot be read without chumpy"):
        load_body(tmp_path / "expression.pkl")


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, np.loadtxt, getattr])
def test_hostile_pickles_are_refused_by_name_and_do_not_run(tmp_path, function):
    marker = tmp_path / "ran"
    argument = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"v_template": Hostile(function, argument, "x")}))
    with pytest.raises(UserError, match=f"could run code.*{function.__name__}"):
        load_pickle(tmp_path / "bad.pkl")
    with pytest.raises(UserError, match="could run code"):
        load_body(tmp_path / "bad.pkl")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_load(tmp_path, protocol):
    value = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2.5), "c": ["x", (1, None)], "d": b"y"}
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    loaded = load_pickle(tmp_path / "p.pkl")
    assert np.array_equal(loaded["a"], value["a"]) and loaded["b"] == 2.5 and loaded["c"] == value["c"]


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


def test_an_array_that_holds_a_hostile_object_is_refused(tmp_path):
    marker = tmp_path / "ran"
    inside = np.array([1, Hostile(os.system, f"touch {marker}")], dtype=object)
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"poses": inside}))
    with pytest.raises(UserError, match=r"could run code.*system"):
        load_pickle(tmp_path / "bad.pkl")
    assert not marker.exists()


def test_every_damage_of_a_pickle_is_one_message(tmp_path):
    whole = pickle.dumps({"a": np.arange(6.0), "b": ["x", 1]}, protocol=2)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x15
        for content in (damaged, whole[:position]):
            (tmp_path / "p.pkl").write_bytes(content)
            try:
                load_pickle(tmp_path / "p.pkl")
            except UserError as error:
                assert "p.pkl" in str(error)
    with pytest.raises(UserError, match="Cannot read"):
        load_pickle(tmp_path / "nowhere.pkl")


def test_golden_pickle_of_python_2(tmp_path):
    """Written by hand in protocol 0, as Python 2 wrote SMPL files: array bytes are a latin1 text there."""
    text = r"""(dp0
S'weights'
cnumpy.core.multiarray
_reconstruct
(cnumpy
ndarray
(I0
tS'b'
tR(I1
(I2
tcnumpy
dtype
(S'f8'
I0
I1
tR(I3
S'<'
NNNI-1
I-1
I0
tbI00
S'\x00\x00\x00\x00\x00\x00\xf8?\x00\x00\x00\x00\x00\x00\x04\xc0'
tbs."""
    (tmp_path / "p.pkl").write_text(text)
    assert load_pickle(tmp_path / "p.pkl")["weights"].tolist() == [1.5, -2.5]
