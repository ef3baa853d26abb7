"""Convert other people's data sets into shards, once: several at a time, resumable, every skipped item listed.

One process reads a part of the data and writes it as a whole shard; a part of which some people are held out for
validation gives two. A shard carries the key of its part, so that another run keeps it where neither the data nor the
options have changed. The index that makes a folder of them is written last.

The validation split takes whole sequences, chosen by a hash of their names: the same in every run, with any number of
workers, in any order.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.processes import available_cores, map_in_order

from ..config import VIT_ASPECT
from ..geometry.boxes import check_box
from ..geometry.camera import assumed_intrinsics, prediction_box, square_box
from ..sample import GENDERS, capped_confidences
from .annotation import ImageRecord, ListedTask, Person, ReadOptions, ReadTask, SkippedItem
from .image_files import decode_image, read_header, read_image
from .readers import reader
from .shard_file import Row, about_shard, encode_person, person_columns, runs, write_shard
from .shards import INDEX, INDEX_FORMAT, INDEX_VERSION, Shard

LEFT_OUT = "left_out.txt"
_VERSION = 2
"""Raised when the same data and options would give other shards."""
_LARGEST_BOX = 10.0
_LARGEST = 1e6
"""Of anything measured in pixels, metres or radians; what is larger overflows when it is squared in float32."""
_CHECKED = ("keypoints_2d", "keypoints_3d", "global_orient", "body_pose", "betas", "translation", "K")


@dataclass(frozen=True)
class StoreOptions:
    """How pictures are stored: ``margin``: side of what is kept by that of the box, and more where a ViT sees more;
    ``pixels``: to the side of the box, at most; ``quality`` of the JPEG."""

    margin: float = 1.5
    pixels: int = 256
    quality: int = 95


@dataclass
class PrepareReport:
    """What happened: people and photographs by split, shards that an earlier run had left, what was left out."""

    people: Counter[str] = field(default_factory=Counter)
    photos: int = 0
    shards: int = 0
    resumed: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """A part, its place among all, and the place below which its photographs are held out."""

    part: ReadTask
    out: Path
    number: int
    key: str
    options: StoreOptions
    held_out: float

    def path(self, split: str) -> Path:
        return self.out / f"{split}-{self.number:05d}.h5"

    def split(self, photo: ImageRecord) -> str:
        return "val" if self.held_out and place(photo) < self.held_out else self.part.split

    @property
    def splits(self) -> list[str]:
        """Where a shard of this part may lie, also one of an earlier run that held out others."""
        return list(dict.fromkeys((self.part.split, "val")))


@dataclass(frozen=True)
class _Made:
    """Shards, one a split that somebody was left for; photographs seen, what was left out; whether they were there."""

    shards: list[Shard]
    photos: int
    broken: list[tuple[str, str]]
    skipped: dict[str, int]
    resumed: bool = False


def prepare_shards(
    name: str,
    sources: list[Path],
    out: str | Path,
    reading: ReadOptions,
    storing: StoreOptions,
    *,
    command: str = "",
    workers: int | None = None,
    progress: Callable[[int, int, int], object] | None = None,
) -> PrepareReport:
    """Read ``sources`` by the reader of the format ``name`` and fill the folder ``out`` with shards and their index.

    A broken photograph or person is left out and listed, in the report and in ``out/left_out.txt``. After a kill the
    same call makes only the shards that are missing. ``progress(done, total, people)`` counts shards. Raises
    ``UserError`` where nobody remains, a source cannot be read at all, or ``out`` holds other data.
    """
    out = Path(out)
    described = {"format": name, "sources": [str(path) for path in sources]}
    _refuse_other(out, described)
    content = reader(name)(sources, reading)
    parts = list(content.parts)
    below, held_out = held_out_below(parts, reading.val_share)
    salt = json.dumps([_VERSION, name, asdict(storing)])
    jobs = []
    for number, part in enumerate(parts):
        limit = below if part.split == "train" else 0.0
        key = _digest(f"{salt} {part.key}" + (f" held out below {limit!r}" if limit else ""))
        jobs.append(_Job(part, out, number, key, storing, limit))
    report = PrepareReport()
    shards: list[Shard] = []
    out.mkdir(parents=True, exist_ok=True)
    if progress is not None:
        progress(0, len(jobs), 0)
    with closing(map_in_order(_make, jobs, max(1, min(workers or available_cores(), len(jobs))))) as results:
        for done, result in enumerate(results, 1):
            report.broken += result.broken
            report.skipped.update(result.skipped)
            report.photos += result.photos
            report.resumed += len(result.shards) if result.resumed else 0
            shards += result.shards
            for shard in result.shards:
                report.people[shard.split] += shard.count
            if progress is not None:
                progress(done, len(jobs), report.people.total())
    report.shards = len(shards)
    report.about = {
        **described,
        **content.about,
        **asdict(storing),
        "command": command,
        "photos": report.photos,
        "left_out": len(report.broken),
        "skipped": dict(report.skipped),
        **({"held_out": held_out} if held_out else {}),
        "box_shapes": name != "synthetic",  # whose pictures end where their boxes do
    }
    write_text_atomically(out / LEFT_OUT, "".join(f"{item}\t{reason}\n" for item, reason in report.broken))
    if not shards:
        raise _nobody(report, name, out)
    index = {
        "format": INDEX_FORMAT,
        "format_version": INDEX_VERSION,
        "attributes": report.about,
        "shards": [asdict(shard) for shard in shards],
    }
    write_text_atomically(out / INDEX, json.dumps(index, indent=1) + "\n")
    return report


def _nobody(report: PrepareReport, name: str, out: Path) -> UserError:
    got = ", ".join(f"{reason}: {count}" for reason, count in sorted(report.skipped.items())) or "no photographs"
    if report.broken:
        got = report.broken[0][1].rstrip(".")
        got += f" (and {len(report.broken) - 1:,} more, listed in {out / LEFT_OUT})" if len(report.broken) > 1 else ""
    step = None if report.broken else f"Check that this is {name} data"  # a reason has its own advice
    if any("No image at" in reason for _, reason in report.broken):
        step = "Images that lie elsewhere are given with --images"
    return fail(f"Nobody was found in {', '.join(report.about['sources'])}", got=got, next_step=step)


def _refuse_other(out: Path, described: dict[str, Any]) -> None:
    if out.exists() and not out.is_dir():
        raise fail(f"{out} is a file", expected="a folder for shards", next_step="Choose another folder")
    try:
        attributes = json.loads((out / INDEX).read_bytes())["attributes"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        raise fail(f"{out / INDEX} is something else", next_step="Choose another folder") from None
    if {name: attributes.get(name) for name in described} != described:
        got = f"{attributes.get('format')} from {', '.join(map(str, attributes.get('sources', [])))}"
        raise fail(f"{out} holds other data", got=got, next_step="Choose another folder")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _make(job: _Job) -> _Made:
    """Read one part into its shard, or into two where some is held out, unless they are there."""
    existing = {split: about_shard(job.path(split)) for split in job.splits}
    current = {split: about for split, about in existing.items() if about is not None and about.get("key") == job.key}
    if current:
        about = next(iter(current.values()))
        if current.keys() == set(about.get("splits", [job.part.split])):
            broken = [(str(item), str(reason)) for item, reason in about["broken"]]
            shards = [
                Shard(
                    job.path(split).name,
                    split,
                    shard["count"],
                    shard["digest"],
                    [(str(a), int(b)) for a, b in shard["sequences"]],
                )
                for split, shard in current.items()
            ]
            return _Made(shards, about["photos"], broken, about["skipped"], resumed=True)
    cv2.setNumThreads(1)
    rows: dict[str, list[Row]] = {split: [] for split in job.splits}
    broken, skipped, photos = [], Counter[str](), 0
    for item in job.part.photos():
        if isinstance(item, ImageRecord):
            photos += 1
            people, left_out = people_of(item, job.options)
            rows[job.split(item)] += people
        else:
            left_out = [item]
        broken += [(skip.name, skip.reason.removeprefix(f"{skip.name}: ")) for skip in left_out if skip.broken]
        skipped.update(skip.reason for skip in left_out if not skip.broken)
    shards = []
    splits = [split for split, people in rows.items() if people]
    for split, people in rows.items():
        if not people:
            job.path(split).unlink(missing_ok=True)
            continue
        sequences = runs([row["sequence"] for row in people])
        about = {
            "key": job.key,
            "split": split,
            "splits": splits,
            "count": len(people),
            "photos": photos,
            "broken": broken,
            "skipped": dict(skipped),
            "sequences": sequences,
        }
        digest = write_shard(job.path(split), people, about)
        shards.append(Shard(job.path(split).name, split, len(people), digest, sequences))
    return _Made(shards, photos, broken, dict(skipped))


def people_of(photo: ImageRecord, options: StoreOptions) -> tuple[list[Row], list[SkippedItem]]:
    """Rows of a shard, one a person, and what of the photograph cannot be taken."""
    if not photo.people:
        return [], [SkippedItem(photo.name, "nobody in the picture", broken=False)]
    try:
        image = _pixels(photo)
        _check_size(photo, image)
    except (UserError, OSError) as error:
        return [], [SkippedItem(photo.name, str(error))]
    rows, left = [], []
    for number, person in enumerate(photo.people):
        where = photo.name if len(photo.people) == 1 else f"{photo.name}, person {number}"
        try:
            rows.append(_row(photo, image, person, where, options))
        except UserError as error:
            left.append(SkippedItem(where, str(error)))
    return rows, left


def _pixels(photo: ImageRecord) -> np.ndarray:
    if isinstance(photo.image, np.ndarray):
        image = photo.image
    elif isinstance(photo.image, bytes):
        image = decode_image(photo.image, photo.name)
    else:
        image = read_image(photo.image)
    return np.rot90(image, -1) if photo.turned else image


def _check_size(photo: ImageRecord, image: np.ndarray) -> None:
    """Raise ``UserError`` where other pixels were annotated than those of the image, turned as its EXIF says."""
    height, width = image.shape[:2]
    if photo.size is None or photo.size == (width, height):
        return
    how = "has another size than its annotation says"
    step = "Give the images that were annotated, at the size they had then"
    if photo.size == (height, width) and isinstance(photo.image, Path):
        orientation = read_header(photo.image).orientation
        if orientation is None or orientation > 4:
            how = "is turned by its EXIF, and was annotated as it is stored, lying on its side"
            step = "Save it without EXIF, the right way up, and annotate that; or use a program that turns pictures"
    expected = f"{photo.size[0]} × {photo.size[1]}"
    raise fail(f"{photo.name} {how}", got=f"{width} × {height} pixels", expected=expected, next_step=step)


@lru_cache
def _assumed_K(width: int, height: int) -> np.ndarray:
    return assumed_intrinsics(width, height).numpy()


def _row(photo: ImageRecord, image: np.ndarray, person: Person, where: str, options: StoreOptions) -> Row:
    height, width = image.shape[:2]
    box = np.asarray(person.box, dtype=np.float64)
    if not np.isfinite(box).all():
        raise fail(f"The box of {where} is not finite", got=box.tolist())
    x0, y0, x1, y1 = box.tolist()
    check_box((x0, y0, x1, y1), width, height, where)
    if max(x1 - x0, y1 - y0) > _LARGEST_BOX * max(width, height):
        raise fail(
            f"The box of {where} is far larger than its image",
            got=f"{x1 - x0:g} × {y1 - y0:g} px",
            expected=f"about {width} × {height}, in pixels",
        )
    values = {name: getattr(person, name) for name in _CHECKED}
    # A comparison with NaN is false, too.
    wrong = [name for name, value in values.items() if value is not None and not (np.abs(value) < _LARGEST).all()]
    if wrong:
        raise fail(
            f"{', '.join(wrong)} of {where} hold numbers that are not finite, or beyond all measure",
            expected=f"below {_LARGEST:g}",
        )
    for name in ("keypoints_2d", "keypoints_3d"):
        if values[name] is None:
            continue
        values[name] = capped_confidences(values[name])
        sure = values[name][:, -1]
        if not ((sure >= 0) & (sure <= 1)).all():
            raise fail(
                f"{name} of {where} have confidences that are none",
                expected="0 to 1",
                got=f"{sure.min():g} to {sure.max():g}",
            )
    if values["K"] is None:
        values["K"] = _assumed_K(width, height)
    square = square_box(torch.from_numpy(box), margin=1.0).numpy()
    # A ViT is evaluated on wider crops, see ``prediction_box``: they must lie within what is stored.
    widest = prediction_box(torch.from_numpy(box), VIT_ASPECT).numpy()
    margin = max(options.margin, (widest[2] - widest[0]) / (square[2] - square[0]))
    return {
        **person_columns(values),
        **encode_person(image, square, margin=margin, pixels=options.pixels, quality=options.quality),
        "box": square,
        "extent": box[2:] - box[:2],
        "image_size": np.array([width, height]),
        "gender": GENDERS.index(person.gender),
        "true_3d": person.true_3d,
        "name": photo.name,
        "sequence": photo.sequence,
    }


_BITS = 53
"""Of a hash: as many as a float64 holds exactly."""
_FEW = 200
"""Sequences or photographs, below which chance alone would hold out far too many, or none."""


def place(photo: ImageRecord) -> float:
    """Where a photograph falls between 0 and 1: by its sequence, else by its name."""
    name = f"sequence {photo.sequence}" if photo.sequence else f"photo {photo.name}"
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> (64 - _BITS)) / 2**_BITS


def held_out_below(parts: Sequence[ReadTask], share: float) -> tuple[float, str]:
    """The place below which photographs of the split ``train`` are held out as ``val``, and what is to be said of it.

    That is ``share``; of few, where the parts are listed already, it is the place that holds out that share of them to
    the nearest one, and leaves neither side empty. What is a single sequence (or photograph) stays in train. Raises
    ``UserError`` for a share that is none, or without a split ``train``.
    """
    if not 0 <= share < 1:
        raise fail("That is no share to hold out", got=f"{share:g}", expected="0 or more, and less than 1")
    if not share:
        return 0.0, ""
    training = [part for part in parts if part.split == "train"]
    if not training:
        raise fail(
            "There is no split 'train' to hold out of",
            got=", ".join(sorted({part.split for part in parts})),
            next_step="Give --split train",
        )
    description = f"{share:.3g} of the sequences, or of the photographs without one, by a hash of their names"
    if not all(isinstance(part, ListedTask) for part in training):
        return share, description
    photos = [item for part in training if isinstance(part, ListedTask) for item in part.items]
    places = sorted({place(photo) for photo in photos if isinstance(photo, ImageRecord) and photo.people})
    if len(places) < 2:
        sequential = any(isinstance(item, ImageRecord) and item.sequence for item in photos)
        unit = "one sequence" if sequential else "one photograph"
        return 0.0, f"nothing: all of it is {unit}, which stays in train"
    if len(places) >= _FEW:
        return share, description
    return places[min(max(round(share * len(places)), 1), len(places) - 1)], description
