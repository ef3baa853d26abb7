"""What pickles of arrays are made of: numpy's types and arrays, joblib's, chumpy's variables, scipy's matrices.

Arrays are rebuilt from their stated type, shape and bytes, checked first: numpy itself believes a pickle's type flags
and indices, and writes where a hostile one points. The bytes are never shared with anything that the pickle could still
change, and the arrays are read-only.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from ..errors import UserError, fail
from .npz import check_values
from .pickle_program import Budget, Finisher, Known, Program, Unfinished

_SIMPLE_TYPE = re.compile(r"[<>|=]?([?biufc][0-9]*|[SU][0-9]+|O8?)")
_MOST_EMPTY = 1 << 20
_MOST_DENSE = 1 << 24
_MOST_TEXT = 1 << 26
_OBJECT = 64
_MOST_AXES, _MOST_SIZE = 32, 1 << 48


class ArrayType(Unfinished):
    """A ``numpy.dtype`` in the making: a simple one, without fields, whose flags are not asked for."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or not _SIMPLE_TYPE.fullmatch(code):
            raise ValueError(f"array type {str(code)[:40]!r}" if isinstance(code, str) else "no array type")
        self.dtype = np.dtype(code)

    def build(self, state: Any, program: Program) -> None:
        """``state``: version, byte order, and fields, which there must not be."""
        if not isinstance(state, tuple) or len(state) < 5:
            raise ValueError("an array type of another kind")
        _, order, base, names, fields = state[:5]
        if not (base is names is fields is None) or order not in ("<", ">", "|", "="):
            raise ValueError("an array type with fields")
        self.dtype = self.dtype.newbyteorder(order)

    def finish(self, finisher: Finisher, depth: int) -> np.dtype:
        """The type itself."""
        return self.dtype


class Array(Unfinished):
    """An array in the making: of numbers or texts at once, of objects (``items``) when these are finished."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.values: np.ndarray | None = None
        self.items: tuple[Any, ...] | None = None

    def build(self, state: Any, program: Program) -> None:
        """``state``: shape, type, order of axes, and bytes, or a list of objects."""
        if not isinstance(state, tuple) or len(state) < 4:
            raise ValueError("an array without shape, type and content")
        shape, kind, fortran, content = state[-4:]
        self.take(shape, kind, fortran is True or fortran == 1, content, program.budget)

    def take(self, shape: Any, kind: Any, fortran: bool, content: Any, budget: Budget) -> None:
        """Become the array of this content."""
        if isinstance(kind, ArrayType) and kind.dtype.hasobject:
            self.shape = _shape(shape, 1, content if isinstance(content, list) else None)
            budget.spend(_OBJECT * len(content))
            self.items = tuple(content)
        else:
            values = array_of(budget, shape, kind, fortran, content)
            self.values = values.astype(values.dtype.newbyteorder("="), order="K", copy=False)
            self.values.flags.writeable = False

    def finish(self, finisher: Finisher, depth: int) -> np.ndarray:
        """The array, read-only."""
        if self.items is None:
            if self.values is None:
                raise ValueError("an array without content")
            finished: np.ndarray = finisher.value(self.values)
            return finished
        values_of_items = [finisher.value(item, depth) for item in self.items]
        values = np.fromiter(values_of_items, dtype=object, count=len(values_of_items)).reshape(self.shape)
        values.flags.writeable = False
        return values


class InlineArray(Array):
    """An array as joblib writes it: the pickle gives type and shape, the bytes come after that in the same file."""

    def build(self, state: Any, program: Program) -> None:
        """``state``: a dictionary of type, shape and order; the rest is read from the file."""
        if program.inner or not isinstance(state, dict):
            raise ValueError("an array of another kind")
        kind, shape, file = state["dtype"], state["shape"], program.file
        if not isinstance(kind, ArrayType):
            raise ValueError("an array without a type")
        if kind.dtype.hasobject:
            nested = Program(file, program.find, program.budget, inner=True).run()
            if not isinstance(nested, Array) or nested.items is None or nested.shape != shape:
                raise ValueError("an array of objects without its objects")
            self.shape, self.items = nested.shape, nested.items
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            file.read(file.read(1)[0])
        check_shape(shape)
        content = file.read(kind.dtype.itemsize * math.prod(shape))
        self.take(shape, kind, state["order"] == "F", content, program.budget)


class Inert(Unfinished):
    """Placeholder for an object of a library that is not needed: keeps its state, runs none of its code."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def build(self, state: Any, program: Program) -> None:
        """Keep any ``state``."""
        self.state = state if isinstance(state, dict) else {"state": state}

    def finish(self, finisher: Finisher, depth: int) -> Any:
        """Itself, its state being finished."""
        self.state = finisher.value(self.state, depth)
        return self


class Chumpy(Inert):
    """A chumpy variable: ``array`` is its value."""

    @property
    def array(self) -> np.ndarray:
        """The stored values ``x``, or those that a ``Select`` takes from another variable, as in the SMPL files.

        Raises ``UserError`` for any other expression: it would have to be computed.
        """
        if "x" in self.state:
            return as_array(self.state["x"])
        if "a" in self.state and "idxs" in self.state:
            chosen = _numbers(self.state["a"]).ravel()[_numbers(self.state["idxs"])]
            return chosen.reshape(self.state.get("preferred_shape", chosen.shape))
        raise fail(
            "A chumpy expression cannot be read without chumpy",
            got=f"its parts {', '.join(self.state)}"[:200],
            expected="stored values",
            next_step="Save the model as npz where chumpy runs",
        )


