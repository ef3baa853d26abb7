"""A folder of shards, opened for training and evaluation as if it were a crop store: the same samples."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import fail

from .sample import Sample
from .shard_file import COLUMNS, REMEDY, read_shard
from .store import CropStore
from .stored_crop import crop_stored
from .warp import Framing

INDEX = "shards.json"
INDEX_FORMAT = "pose-token-hmr/shards"
INDEX_VERSION = 1


@dataclass(frozen=True)
class Shard:
    """A shard as the index lists it: file name, split, number of people, digest, sequences as runs [name, how many]."""

    file: str
    split: str
    count: int
    digest: str
    sequences: list[tuple[str, int]]


class ShardStore(CropStore):
    """A folder of shards; ``size`` is that of the crops it gives, cut anew from the stored pictures."""

    def __init__(self, path: Path, shards: list[Shard], attributes: dict[str, Any], size: int) -> None:
        self.shards = shards
        counts: dict[str, int] = {}
        sequences: dict[str, list[tuple[str, int]]] = {}
        for shard in shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.count
            sequences.setdefault(shard.split, []).extend(shard.sequences)
        named = {split: some for split, some in sequences.items() if all(name for name, _ in some)}
        digest = hashlib.sha256("".join(f"{shard.split} {shard.digest} " for shard in shards).encode()).hexdigest()
        self._index = attributes
        super().__init__(path, size, counts, digest, {**attributes, "sequences": named})

    def at_size(self, size: int) -> ShardStore:
        """The same crops at ``size`` pixels."""
        return ShardStore(self.path, self.shards, self._index, size)

    def sample(self, indices: np.ndarray, split: str) -> Sample:
        """The samples at ``indices`` (N,) of a split, in that order, as CPU tensors.

        Raises ``UserError`` for indices out of range, and a shard that is missing, damaged or another one by now.
        """
        indices = self._checked(indices, split)
        shards = [shard for shard in self.shards if shard.split == split]
        ends = np.cumsum([shard.count for shard in shards], dtype=np.int64)
        images = np.zeros((len(indices), self.size, self.size, 3), np.uint8)
        columns: dict[str, np.ndarray] = {
            name: np.zeros((len(indices), *shape), kind) for name, (kind, shape) in COLUMNS.items()
        }
        owners = np.searchsorted(ends, indices, side="right")
        for number in np.unique(owners):
            shard, wanted = shards[number], np.flatnonzero(owners == number)
            rows, back = np.unique(indices[wanted] - (ends[number] - shard.count), return_inverse=True)
            found, jpegs = read_shard(self.path / shard.file, rows, shard.digest)
            for name, values in found.items():
                columns[name][wanted] = values[back]
            for target, row in zip(wanted, back, strict=True):
                box = Framing(tuple(found["box"][row].tolist()))
                images[target] = crop_stored(jpegs[row], found["stored"][row], box, self.size)
        return _sample(images, columns)


def _sample(images: np.ndarray, columns: dict[str, np.ndarray]) -> Sample:
    box = columns["box"]
    points = columns["keypoints_2d"]
    side = (box[:, 2] - box[:, 0])[:, None, None]
    seen = points[..., 2:] > 0
    points[..., :2] = np.where(seen, (points[..., :2] - box[:, None, :2]) / side - 0.5, 0)
    given = {name: torch.from_numpy(values) for name, values in columns.items() if name != "stored"}
    given["image"] = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    given["gender"] = given["gender"].long()
    for name in ("global_orient", "body_pose"):
        given[name] = axis_angle_to_matrix(given[name])
    return cast(Sample, given)


def open_shards(path: str | Path) -> ShardStore:
    """Open a folder that ``pose-regressor prepare`` finished; shards are checked as they are read.

    Raises ``UserError`` for a folder without its index, or whose index is damaged or newer.
    """
    path = Path(path)
    index = path / INDEX
    if not index.is_file():
        raise fail(f"No prepared data in {path}", got=f"no {INDEX}",
                   next_step="Run `pose-regressor prepare`, again if it did not end")  # fmt: skip
    try:
        content = json.loads(index.read_bytes())
        if content["format"] != INDEX_FORMAT:
            raise ValueError(f"format {content['format']!r}")
        if content["format_version"] > INDEX_VERSION:
            raise fail(f"{path} was written by a newer version", next_step="Upgrade pose-token-hmr")
        shards = [Shard(**{**one, "sequences": [(str(a), int(b)) for a, b in one["sequences"]]})
                  for one in content["shards"]]  # fmt: skip
        wrong = [one.file for one in shards if Path(one.file).name != one.file or one.count < 1
                 or sum(count for _, count in one.sequences) != one.count]  # fmt: skip
        if wrong or not shards:
            raise ValueError(f"entries of {', '.join(wrong[:3])}" if wrong else "no shards")
        attributes, size = dict(content["attributes"]), int(content["attributes"]["pixels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise fail(f"Cannot read {index}", got=error, expected="the index of a folder of shards",
                   next_step=REMEDY) from None  # fmt: skip
    return ShardStore(path, shards, attributes, size)
