"""Files of ``torch.save``, looked through before torch reads them: no tensor may claim more than the file holds.

torch itself refuses to run what is in a pickle, but takes sizes on trust: a tensor of a few bytes that says it has a
billion numbers gets memory for them, with whatever lies there.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .pickle_program import Budget, Known, Program, Unfinished
from .safe_pickle import find_plain

_BYTES = {
    "Double": 8,
    "Float": 4,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
    "ComplexDouble": 16,
    "ComplexFloat": 8,
    "Untyped": 1,
}
_PLAIN_CLASSES = ("dict", "list", "tuple", "int", "long", "float", "bool", "str", "unicode")
_MOST_PICKLE = 1 << 28
_MOST_SHARED = 1 << 20
_MOST_SIZE = 1 << 62
"""Larger numbers, of which a pickle may hold millions of digits, take minutes to multiply."""
_LEGACY_PICKLES = 3


@dataclass(frozen=True)
class _Storage:
    """``numel`` numbers of ``itemsize`` bytes in the part ``key`` of the file."""

    key: str
    numel: int
    itemsize: int


class _Settings(collections.OrderedDict[Any, Any], Unfinished):
    """Placeholder for dictionaries with attributes: state dictionaries, and settings of other projects."""

    def build(self, state: Any, program: Program) -> None:
        """Nothing: only tensors are looked at."""


def check_torch_file(path: str | Path, settings: tuple[str, ...] = (), *, repeated: bool = False) -> None:
    """Raise ``ValueError``, or ``pickle.UnpicklingError`` for what is neither tensors nor plain values, if a file of
    ``torch.save`` claims more than it holds; ``settings`` are names of classes that torch reads as dictionaries.

    ``repeated``: tensors may show the same numbers many times; whoever reads them compares shapes before using any.
    """
    path = Path(path)
    audit = _Audit(settings, repeated)
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if archive:
            audit.check_archive(file, path.stat().st_size)
        else:
            audit.check_legacy(file, path.stat().st_size)


class _Audit:
    def __init__(self, settings: tuple[str, ...], repeated: bool) -> None:
        self._settings, self._repeated = settings, repeated
        self._storages: dict[str, _Storage] = {}

    def check_archive(self, file: IO[bytes], size: int) -> None:
        """What torch writes since 1.6: a zip of uncompressed parts."""
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            names = {part.filename: part.file_size for part in parts}
            stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
            if not stored or sum(names.values()) > size or len(names) < len(parts) or parts[0].header_offset:
                raise ValueError("parts that are compressed, doubled, or larger than the file")
            folder = parts[0].filename.partition("/")[0]
            if names.get(f"{folder}/data.pkl", _MOST_PICKLE) >= _MOST_PICKLE:
                raise ValueError("no data.pkl of a reasonable size")
            data = archive.read(f"{folder}/data.pkl")
        self._run(io.BytesIO(data), Budget(len(data)))
        for storage in self._storages.values():
            if names.get(f"{folder}/data/{storage.key}") != storage.numel * storage.itemsize:
                raise ValueError(f"{storage.numel:,} numbers in a part of another size")

    def check_legacy(self, file: IO[bytes], size: int) -> None:
        """What torch wrote before: pickles of a version, of the content and of keys, then the numbers."""
        data = io.BytesIO(file.read(_MOST_PICKLE))
        budget = Budget(min(size, _MOST_PICKLE))
        for _ in range(_LEGACY_PICKLES):
            self._run(data, budget)
        self._run(data, budget)
        if sum(storage.numel * storage.itemsize for storage in self._storages.values()) > size:
            raise ValueError("more numbers than the file has room for")

    def _run(self, data: io.BytesIO, budget: Budget) -> None:
        Program(data, self._find, budget, persistent=self._persistent, mappings=(_Settings,)).run()

    def _find(self, module: str, name: str) -> Known:
        full = f"{module}.{name}"
        if full == "torch._utils._rebuild_tensor_v2":
            return Known(full, self._tensor)
        if full == "torch._utils._rebuild_parameter":
            return Known(full, lambda budget, tensor, *rest: tensor)
        if full in ("torch.Size", "torch.device"):
            return Known(full, lambda budget, *arguments: arguments[0])
        if full == "collections.defaultdict":
            return Known(full, lambda budget, *arguments: {})
        if full == "collections.OrderedDict" or full in self._settings:  # state_dict gives its own attributes
            return Known(full, lambda budget, *arguments: _Settings(), empty=True)
        number = re.fullmatch(r"torch\.([a-z]+[0-9]*|(?:storage\.)?[A-Za-z0-9]+Storage)", full)
        plain = module in ("builtins", "__builtin__") and name in _PLAIN_CLASSES
        if number or plain or full == "typing.Any":
            return Known(full)
        known = find_plain(module, name)
        if known is None:
            raise pickle.UnpicklingError(full)
        return known

    def _persistent(self, reference: Any) -> _Storage:
        if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
            raise ValueError("a reference to something else than numbers")
        _, kind, key, _, numel = reference[:5]
        name = kind.name.rpartition(".")[2].removesuffix("Storage") if isinstance(kind, Known) else ""
        if name not in _BYTES or not isinstance(key, str) or type(numel) is not int or numel < 0:
            raise ValueError("numbers of an unknown kind")
        storage = _Storage(key, numel, _BYTES[name])
        if self._storages.setdefault(key, storage) != storage:
            raise ValueError("one part of the file with two sizes")
        return storage

    def _tensor(self, budget: Budget, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
        """Check a tensor that lies in ``storage``; the storage stands for it."""
        if not isinstance(storage, _Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
            raise ValueError("a tensor without numbers")
        numbers = (offset, *size, *stride)
        plain = all(type(number) is int and 0 <= number <= _MOST_SIZE for number in numbers)
        if len(size) != len(stride) or len(size) > 64 or not plain:
            raise ValueError("a tensor of another shape")
        count = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if count and (last >= storage.numel or (count > max(storage.numel, _MOST_SHARED) and not self._repeated)):
            raise ValueError(f"a tensor of {str(size)[:60]} from {storage.numel:,} numbers")
        return storage