class SparseMatrix(Inert):
    """A scipy.sparse matrix by coordinates: ``array`` is its dense form."""

    @property
    def array(self) -> np.ndarray:
        """Dense (rows, columns)."""
        rows, columns = self._coordinates()
        shape = tuple(int(size) for size in self.state.get("_shape") or self.state["shape"])
        check_shape(shape)
        if len(shape) != 2 or math.prod(shape) > _MOST_DENSE:
            raise ValueError(f"a matrix of {shape}")
        values = _numbers(self.state["data"])
        dense = np.zeros(shape, dtype=values.dtype)
        np.add.at(dense, (_numbers(rows), _numbers(columns)), values)
        return dense

    def _coordinates(self) -> tuple[Any, Any]:
        if "coords" in self.state:
            rows, columns = self.state["coords"]
            return rows, columns
        return self.state["row"], self.state["col"]

    def _compressed(self) -> tuple[Any, Any]:
        others = _numbers(self.state["indices"])
        ends = _numbers(self.state["indptr"]).astype(np.int64)
        lengths = ends[1:] - ends[:-1]
        if lengths.min(initial=0) < 0 or lengths.max(initial=0) > len(others) or lengths.sum() != len(others):
            raise ValueError("rows that do not fit the indices")
        return np.repeat(np.arange(len(lengths)), lengths), others


class SparseRows(SparseMatrix):
    """A scipy.sparse matrix of compressed rows."""

    def _coordinates(self) -> tuple[Any, Any]:
        return self._compressed()


class SparseColumns(SparseMatrix):
    """A scipy.sparse matrix of compressed columns."""

    def _coordinates(self) -> tuple[Any, Any]:
        columns, rows = self._compressed()
        return rows, columns


def as_array(value: Any) -> np.ndarray:
    """The array behind a value of such a pickle: plain, chumpy or sparse. Raises ``UserError`` where there is none."""
    try:
        if isinstance(value, (Chumpy, SparseMatrix)):
            return value.array
        if isinstance(value, (list, tuple)):
            count, longest = _leaves(value)
            if count * longest > _MOST_TEXT:
                raise ValueError("texts of very different lengths")
        return np.asarray(value)
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise fail(f"A stored {type(value).__name__} is damaged", got=reason, expected="an array") from None


def _leaves(value: Any) -> tuple[int, int]:
    """How many values nested lists hold, and the length of the longest text among them: numpy gives all its size."""
    if isinstance(value, (list, tuple)):
        counts = [_leaves(item) for item in value]
        return sum(count for count, _ in counts), max((length for _, length in counts), default=0)
    if isinstance(value, np.ndarray):
        return value.size, value.dtype.itemsize if value.dtype.kind in "SU" else 0
    return 1, len(value) if isinstance(value, (str, bytes)) else 0


def _numbers(value: Any) -> np.ndarray:
    array = as_array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{array.dtype} in place of numbers")
    return array


def check_shape(shape: Any) -> None:
    """Raise ``ValueError`` for anything but a tuple of at most 32 sizes that numpy could take: multiplying the huge
    numbers that a pickle may hold takes minutes."""
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise ValueError("an array without a plain shape")
    if not all(type(size) is int and 0 <= size <= _MOST_SIZE for size in shape):
        raise ValueError("an array without a plain shape")


def _shape(shape: Any, unit: int, content: Any) -> tuple[int, ...]:
    """The shape, if the content has as many units as it wants. Raises ``ValueError``."""
    check_shape(shape)
    filled = math.prod(max(1, size) for size in shape)
    if content is None or len(content) != unit * math.prod(shape) or filled > len(content) + _MOST_EMPTY:
        raise ValueError(f"an array of shape {str(shape)[:60]} and other content")
    return shape


def array_of(budget: Budget, shape: Any, kind: Any, fortran: bool, content: Any) -> np.ndarray:
    """A read-only array of numbers or texts from a copy of its bytes, or from bytes that nothing can change."""
    if not isinstance(kind, ArrayType) or kind.dtype.hasobject or not kind.dtype.itemsize:
        raise ValueError("an array without a plain type")
    if not isinstance(content, (bytes, bytearray, str)):
        raise ValueError("an array whose content is no bytes")
    shape = _shape(shape, kind.dtype.itemsize, content)
    budget.spend(len(content))
    data = content.encode("latin1") if isinstance(content, str) else bytes(content)
    values = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")
    check_values(values)
    return values


def make_scalar(budget: Budget, kind: Any, content: Any) -> Any:
    """What ``numpy.core.multiarray.scalar`` makes."""
    return array_of(budget, (), kind, False, content)[()]


def make_from_buffer(budget: Budget, content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """What protocol 5 calls; ``shape`` is that in memory, ``axes`` lead from there to the array's own."""
    values = array_of(budget, shape, kind, order == "F", content)
    return values if axes is None else values.transpose(axes)


SPARSE = {"csc": SparseColumns, "csr": SparseRows, "coo": SparseMatrix}


def object_of(kind: type[Unfinished]) -> Known:
    """The name of a class whose objects are empty until their state comes."""
    return Known(kind.__name__, lambda budget, *arguments: kind(), empty=True)
