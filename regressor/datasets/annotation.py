"""What every reader of a data set yields: photographs with the people annotated in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.files.text_files import read_text


@dataclass(frozen=True)
class Person:
    """One person's annotation; None: not known. Metres, radians, camera frame with OpenCV axes, float32.

    ``box`` (4,) x0,y0,x1,y1 in pixels, of any shape; what is cut is the square around it. ``keypoints_2d`` (44,3) in
    pixels of the image, confidence; ``keypoints_3d`` (44,4). ``global_orient`` (3,), ``body_pose`` (69,) axis-angle;
    ``betas`` (10,); ``translation`` (3,), as in ``Sample``; ``K`` (3,3). ``true_3d``: measured or rendered, not fitted
    to 2D.
    """

    box: np.ndarray
    keypoints_2d: np.ndarray | None = None
    keypoints_3d: np.ndarray | None = None
    global_orient: np.ndarray | None = None
    body_pose: np.ndarray | None = None
    betas: np.ndarray | None = None
    translation: np.ndarray | None = None
    K: np.ndarray | None = None
    gender: str = "neutral"
    true_3d: bool = True


@dataclass(frozen=True)
class ImageRecord:
    """A picture with its people. ``image``: a file, the bytes of one, or pixels (H,W,3) uint8 RGB; ``name`` says in
    reports which it is; ``sequence`` the video it is of, if any; ``turned``: to be turned clockwise by 90° first, as
    its annotation is; ``size``: width and height of the picture that was annotated, where the data set gives them."""

    name: str
    image: Path | bytes | np.ndarray
    people: tuple[Person, ...]
    sequence: str = ""
    turned: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class SkippedItem:
    """A photograph or person that is not taken, and why: ``broken``, to be listed one by one, or as the data set itself
    says (nobody in the picture, marked as invalid), to be counted."""

    name: str
    reason: str
    broken: bool = True


Item = ImageRecord | SkippedItem
"""What a reader yields."""


class ReadTask(Protocol):
    """The photographs of one shard, read by a worker process.

    ``key`` changes when what the task reads changes.
    """

    @property
    def key(self) -> str:
        """See above."""

    @property
    def split(self) -> str:
        """Name of the split its people belong to."""

    def photos(self) -> Iterator[Item]:
        """Read the photographs, in order."""


@dataclass(frozen=True)
class ListedTask:
    """A task whose annotation was read already."""

    key: str
    split: str
    items: tuple[Item, ...]

    def photos(self) -> Iterator[Item]:
        """The photographs, in order."""
        return iter(self.items)


@dataclass(frozen=True)
class FitRules:
    """What of 4D-Humans' training data counts; the defaults are those HMR2.0 was trained with.

    ``confidence``: 2D keypoints below it are not known. ``keypoints``: people with fewer are left out.
    ``loss``: people whose body was fitted to 2D with a larger loss (``extra_info["fitting_loss"]``) are left out.
    ``corrupt``: keys of pictures that are left out, whole or without their folders.
    """

    confidence: float = 0.3
    keypoints: int = 4
    loss: float = 31_000.0
    corrupt: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """All of it in one line, the same for the same rules."""
        return f"{self.confidence!r} {self.keypoints} {self.loss!r} {','.join(sorted(self.corrupt))}"


@dataclass(frozen=True)
class ReadOptions:
    """``images``: folder that image names begin in (None: that of the annotation); ``split``: where no folder names it;
    ``people``: about how many to a shard; ``subset``: of EMDB; ``scale_unit``: of the boxes of an evaluation npz;
    ``val_share``: of the split train that becomes val, see ``prepare.held_out_below``; ``fits``: which people
    of 4D-Humans' training data count."""

    images: Path | None = None
    split: str = "train"
    people: int = 1000
    subset: str = "emdb1"
    scale_unit: str = "auto"
    val_share: float = 0.0
    fits: FitRules = field(default_factory=FitRules)


@dataclass(frozen=True)
class Reading:
    """What a reader returns: its tasks, and facts about the data set: kinds of boxes, units."""

    parts: Iterable[ReadTask]
    about: dict[str, str]


Reader = Callable[[list[Path], ReadOptions], Reading]


def read_keys(path: Path) -> frozenset[str]:
    """Return the lines of a text file without blanks and ``#`` comments. Raise ``UserError`` if it cannot be read."""
    try:
        lines = [line.partition("#")[0].strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"Cannot read the list of keys {path}", got=error, expected="text, one key a line") from None
    return frozenset(filter(None, lines))


def file_key(path: Path) -> str:
    """Return a key of a file's content without reading it: path, size, time of change.

    Raise ``UserError`` for a file that is missing.
    """
    if not path.is_file():
        raise fail(f"No file at {path}", next_step="Check the path")
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def listed_tasks(key: str, split: str, items: Iterable[Item], people: int) -> Iterator[ListedTask]:
    """Yield tasks of about ``people`` persons each; ``items`` come in order from the file whose key is ``key``."""
    batch: list[Item] = []
    weight, number = 0, 0
    for item in items:
        batch.append(item)
        weight += len(item.people) if isinstance(item, ImageRecord) else 0
        if weight >= people:
            yield ListedTask(f"{key} {split} {people} {number}", split, tuple(batch))
            batch, weight, number = [], 0, number + 1
    if batch:
        yield ListedTask(f"{key} {split} {people} {number}", split, tuple(batch))
