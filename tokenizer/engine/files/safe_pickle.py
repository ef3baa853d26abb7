"""Pickles of other people's files, read through an allow-list: arrays and plain containers, nothing that runs."""

from __future__ import annotations

import collections
import io
import zlib
from pathlib import Path
from typing import Any

from ..errors import UserError, fail
from .pickle_program import Budget, Finisher, Known, Program, checked_key
from .pickled_arrays import (
    SPARSE,
    Array,
    ArrayType,
    Chumpy,
    InlineArray,
    SparseMatrix,
    as_array,
    make_from_buffer,
    make_scalar,
    object_of,
)

__all__ = ["Chumpy", "SparseMatrix", "as_array", "find_plain", "load_pickle", "loads_pickle"]

_MOST_BYTES = 1 << 30
"""What a compressed pickle may grow to: a few kilobytes can stand for a terabyte."""
_MOST_GROWTH, _ALWAYS_ALLOWED = 100, 1 << 26
_MOST_FILE = 4 << 30
_ITEM = 256
_ENCODINGS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")


def _make_set(budget: Budget, items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple, set, frozenset):
        raise ValueError(f"a set of {type(items).__name__}")
    budget.spend(_ITEM * len(items))
    return set(map(checked_key, items))


def _make_ordered(budget: Budget, pairs: Any = ()) -> collections.OrderedDict[Any, Any]:
    if type(pairs) not in (list, tuple):
        raise ValueError(f"a dictionary of {type(pairs).__name__}")
    budget.spend(_ITEM * len(pairs))
    return collections.OrderedDict((checked_key(key), value) for key, value in pairs)


def _make_complex(budget: Budget, real: Any, imaginary: Any = 0.0) -> complex:
    if not isinstance(real, (int, float)) or not isinstance(imaginary, (int, float)):
        raise ValueError("a complex number of something else")
    return complex(real, imaginary)


def _make_bytearray(budget: Budget, content: Any = b"", encoding: Any = "latin-1") -> bytearray:
    data = _encode(budget, content, encoding) if isinstance(content, str) else content
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError(f"a bytearray of {type(content).__name__}")
    budget.spend(len(data))
    return bytearray(data)


def _encode(budget: Budget, text: Any, encoding: Any = "latin1") -> bytes:
    """What protocol 2 calls to rebuild bytes."""
    if not isinstance(text, str) or encoding not in _ENCODINGS:
        raise ValueError("bytes of another encoding")
    budget.spend(len(text))
    return text.encode(encoding)


def _no_bytes(budget: Budget) -> bytes:
    """What protocol 2 calls for bytes of no length."""
    return b""


def _new(budget: Budget, known: Any, base: Any, state: Any) -> Any:
    """What protocols 0 and 1 call to make an object."""
    if not isinstance(known, Known) or not known.empty or known.make is None:
        raise ValueError("an object of another class")
    return known.make(budget)


_ALLOWED: dict[tuple[str, str], Known] = {
    (module, name): Known(f"{module}.{name}", make)
    for modules, name, make in (
        (("numpy",), "ndarray", None),
        (("numpy",), "dtype", lambda budget, code, *flags: ArrayType(code)),
        (("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct", lambda budget, *arguments: Array()),
        (("numpy.core.multiarray", "numpy._core.multiarray"), "scalar", make_scalar),
        (("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer", make_from_buffer),
        (("builtins", "__builtin__"), "set", _make_set),
        (("builtins", "__builtin__"), "complex", _make_complex),
        (("builtins", "__builtin__"), "bytearray", _make_bytearray),
        (("builtins", "__builtin__"), "bytes", _no_bytes),
        (("builtins", "__builtin__"), "object", None),
        (("copyreg", "copy_reg"), "_reconstructor", _new),
        (("collections",), "OrderedDict", _make_ordered),
        (("_codecs",), "encode", _encode),
    )
    for module in modules
}


def find_plain(module: str, name: str) -> Known | None:
    """What a pickle of plain values and arrays may name; None for anything else."""
    return _ALLOWED.get((module, name))


def _find(module: str, name: str) -> Known:
    if (known := find_plain(module, name)) is not None:
        return known
    if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
        return object_of(InlineArray)
    if module.split(".")[0] == "chumpy":
        return object_of(Chumpy)
    form, _, rest = name.partition("_")
    if module.startswith("scipy.sparse") and form in SPARSE and rest in ("matrix", "array"):
        return object_of(SPARSE[form])
    raise fail(
        "A pickle asks for something that could run code",
        got=f"{module}.{name}"[:200],
        expected="arrays and plain containers",
        next_step="Do not open this file elsewhere",
    )


def load_pickle(path: str | Path) -> Any:
    """Read a pickle (latin1 for old ones). chumpy variables become ``Chumpy``, scipy matrices ``SparseMatrix``.

    Files of joblib are read, too, plain or compressed by zlib or gzip, up to 1 GiB unpacked. Arrays have simple types:
    numbers, texts, or objects of this list; they are read-only. Raises ``UserError`` if the file is missing, cut short,
    damaged, takes far more memory than it has bytes, or names anything that is not on the list; nothing of it runs.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise fail(f"Cannot read {path}", got="a folder" if path.is_dir() else "no file", expected="a pickle of arrays")
    try:
        if (size := path.stat().st_size) > _MOST_FILE:
            raise fail(f"{path} is too large", got=f"{size:,} bytes", expected=f"at most {_MOST_FILE:,}")
        data = path.read_bytes()
    except OSError as error:
        raise fail(f"Cannot read {path}", got=error.strerror or error, expected="a pickle of arrays") from None
    return loads_pickle(data, str(path))


def loads_pickle(data: bytes, name: str) -> Any:
    """``load_pickle`` of bytes that were read already; ``name`` is what messages call them."""
    try:
        unpacked = _unpacked(data)
        budget = Budget(len(unpacked))
        return Finisher(budget).value(Program(io.BytesIO(unpacked), _find, budget).run())
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle can ask for any operation and fail in any way
        reason = f"{type(error).__name__}: {error}"[:200]
        raise fail(f"Cannot read {name}", got=reason, expected="a pickle of arrays") from None


def _unpacked(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b" and data[:1] != b"\x78":
        return data
    most = min(_MOST_BYTES, max(_ALWAYS_ALLOWED, _MOST_GROWTH * len(data)))
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    unpacked = inflate.decompress(data, most)
    if not inflate.eof:
        raise ValueError(f"compressed data that is cut short, or longer than {most:,} bytes")
    return unpacked
