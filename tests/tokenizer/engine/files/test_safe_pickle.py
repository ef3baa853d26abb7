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
from tokenizer.engine.files.safe_pickle import load_pickle


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
