"""Pickles of other people's files, read through an allow-list: arrays and plain containers, nothing that runs.

Arrays are rebuilt from their stated type, shape and bytes, checked first: numpy itself believes a pickle's type flags
and indices, and writes where a hostile one points.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError, fail

_MOST_BYTES = 1 << 30
"""What a compressed pickle may grow to: a few kilobytes can stand for a terabyte."""

_SIMPLE_TYPE = re.compile(r"[<>|=]?([?biufc][0-9]*|[SU][0-9]+|O8?)")


class _Type:
    """A ``numpy.dtype`` in the making: a simple one, without fields, whose flags are not asked for."""

    def __init__(self, code: str, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or not _SIMPLE_TYPE.fullmatch(code):
            raise ValueError(f"array type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, base, names, fields = state[:5]
        if not (base is names is fields is None) or order not in ("<", ">", "|", "="):
            raise ValueError("an array type with fields")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array in the making."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, kind, fortran, content = state[-4:]
        state = (1, *_checked(shape, kind, content), bool(fortran), content)
        super().__setstate__(state)  # type: ignore[arg-type]


class _InlineArray(_Array):
    """An array as joblib writes it: the pickle says type and shape, the bytes come after that in the same file."""

    file: io.BytesIO

    def __new__(cls) -> _InlineArray:
        return np.empty(0).view(cls)

    def __setstate__(self, state: Any) -> None:
        kind, shape = state["dtype"], state["shape"]
        if kind.dtype.hasobject:
            nested = _AllowList(self.file).load()
            if not isinstance(nested, _Array) or nested.dtype != kind.dtype:
                raise ValueError("an array of objects without its objects")
            super().__setstate__((nested.shape, kind, False, nested.ravel().tolist()))
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.read(self.file.read(1)[0])
        content = self.file.read(kind.dtype.itemsize * math.prod(shape))
        super().__setstate__((shape, kind, state["order"] == "F", content))


class _NdarrayName:
    """What ``numpy.ndarray`` names in a pickle: an argument, never called."""


class _Inert:
    """Stands in for an object of a library that is not needed: keeps its state, runs none of its code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: dict[str, Any] = {}

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
    """A scipy.sparse matrix by coordinates: ``array`` is its dense form."""

    @property
    def array(self) -> np.ndarray:
        """Dense (rows, columns)."""
        rows, columns = self._coordinates()
        shape = tuple(int(size) for size in self.state.get("_shape") or self.state["shape"])
        values = as_array(self.state["data"])
        dense = np.zeros(shape, dtype=values.dtype)
        np.add.at(dense, (as_array(rows), as_array(columns)), values)
        return dense

    def _coordinates(self) -> tuple[Any, Any]:
        if "coords" in self.state:
            rows, columns = self.state["coords"]
            return rows, columns
        return self.state["row"], self.state["col"]

    def _compressed(self) -> tuple[Any, Any]:
        lengths = np.diff(as_array(self.state["indptr"]))
        return np.repeat(np.arange(len(lengths)), lengths), self.state["indices"]


class SparseRows(SparseMatrix):
    """A scipy.sparse matrix of compressed rows."""

    def _coordinates(self) -> tuple[Any, Any]:
        return self._compressed()


class SparseColumns(SparseMatrix):
    """A scipy.sparse matrix of compressed columns."""

    def _coordinates(self) -> tuple[Any, Any]:
        columns, rows = self._compressed()
        return rows, columns


