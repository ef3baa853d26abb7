"""Annotated crops, as training, evaluation and calibration read them, however they are stored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tokenizer import Body

from ..sample import Sample
from .crop_store import open_crop_store
from .cropping import PictureOf
from .shards import open_shards

_OF_SMPL = ("4dhumans", "bedlam", "3dpw", "emdb", "evaluation-npz")
"""Formats whose annotation is of SMPL's bodies. The others annotate no bodies, or those they were rendered with."""


class CropDataset(Protocol):
    """Crops of people with annotation, in named splits: a ``CropStore`` or a ``ShardStore``.

    ``size``: side of the images, pixels; ``digest``: of the content; ``attributes``: how they were made; ``remote``:
    whether they come from a URL; ``note``: a warning about the source, or nothing. All methods that take a split raise
    ``UserError`` for one that is not there, and for indices out of range.
    """

    path: Path | str
    size: int
    digest: str
    attributes: dict[str, Any]
    remote: bool
    note: str

    @property
    def splits(self) -> list[str]:
        """Names of the splits."""

    def count(self, split: str) -> int:
        """Return how many samples a split holds."""

    def part_counts(self, split: str) -> list[int]:
        """Return how many samples lie together in each part of a split: in a shard, or all of them."""

    def sequences(self, split: str) -> list[str] | None:
        """Return the name of each sample's sequence, None where none are known."""

    def at_size(self, size: int) -> CropDataset:
        """Return the same crops at ``size`` pixels where they can be cut anew, else itself."""

    def as_predicted(self, aspect: float) -> CropDataset:
        """Return the same people in the crops that ``predict`` gives a network of this aspect (``prediction_box``);
        itself where the shapes of boxes are not known, or nothing around the crops is stored."""

    def only(self, split: str) -> CropDataset:
        """Return the same crops without the other splits."""

    def check(self) -> None:
        """Raise ``UserError`` unless the content is that of ``digest``."""

    def people(self, indices: np.ndarray, split: str) -> tuple[Sample, PictureOf]:
        """Return the samples at ``indices`` (N,), perhaps without images, and a function that cuts other framings."""

    def sample(self, indices: np.ndarray, split: str) -> Sample:
        """Return the samples at ``indices`` (N,), in that order, as CPU tensors."""

    def annotation(self, indices: np.ndarray, split: str) -> Sample:
        """Return the samples at ``indices`` (N,) with images (N,3,0,0), which stay unread."""


def open_crops(path: str | Path) -> CropDataset:
    """Open and check a crop store, or a folder of shards that ``pose-regressor prepare`` wrote.

    Raise ``UserError`` for a file that is missing, cut short, of another or newer format, incomplete or misshapen.
    """
    return open_shards(path) if Path(path).is_dir() else open_crop_store(path)


def check_body_model(datasets: Iterable[CropDataset], body: Body) -> str | None:
    """Return a warning where crops of SMPL's bodies are to be trained on with the open body, else None.

    Shape parameters and the positions of joints mean nothing on another body.
    """
    names = [str(dataset.path) for dataset in datasets if dataset.attributes.get("format") in _OF_SMPL]
    if body.kind != "open" or not names:
        return None
    return (
        f"{', '.join(names)} annotate SMPL's bodies, but --body is the open one: shapes have no meaning and joints are "
        "off. Give SMPL's neutral model with --body."
    )
