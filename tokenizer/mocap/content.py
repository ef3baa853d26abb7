"""What a file of arrays holds, by name and nothing read before it is asked for: npz, npy, pickles, files of torch.

Names of nested dictionaries are joined by "/". Nothing in a file is run: objects go through the reader of pickles that
knows arrays and plain containers alone, files of torch are loaded as tensors.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..engine.errors import UserError, fail
from ..engine.files.npz import read_npz
from ..engine.files.safe_pickle import as_array, load_pickle, loads_pickle

_DEEPEST = 6
_MOST_OBJECTS = 1 << 30
_LEAST_WIDTH = 66


class Content:
    """The names in a file and a way to read each: ``names``; ``array(name)`` is its array.

    ``unpack()`` reads dictionaries that a file keeps as objects, and adds what is in them to the names.
    """

    def __init__(self, path: Path, loaders: Mapping[str, Callable[[], Any]]) -> None:
        self.path = path
        self._loaders = dict(loaders)
        self._packed = dict(loaders)

    @property
    def names(self) -> list[str]:
        """All names."""
        return list(self._loaders)

    def array(self, name: str) -> np.ndarray:
        """Read one. Raise ``UserError`` for damage, for objects that are no arrays, and for code."""
        try:
            value = as_array(self._loaders[name]())
            return _of_numbers(value) if value.dtype.hasobject else value
        except UserError as error:
            text = str(error)
            where = "" if str(self.path) in text else f"{self.path}: {name or 'its content'}: "
            raise UserError(where + text) from None

    def unpack(self) -> UserError | None:
        """Read what is no plain array and add its parts, ``results/smpl_thetas`` for a dictionary ``results``.

        Returns why the first of those that cannot be read is refused.
        """
        refused: UserError | None = None
        for name, load in self._packed.items():
            try:
                value = load()
            except UserError as error:
                refused = refused or error
                continue
            if isinstance(value, (dict, list)) or (isinstance(value, np.ndarray) and value.dtype.hasobject):
                self._loaders |= dict(_flattened(value, f"{name}/", 0))
        self._packed = {}
        return refused


def open_content(path: Path) -> Content:
    """The content of a file by its suffix. Raise ``UserError`` for one that cannot be read."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return Content(path, _npz(path))
    if suffix == ".npy":
        with _Damage(path), path.open("rb") as file:
            return Content(path, dict(_flattened(_numpy_object(file, str(path)), "", 0)))
    if suffix in (".pt", ".pth"):
        from ..engine.files.foreign import load_foreign

        value: Any = load_foreign(path, expected="motion: a dictionary of tensors")
    else:
        value = load_pickle(path)
    return Content(path, dict(_flattened(value, "", 0)))


def _flattened(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, loader) of everything in nested dictionaries and lists of them."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject and depth < _DEEPEST:
        value = value.tolist()
    parts: Iterator[tuple[Any, Any]] | None = None
    if isinstance(value, Mapping):
        parts = iter(_by_person(value).items())
    elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        parts = iter(enumerate(value))
    if parts is None or depth >= _DEEPEST:
        yield prefix.removesuffix("/"), lambda: _plain_array(value)
        return
    for key, part in parts:
        yield from _flattened(part, f"{prefix}{str(key).replace('/', '_')}/", depth + 1)


def _by_person(value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """3DPW's files hold lists with an item a person: ``{"poses": [(n,72), (m,72)], …}`` → ``{0: {"poses": …}, …}``."""
    poses = value.get("poses")
    if not isinstance(poses, (list, tuple)) or not all(
        isinstance(person_poses, np.ndarray) and person_poses.ndim == 2 and person_poses.shape[1] >= _LEAST_WIDTH
        for person_poses in poses
    ):
        return value
    if all(len(person_poses) == 1 for person_poses in poses):  # an item a frame
        return value
    per_person = {
        key: part for key, part in value.items() if isinstance(part, (list, tuple)) and len(part) == len(poses)
    }
    people = {
        number: {"gender" if key == "genders" else key: part[number] for key, part in per_person.items()}
        for number in range(len(poses))
    }
    return {**{key: part for key, part in value.items() if key not in per_person}, **people}


def _plain_array(value: Any) -> Any:
    """Tensors as arrays; anything else as it is."""
    if hasattr(value, "detach"):
        value = value.detach()
        return (value.float() if value.dtype.itemsize == 2 and value.is_floating_point() else value).cpu().numpy()
    return value


def _of_numbers(value: np.ndarray) -> np.ndarray:
    """An array of numbers that was stored as objects. Raise ``UserError`` for others."""
    try:
        return np.array(value.tolist(), np.float64)
    except (TypeError, ValueError):
        raise fail("objects that are not numbers", got=f"an array of {value.shape}") from None


def _npz(path: Path) -> dict[str, Callable[[], Any]]:
    with _Damage(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    def loader(name: str) -> Callable[[], Any]:
        return lambda: _npz_member(path, name)

    return {name: loader(name) for name in names}


def _npz_member(path: Path, name: str) -> Any:
    with _Damage(path), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        objects = _header(file)[2].hasobject
    if not objects:
        return read_npz(path, "clip", (name,))[name]
    with _Damage(path), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        return _numpy_object(file, f"{path}: {name}")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _numpy_object(file: IO[bytes], name: str) -> Any:
    """What is in a file of numpy's format: an array, or what a pickle in one holds."""
    shape, fortran, dtype = _header(file)
    content = file.read(_MOST_OBJECTS)
    if dtype.hasobject:
        value = loads_pickle(content, name)
        return value.item() if isinstance(value, np.ndarray) and value.shape == () else value
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if len(content) != count * dtype.itemsize:
        raise fail(f"{name} is cut short or larger than 1 GiB", got=f"{len(content):,} bytes for {shape} {dtype}")
    return np.frombuffer(content, dtype, count).reshape(shape, order="F" if fortran else "C")


class _Damage:
    """Turns whatever a damaged file of arrays raises into one ``UserError``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserError):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise fail(f"Cannot read clip {self.path}", got=reason, expected="a file of arrays") from None
