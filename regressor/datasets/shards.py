"""A folder of shards, opened for training and evaluation as if it were a crop store: the same samples."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.contents import check_version
from tokenizer.engine.files.hdf5 import plain_datasets, reading

from ..geometry.camera import prediction_box
from ..sample import Sample, capped_confidences
from .crop_store import checked_indices, count_of, sequence_names
from .cropping import Framing, PictureOf, as_images, crop_stored
from .remote import Cache, fetch, is_plain_name, is_url, join_url, without_key
from .shard_file import COLUMNS, FORMAT, FORMAT_VERSION, LATER, REMEDY, content_digest

INDEX = "shards.json"
INDEX_FORMAT = "pose-token-hmr/shards"
INDEX_VERSION = 1
_MOST_PEOPLE, _MOST_PIXELS = 1 << 24, 1 << 13


@dataclass(frozen=True)
class Shard:
    """A shard as the index lists it: file name, split, number of people, digest, sequences as runs [name, how many]."""

    file: str
    split: str
    count: int
    digest: str
    sequences: list[tuple[str, int]]


class ShardStore:
    """A ``CropDataset`` in a folder of shards, or in one behind a URL; its crops of ``size`` pixels are cut anew from
    the stored pictures. Some shards stay open, see ``keep_open``; a copy sent to another process opens its own."""

    def __init__(
        self,
        path: Path | str,
        shards: list[Shard],
        attributes: dict[str, Any],
        size: int,
        cache: Cache | None = None,
        aspect: float = 1.0,
    ) -> None:
        self.shards = shards
        counts: dict[str, int] = {}
        sequences: dict[str, list[tuple[str, int]]] = {}
        for shard in shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.count
            sequences.setdefault(shard.split, []).extend(shard.sequences)
        named = {split: runs for split, runs in sequences.items() if all(name for name, _ in runs)}
        digest = hashlib.sha256("".join(f"{shard.split} {shard.digest} " for shard in shards).encode()).hexdigest()
        self._index, self._cache, self._aspect = attributes, cache, aspect
        self._open: dict[str, OpenShard] = {}
        self._kept_open = 4
        self.path, self.size, self.digest = path, size, digest
        self.attributes: dict[str, Any] = {**attributes, "sequences": named}
        self._counts = counts
        self.remote, self.note = cache is not None, ""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": {}}

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

    def check(self) -> None:
        """Do nothing: each shard is compared with its digest when it is opened."""

    def at_size(self, size: int) -> ShardStore:
        """The same crops at ``size`` pixels."""
        return ShardStore(self.path, self.shards, self._index, size, self._cache, self._aspect)

    def as_predicted(self, aspect: float) -> ShardStore:
        """See ``CropDataset.as_predicted``."""
        if aspect == 1 or not self._index.get("box_shapes"):
            return self
        return ShardStore(self.path, self.shards, self._index, self.size, self._cache, aspect)

    def only(self, split: str) -> ShardStore:
        """The same crops without the other splits. Raises ``UserError`` for a split that is not there."""
        self.count(split)
        return ShardStore(
            self.path,
            [shard for shard in self.shards if shard.split == split],
            self._index,
            self.size,
            self._cache,
            self._aspect,
        )

    def keep_open(self, shards: int) -> int:
        """Keep as many shards open, those used last, with their annotation in memory; returns how many that may be."""
        self._kept_open = max(1, min(shards, len(self.shards)))
        return self._kept_open

    def part_counts(self, split: str) -> list[int]:
        """How many samples each shard of a split holds, in their order."""
        self.count(split)
        return [shard.count for shard in self.shards if shard.split == split]

    def people(self, indices: np.ndarray, split: str) -> tuple[Sample, PictureOf]:
        """The samples at ``indices`` (N,) of a split without images (3,0,0), and their pictures, cut at ``size``.

        Raises ``UserError`` for indices out of range, and a shard that is missing, damaged or another one by now.
        """
        indices = checked_indices(indices, self.count(split))
        shards = [shard for shard in self.shards if shard.split == split]
        ends = np.cumsum([shard.count for shard in shards], dtype=np.int64)
        columns: dict[str, np.ndarray] = {
            name: np.zeros((len(indices), *shape), kind) for name, (kind, shape) in COLUMNS.items()
        }
        owners = np.searchsorted(ends, indices, side="right")
        places = indices - (ends - [shard.count for shard in shards])[owners]
        for number in np.unique(owners):
            of_shard = owners == number
            for name, values in self._opened(shards[number]).columns.items():
                columns[name][of_shard] = values[places[of_shard]]
        columns |= {name: capped_confidences(columns[name]) for name in ("keypoints_2d", "keypoints_3d")}
        if self.attributes.get("format") == "bedlam":
            columns["gender"][:] = 0  # its shapes are the neutral body's, whatever earlier versions wrote
        if self._aspect != 1:
            columns["box"] = _predicted_boxes(columns["box"], columns["extent"], self._aspect)
        stored, size = columns["stored"], self.size

        def picture(number: int, framing: Framing) -> np.ndarray:
            jpeg = self._opened(shards[owners[number]]).jpeg(places[number])
            return crop_stored(jpeg, stored[number], framing, size)

        return _sample(columns), picture

    def annotation(self, indices: np.ndarray, split: str) -> Sample:
        """What is known of the samples at ``indices`` (N,) of a split, without images; raises as ``people`` does."""
        return self.people(indices, split)[0]

    def sample(self, indices: np.ndarray, split: str) -> Sample:
        """The samples at ``indices`` (N,) of a split, in that order, as CPU tensors; raises as ``people`` does."""
        sample, picture = self.people(indices, split)
        boxes, size = sample["box"].tolist(), self.size
        crops = (picture(number, Framing(tuple(box))) for number, box in enumerate(boxes))
        sample["image"] = as_images(crops, len(boxes)) if boxes else torch.zeros(0, 3, size, size, dtype=torch.uint8)
        return sample

    def _opened(self, shard: Shard) -> OpenShard:
        reader = self._open.pop(shard.file, None)
        if reader is None:
            while len(self._open) >= self._kept_open:
                self._open.pop(next(iter(self._open))).close()
            reader = self._opening(shard)
        self._open[shard.file] = reader  # the last of them is the one used last
        return reader

    def _opening(self, shard: Shard) -> OpenShard:
        if self._cache is None:
            return OpenShard(Path(self.path) / shard.file, shard.digest, shard.count)
        url, name = join_url(str(self.path), shard.file), f"{shard.digest[:16]}-{shard.file}"
        wrong = UserError()
        for _ in range(2):  # what was damaged on its way, or in the cache, is fetched anew
            with self._cache.file(url, name) as path:
                try:
                    return OpenShard(path, shard.digest, shard.count)
                except UserError as error:
                    path.unlink(missing_ok=True)
                    wrong = error
        raise fail(
            f"{without_key(url)} is not what its {INDEX} said when training began",
            got=wrong,
            next_step="Once the server has the whole file, continue with --resume",
        )


def _predicted_boxes(squares: np.ndarray, extents: np.ndarray, aspect: float) -> np.ndarray:
    """``prediction_box`` of boxes given by their squares (N,4) and by their widths and heights (N,2)."""
    centres = (squares[:, :2] + squares[:, 2:]) / 2
    boxes = np.concatenate([centres - extents / 2, centres + extents / 2], 1)
    return prediction_box(torch.from_numpy(boxes), aspect).numpy()


def _sample(columns: dict[str, np.ndarray]) -> Sample:
    box = columns["box"]
    points = columns["keypoints_2d"]
    side = (box[:, 2] - box[:, 0])[:, None, None]
    visible = points[..., 2:] > 0
    points[..., :2] = np.where(visible, (points[..., :2] - box[:, None, :2]) / side - 0.5, 0)
    sample = {name: torch.from_numpy(values) for name, values in columns.items() if name not in ("stored", "extent")}
    sample["image"] = torch.zeros(len(box), 3, 0, 0, dtype=torch.uint8)
    sample["gender"] = sample["gender"].long()
    for name in ("global_orient", "body_pose"):
        sample[name] = axis_angle_to_matrix(sample[name])
    return cast(Sample, sample)


def open_shards(path: str | Path, cache: Cache | None = None) -> ShardStore:
    """Open a folder that ``pose-regressor prepare`` finished; shards are checked as they are read.

    With a ``cache``, ``path`` may be the URL of such a folder. Raises ``UserError`` for a folder without its index, or
    whose index is damaged or newer.
    """
    note = ""
    if isinstance(path, str) and is_url(path):
        index = join_url(path, INDEX)
        (data, note), shown = fetch(index, cache), without_key(index)
        folder: Path | str = path
    else:
        folder, cache = Path(path), None
        shown = str(folder / INDEX)
        if not (folder / INDEX).is_file():
            raise fail(
                f"No prepared data in {path}",
                got=f"no {INDEX}",
                next_step="Run `pose-regressor prepare`, again if it did not end",
            )
        data = (folder / INDEX).read_bytes()
    try:
        content = json.loads(data)
        if content["format"] != INDEX_FORMAT:
            raise ValueError(f"format {content['format']!r}")
        check_version(content["format_version"], INDEX_VERSION, shown)
        shards = [
            Shard(**{**description, "sequences": [(str(a), int(b)) for a, b in description["sequences"]]})
            for description in content["shards"]
        ]
        wrong = [str(shard.file) for shard in shards if not _is_sound(shard)]
        if wrong or not shards:
            raise ValueError(f"entries of {', '.join(wrong[:3])}"[:200] if wrong else "no shards")
        attributes, size = dict(content["attributes"]), int(content["attributes"]["pixels"])
        if not 1 <= size <= _MOST_PIXELS:
            raise ValueError(f"crops of {size} pixels")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise fail(
            f"Cannot read {shown}", got=error, expected="the index of a folder of shards", next_step=REMEDY
        ) from None
    store = ShardStore(folder, shards, attributes, size, cache)
    store.note = note
    return store


def _is_sound(shard: Shard) -> bool:
    """Whether an entry of an index, which may come from a network, names a file of its folder and how much it holds."""
    return (
        is_plain_name(shard.file)
        and shard.file.endswith(".h5")
        and isinstance(shard.split, str)
        and isinstance(shard.digest, str)
        and re.fullmatch("[0-9a-f]{64}", shard.digest) is not None
        and type(shard.count) is int
        and 1 <= shard.count <= _MOST_PEOPLE
        and all(count > 0 for _, count in shard.sequences)
        and sum(count for _, count in shard.sequences) == shard.count
    )


_LARGEST_JPEG = 1 << 28
_CHECKED: set[tuple[str, int, int, str]] = set()
"""Files, by name, time, size and digest, whose content this process has compared with the digest."""


class OpenShard:
    """``columns``: the arrays of ``COLUMNS``, of all people, to be read only.

    Raises ``UserError`` for a shard that is missing, damaged, incomplete, not of ``people``, or whose content is not
    that of ``digest``; the content is read for that the first time that this process opens the file.
    """

    def __init__(self, path: Path, digest: str, people: int) -> None:
        self._path = path
        with ExitStack() as stack:
            # Opened once: another file of that name, put there meanwhile, must not mix with this one.
            file = stack.enter_context(reading(path, FORMAT, FORMAT_VERSION, what="shard", next_step=REMEDY))
            if file.attrs["digest"] != digest:
                raise fail(f"{path} was changed since the folder was prepared", next_step=REMEDY)
            datasets = plain_datasets(file)
            count = len(datasets["jpeg_end"]) if "jpeg_end" in datasets and datasets["jpeg_end"].ndim == 1 else -1
            wrong = []
            for name, (kind, shape) in COLUMNS.items():
                if name in LATER and name not in datasets:
                    continue
                if name not in datasets or datasets[name].shape != (count, *shape) or datasets[name].dtype != kind:
                    wrong.append(name)
            if wrong or "jpeg" not in datasets:
                raise fail(
                    f"{path} is damaged", got=f"without, or misshapen, {', '.join(wrong) or 'jpeg'}", next_step=REMEDY
                )
            status = path.stat()
            version = (str(path), status.st_mtime_ns, status.st_size, digest)
            if version not in _CHECKED:
                if count != people or content_digest(datasets) != digest:
                    raise fail(f"{path} is not what its digest says: it was changed", next_step=REMEDY)
                _CHECKED.add(version)
            self.columns = {
                name: datasets[name][:] if name in datasets else np.zeros((count, *shape), kind)
                for name, (kind, shape) in COLUMNS.items()
            }
            self._ends = np.concatenate([[0], datasets["jpeg_end"][:]])
            steps = np.diff(self._ends)
            if steps.min() < 0 or steps.max() > _LARGEST_JPEG or self._ends[-1] != len(datasets["jpeg"]):
                raise fail(f"{path} is damaged", got="pictures that overlap, or are far too large", next_step=REMEDY)
            self._bytes = datasets["jpeg"]
            self._stack = stack.pop_all()

    def jpeg(self, row: int) -> bytes:
        """The picture of one person. Raises ``UserError`` where the file is damaged."""
        try:
            data: bytes = self._bytes[self._ends[row] : self._ends[row + 1]].tobytes()
        except OSError as error:
            raise fail(f"{self._path} is damaged", got=str(error).splitlines()[0], next_step=REMEDY) from None
        return data

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()