def _checked(shape: Any, kind: Any, content: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type, if the content has just as many bytes, or objects, as they say. Raises ``ValueError``."""
    if not isinstance(kind, _Type) or not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
        raise ValueError("an array without a plain type and shape")
    unit = 1 if kind.dtype.hasobject else kind.dtype.itemsize
    fits = isinstance(content, list if kind.dtype.hasobject else (bytes, bytearray, str))
    if min(shape, default=0) < 0 or not fits or len(content) != unit * math.prod(shape):
        raise ValueError(f"an array of shape {shape} and other content")
    return shape, kind.dtype


def _reconstruct(*args: Any) -> np.ndarray:
    return np.empty(0).view(_Array)


def _scalar(kind: Any, content: Any) -> Any:
    content = content.encode("latin1") if isinstance(content, str) else content
    dtype = _checked((), kind, content)[1]
    return np.frombuffer(content, dtype)[0]


def _frombuffer(content: Any, kind: Any, shape: Any, order: str, axes: Any = None) -> np.ndarray:
    """What protocol 5 calls; ``shape`` is that in memory, ``axes`` lead from there to the array's own."""
    shape, dtype = _checked(shape, kind, bytes(content))
    flat = np.frombuffer(content, dtype)
    shaped = flat.reshape(shape, order="F" if order == "F" else "C")
    return shaped if axes is None else shaped.transpose(axes)


def _encode(text: str, encoding: str) -> bytes:
    """What protocol 2 calls to rebuild bytes."""
    return text.encode(encoding)


def _no_bytes() -> bytes:
    """What protocol 2 calls for bytes of no length."""
    return b""


def _new(cls: type, base: Any, state: Any) -> Any:
    """What protocols 0 and 1 call to make an object."""
    if not issubclass(cls, _Inert):
        raise ValueError(f"an object of {cls.__name__}")
    return cls()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NdarrayName,
    ("numpy", "dtype"): _Type,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    **{(builtins, name): value for builtins in ("builtins", "__builtin__") for name, value in (
        ("set", set), ("complex", complex), ("bytearray", bytearray), ("bytes", _no_bytes), ("object", object),
    )},
    **{(copyreg, "_reconstructor"): _new for copyreg in ("copyreg", "copy_reg")},
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _encode,
}  # fmt: skip
_SPARSE = {"csc": SparseColumns, "csr": SparseRows, "coo": SparseMatrix}


class _AllowList(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            # BytesIO has no peek(), so the unpickler takes no byte before its turn and the array's are next.
            return type("_InlineArrayHere", (_InlineArray,), {"file": self._file})
        if module.split(".")[0] == "chumpy":
            return Chumpy
        form, _, rest = name.partition("_")
        if module.startswith("scipy.sparse") and form in _SPARSE and rest in ("matrix", "array"):
            return _SPARSE[form]
        raise fail("A pickle asks for something that could run code", got=f"{module}.{name}",
                   expected="arrays and plain containers", next_step="Do not open this file elsewhere")  # fmt: skip


def load_pickle(path: str | Path) -> Any:
    """Read a pickle (latin1 for old ones). chumpy variables become ``Chumpy``, scipy matrices ``SparseMatrix``.

    Files of joblib are read, too, plain or compressed by zlib or gzip, up to 1 GiB unpacked. Arrays have simple types:
    numbers, texts, or objects of this list. Raises ``UserError`` if the file is missing, cut short, damaged, or names
    anything that is not on the list; nothing of it runs.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise fail(f"Cannot read {path}", got=error.strerror or error, expected="a pickle of arrays") from None
    return loads_pickle(data, str(path))


def loads_pickle(data: bytes, name: str) -> Any:
    """``load_pickle`` of bytes that were read already; ``name`` is what messages call them."""
    try:
        return _plain(_AllowList(io.BytesIO(_unpacked(data))).load())
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle can ask for any operation and fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise fail(f"Cannot read {name}", got=reason, expected="a pickle of arrays") from None


def _unpacked(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b" and data[:1] != b"\x78":
        return data
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    unpacked = inflate.decompress(data, _MOST_BYTES)
    if not inflate.eof:
        raise ValueError("compressed data that is cut short, or longer than 1 GiB")
    return unpacked


def as_array(value: Any) -> np.ndarray:
    """The array behind a value of such a pickle: plain, chumpy or sparse. Raises ``UserError`` where there is none."""
    try:
        return np.asarray(value.array if isinstance(value, (Chumpy, SparseMatrix)) else value)
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise fail(f"A stored {type(value).__name__} is damaged", got=reason, expected="an array") from None


def _plain(value: Any) -> Any:
    """The same containers, their arrays being ordinary ones."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, _Array):
        value = value.view(np.ndarray)
        if value.dtype.hasobject:
            value = value.copy()
            value[...] = np.frompyfunc(_plain, 1, 1)(value)
    return value
