"""The crop store: synthetic or prepared crops with their annotation in one HDF5 file, a group a split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from tokenizer.engine.errors import fail
from tokenizer.engine.files.hdf5 import plain_datasets, reading
from tokenizer.engine.files.hdf5_writing import WholeFile, writing

from ..sample import Sample
from .cropping import PictureOf, own_pictures

FORMAT = "pose-token-hmr/crops"
FORMAT_VERSION = 2
"""Since 2 a store holds the digest of each column, and its own covers them and the attributes."""
_CHECKED_AT_ONCE = 1 << 24
_REMEDY = "Make one with `pose-regressor synthesize` or `prepare`, or check the path"
_SHAPES: dict[str, tuple[int, ...]] = {
    "keypoints_2d": (44, 3),
    "keypoints_3d": (44, 4),
    "global_orient": (3, 3),
    "body_pose": (23, 3, 3),
    "betas": (10,),
    "translation": (3,),
    "has_global_orient": (),
    "has_body_pose": (),
    "has_betas": (),
    "box": (4,),
    "image_size": (2,),
    "K": (3, 3),
}
_IMAGES_A_CHUNK, _ROWS_A_CHUNK = 8, 512
Arrays = dict[str, np.ndarray]


class CropStoreWriter:
    """Appends batches of samples (numpy, named and shaped as in ``Sample``) to splits."""

    def __init__(self, file: WholeFile, size: int, counts: dict[str, int]) -> None:
        self._file, self._filled = file, dict.fromkeys(counts, 0)
        self._digests = {f"{split}/{name}": hashlib.sha256() for split in counts for name in _columns(size)}
        for split, count in counts.items():
            group = file.create_group(split)
            for name, shape in _columns(size).items():
                # Small chunks of images: a random batch reads little more than itself. Checksums need chunks, and
                # chunks need rows.
                rows = min(count, _IMAGES_A_CHUNK if name == "image" else _ROWS_A_CHUNK)
                layout = {"chunks": (rows, *shape), "fletcher32": True} if count else {}
                group.create_dataset(name, (count, *shape), _kind(name), **layout)

    def append(self, split: str, batch: Arrays) -> None:
        """Write one batch behind what the split already holds."""
        start = self._filled[split]
        stop = start + len(batch["image"])
        for name in ("image", *_SHAPES):
            values = np.ascontiguousarray(batch[name], _kind(name))
            self._file[split][name][start:stop] = values
            self._digests[f"{split}/{name}"].update(values.tobytes())
        self._filled[split] = stop
        self._file.check()

    def finish(self, attributes: dict[str, Any]) -> None:
        """Write the attributes (JSON) and the digest of everything appended."""
        described = json.dumps(attributes, sort_keys=True)
        columns = json.dumps({name: digest.hexdigest() for name, digest in self._digests.items()})
        self._file.attrs["attributes"], self._file.attrs["columns"] = described, columns
        self._file.attrs["digest"] = _digest_of(columns, described)


def _digest_of(columns: str, attributes: str) -> str:
    return hashlib.sha256(f"{columns}\n{attributes}".encode()).hexdigest()


def _columns(size: int) -> dict[str, tuple[int, ...]]:
    return {"image": (3, size, size), **_SHAPES}


def _kind(name: str) -> np.dtype:
    return np.dtype(np.uint8 if name == "image" else bool if name.startswith("has_") else np.float32)


@contextmanager
def write_crops(
    path: str | Path, size: int, counts: dict[str, int], attributes: dict[str, Any]
) -> Iterator[CropStoreWriter]:
    """A writer for crops of ``size`` pixels with ``counts`` samples a split; the file appears when all is written."""
    with writing(path, FORMAT, FORMAT_VERSION) as file:
        writer = CropStoreWriter(file, size, counts)
        yield writer
        writer.finish(attributes)


class CropStore:
    """A ``CropDataset`` in one HDF5 file, whose images have one size for good."""

    remote = False

    def __init__(
        self, path: Path | str, size: int, counts: dict[str, int], digest: str, attributes: dict[str, Any]
    ) -> None:
        self.path, self.size, self.digest, self.attributes = path, size, digest, attributes
        self._counts = counts
        self._columns: dict[str, str] | None = None
        self._checked_at = (0, 0)
        self.note = ""

    @property
    def splits(self) -> list[str]:
        """Names of the splits."""
        return list(self._counts)

    def count(self, split: str) -> int:
        """Return how many samples a split holds. Raise ``UserError`` for a split that is not there."""
        return count_of(split, self._counts, self.path)

    def sequences(self, split: str) -> list[str] | None:
        """See ``CropDataset.sequences``."""
        return sequence_names(self.attributes, split, self.count(split), self.path)

    def at_size(self, size: int) -> CropStore:
        """Return itself: images of a crop store stay as they are."""
        return self

    def as_predicted(self, aspect: float) -> CropStore:
        """Return itself: nothing around its images is stored."""
        return self

    def only(self, split: str) -> CropStore:
        """Return the same crops without the other splits. Raise ``UserError`` for a split that is not there."""
        store = CropStore(self.path, self.size, {split: self.count(split)}, self.digest, self.attributes)
        store._columns, store.note = self._columns, self.note
        return store

    def check(self) -> None:
        """Raise ``UserError`` unless images and annotation are those that the digest was taken of.

        A gigabyte takes about two seconds, once. Stores of version 1 do not say what they hold; shards are checked when
        they are opened.
        """
        status = Path(self.path).stat()
        if self._columns is None or (status.st_mtime_ns, status.st_size) == self._checked_at:
            return
        with reading(self.path, FORMAT, FORMAT_VERSION, what="crop store", next_step=_REMEDY) as file:
            for column in (f"{split}/{name}" for split in self._counts for name in ("image", *_SHAPES)):
                data, digest = file[column], hashlib.sha256()
                rows = max(1, _CHECKED_AT_ONCE * len(data) // max(1, data.nbytes))
                for first in range(0, len(data), rows):
                    digest.update(data[first : first + rows].tobytes())
                if digest.hexdigest() != self._columns.get(column):
                    got = f"{column} with other content than its digest was taken of: it was edited"
                    raise fail(f"{self.path} is damaged", got=got, next_step=_REMEDY)
        self._checked_at = (status.st_mtime_ns, status.st_size)

    def part_counts(self, split: str) -> list[int]:
        """How many samples lie together in each part of a split: here all of them."""
        return [self.count(split)]

    def people(self, indices: np.ndarray, split: str) -> tuple[Sample, PictureOf]:
        """The samples at ``indices`` (N,) of a split, and where crops of other framings come from."""
        sample = self.sample(indices, split)
        return sample, own_pictures(sample["image"])

    def sample(self, indices: np.ndarray, split: str) -> Sample:
        """The samples at ``indices`` (N,) of a split, in that order, as CPU tensors."""
        return self._rows(indices, split, ("image", *_SHAPES))

    def annotation(self, indices: np.ndarray, split: str) -> Sample:
        """What is known of the samples at ``indices`` (N,) of a split, without images, (N,3,0,0), which stay unread."""
        sample = self._rows(indices, split, tuple(_SHAPES))
        return {**sample, "image": torch.zeros(len(indices), 3, 0, 0, dtype=torch.uint8)}

    def _rows(self, indices: np.ndarray, split: str, names: tuple[str, ...]) -> Sample:
        indices = checked_indices(indices, self.count(split))
        unique, back = np.unique(indices, return_inverse=True)
        contiguous = len(unique) and unique[-1] - unique[0] + 1 == len(unique)
        rows = np.s_[unique[0] : unique[-1] + 1] if contiguous else unique
        with reading(self.path, FORMAT, FORMAT_VERSION, what="crop store", next_step=_REMEDY) as file:
            group = file[split]
            arrays = {name: group[name][rows] if len(unique) else group[name][:0] for name in names}
        return cast(Sample, {name: torch.from_numpy(values[back]) for name, values in arrays.items()})


def count_of(split: str, counts: dict[str, int], path: Path | str) -> int:
    """Return the number of samples of a split. Raise ``UserError`` for a split that ``path`` does not have."""
    if split not in counts:
        raise fail(f"{path} has no split {split!r}", expected=f"one of {', '.join(counts)}")
    return counts[split]


def sequence_names(attributes: dict[str, Any], split: str, count: int, path: Path | str) -> list[str] | None:
    """Return the name of the sequence of each of ``count`` samples, from the attribute ``sequences``: split → runs
    [name, length]; None where it names none.

    Raise ``UserError`` where the runs do not add up to ``count``.
    """
    runs = attributes.get("sequences", {}).get(split)
    if runs is None:
        return None
    names = [str(name) for name, length in runs for _ in range(length)]
    if len(names) != count:
        got = f"sequences of {len(names)} samples in {split}"
        raise fail(f"{path} is damaged", got=got, expected=f"{count}", next_step=_REMEDY)
    return names


def checked_indices(indices: np.ndarray, count: int) -> np.ndarray:
    """Return indices (N,) as int64. Raise ``UserError`` where one is not below ``count``."""
    indices = np.asarray(indices, dtype=np.int64)
    if len(indices) and not 0 <= indices.min() <= indices.max() < count:
        got = f"{indices.min()} to {indices.max()}"
        raise fail("Sample indices are out of range", got=got, expected=f"0 to {count - 1}")
    return indices


def open_crop_store(path: str | Path) -> CropStore:
    """Open and check a crop store.

    Raise ``UserError`` for a file that is missing, cut short, of another or newer format, incomplete or misshapen.
    """
    path = Path(path)
    with reading(path, FORMAT, FORMAT_VERSION, what="crop store", next_step=_REMEDY) as file:
        columns = plain_datasets(file)
        counts, size = {}, 0
        for split in file:
            expected = {f"{split}/{name}" for name in ("image", *_SHAPES)}
            missing = sorted(expected - columns.keys())
            if missing:
                raise fail(f"{path} is damaged", got=f"no {', '.join(missing)}", next_step=_REMEDY)
            count, _, size, _ = columns[f"{split}/image"].shape
            wrong = []
            for name, shape in _columns(size).items():
                column = columns[f"{split}/{name}"]
                if column.shape != (count, *shape) or column.dtype != _kind(name):
                    wrong.append(name)
            if wrong:
                raise fail(f"{path} is damaged", got=f"misshapen {', '.join(wrong)} in {split}", next_step=_REMEDY)
            counts[split] = count
        digest, described = str(file.attrs["digest"]), str(file.attrs["attributes"])
        store = CropStore(path, size, counts, digest, json.loads(described))
        if int(file.attrs["format_version"]) == 1:
            store.note = f"{path} is a crop store of version 1, whose content cannot be compared with its digest"
            return store
        columns_text = str(file.attrs["columns"])
        if _digest_of(columns_text, described) != digest:
            raise fail(f"{path} is damaged", got="a digest that does not match", next_step=_REMEDY)
        store._columns = dict(json.loads(columns_text))
        return store
