"""Pickles of other people's files, read through an allow-list: arrays and plain containers, nothing that runs."""

from __future__ import annotations

import collections
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError, fail


class _Inert:
    """Stands in for an object of a library that is not needed: keeps its state, runs none of its code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: dict[str, Any] = {}
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {"state": state}


class Chumpy(_Inert):
    """A chumpy variable: ``array`` is its value."""

    @property
    def array(self) -> np.ndarray:
        """The stored values ``x``, or those that a ``Select`` takes from another variable, as in the SMPL files.

        Raises ``UserError`` for any other expression: it would have to be computed.
        """
        if "x" in self.state:
            return as_array(self.state["x"])
        if "a" in self.state and "idxs" in self.state:
            chosen = as_array(self.state["a"]).ravel()[as_array(self.state["idxs"])]
            return chosen.reshape(self.state.get("preferred_shape", chosen.shape))
        raise fail("A chumpy expression cannot be read without chumpy", got=f"its parts {', '.join(self.state)}",
                   expected="stored values", next_step="Save the model as npz where chumpy runs")  # fmt: skip


class SparseMatrix(_Inert):
    """A scipy.sparse matrix: ``array`` is its dense form."""

    @property
    def array(self) -> np.ndarray:
        """Dense (rows, columns), from compressed columns, compressed rows or coordinates."""
        from scipy import sparse

        state = self.state
        shape = state.get("_shape") or state["shape"]
        if "row" in state:
            return np.asarray(sparse.coo_matrix((state["data"], (state["row"], state["col"])), shape).toarray())
        kind = sparse.csr_matrix if "csr" in state.get("format", "csc") else sparse.csc_matrix
        return np.asarray(kind((state["data"], state["indices"], state["indptr"]), shape).toarray())


def _numpy_globals() -> dict[tuple[str, str], Any]:
    reconstruct, scalar = np.ndarray(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    table: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[module, "_reconstruct"] = reconstruct
        table[module, "scalar"] = scalar
    frombuffer = np.zeros(1).__reduce_ex__(5)[0]
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        table[module, "_frombuffer"] = frombuffer
    return table


def _encode(text: str, encoding: str) -> bytes:
    """What protocol 2 calls to rebuild bytes."""
    return text.encode(encoding)


_ALLOWED: dict[tuple[str, str], Any] = {
    **_numpy_globals(),
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): set, ("__builtin__", "set"): set,
    ("builtins", "complex"): complex, ("builtins", "bytearray"): bytearray,
    ("copy_reg", "_reconstructor"): lambda cls, base, state: cls(),
    ("copyreg", "_reconstructor"): lambda cls, base, state: cls(),
    ("builtins", "object"): object, ("__builtin__", "object"): object,
}  # fmt: skip


class _AllowList(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module.split(".")[0] == "chumpy":
            return Chumpy
        if module.startswith("scipy.sparse") and name.endswith(("_matrix", "_array")):
            return SparseMatrix
        raise fail("A pickle asks for something that could run code", got=f"{module}.{name}",
                   expected="arrays and plain containers", next_step="Do not open this file elsewhere")  # fmt: skip


def load_pickle(path: str | Path) -> Any:
    """Read a pickle (latin1 for old ones). chumpy variables become ``Chumpy``, scipy matrices ``SparseMatrix``.

    Raises ``UserError`` if it is missing, cut short, or names anything that is not on the list; nothing of it runs.
    """
    path = Path(path)
    try:
        return _AllowList(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise fail(f"Cannot read {path}", got=reason, expected="a pickle of arrays") from None


def as_array(value: Any) -> np.ndarray:
    """The array behind a value of such a pickle: plain, chumpy or sparse. Raises ``UserError`` where there is none."""
    return np.asarray(value.array if isinstance(value, (Chumpy, SparseMatrix)) else value)
