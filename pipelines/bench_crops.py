"""How fast crops come out of JPEG files: decoded, cut, mirrored, rolled, zoomed, shifted and coloured, on one core.

Beside it, in turns in the same process, a plain implementation: the whole image decoded, converted and mirrored, then
sampled without antialiasing, as published crops are. Both have the same images, boxes and draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from regressor.datasets.appearance import varied_background
from regressor.datasets.crops import read_image
from regressor.datasets.read_crop import read_crop
from regressor.datasets.warp import Framing, scale_of, warp

SIZES = {"640x480": (640, 480), "1080p": (1920, 1080)}
RECORDED = {"640x480": "98–117", "1080p": "24–30"}
"""Images a second recorded from the published loader, on 2 shared cores of another machine, its images unknown."""

_NOTE = (
    "Decode, crop and augmentation; images a second of one core's own time. Plain does not antialias. "
    "Recorded: the published loader on 2 shared cores, other images; not measured here."
)
_QUALITY = 95
_BOX_SHARES = (0.5, 0.9)


@dataclass(frozen=True)
class _Task:
    data: bytes
    framing: Framing
    gain: tuple[float, float, float]


def bench_crops(
    *, count: int = 16, repeats: int = 5, size: int = 256, image: Path | None = None, seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One dict for each of ``SIZES``: images a second of both ways and what is between their crops.

    A second is one of this process's processor time; OpenCV has one thread meanwhile. ``count`` JPEG images of quality
    95 are drawn, or all made of the file ``image``; boxes have 50 to 90 % of the image's height. The best of
    ``repeats`` rounds counts.
    """
    draw = np.random.default_rng(seed)
    tell = say or (lambda text: None)
    picture = None if image is None else read_image(image)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rows = []
        for name, (width, height) in SIZES.items():
            tell(f"{name}: {repeats} rounds of {count} images in memory, on one core")
            tasks = [_task(width, height, picture, draw) for _ in range(count)]
            rounds = [[_seconds(way, tasks, size) for way in (plain, smoothed, fast)] for _ in range(repeats)]
            best = np.min(rounds, axis=0)
            apart = [np.abs(plain(task, size).astype(int) - fast(task, size)).mean() for task in tasks]
            rows.append({
                "images": name, "kilobytes": round(sum(len(task.data) for task in tasks) / count / 1000),
                "plain_per_s": count / best[0], "smoothed_per_s": count / best[1], "fast_per_s": count / best[2],
                "ratio": float(best[0] / best[2]), "ratios": [a / b for a, _, b in rounds],
                "recorded_per_s": RECORDED[name],
                "apart_grey_levels": float(np.mean(apart)),
            })  # fmt: skip
        return rows
    finally:
        cv2.setNumThreads(threads)


def fast(task: _Task, size: int) -> np.ndarray:
    """The crop (size,size,3) RGB as this project makes it."""
    return _coloured(read_crop(task.data, task.framing, size), task.gain)


def smoothed(task: _Task, size: int) -> np.ndarray:
    """As ``plain``, but the whole image is blurred against aliasing before it is sampled."""
    return plain(task, size, blur=True)


def plain(task: _Task, size: int, *, blur: bool = False) -> np.ndarray:
    """The same from the whole image at full size."""
    decoded = cv2.imdecode(np.frombuffer(task.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, "made by this module"
    image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    matrix = task.framing.image_from_crop(size)
    if blur and scale_of(matrix) > 1:
        image = cv2.GaussianBlur(image, (0, 0), scale_of(matrix) / 2)
    if task.framing.mirror:
        image = cv2.flip(image, 1)
        matrix[0] = np.array([0, 0, image.shape[1] - 1]) - matrix[0]
    return _coloured(warp(image, matrix, size, antialias=False), task.gain)


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The figures as a table, with what they are."""
    lines = ["| JPEG | KB | plain | plain, blurred | here | here ÷ plain (range) | recorded | apart, grey levels |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {row['images']} | {row['kilobytes']} | {row['plain_per_s']:.0f} | "
        f"{row['smoothed_per_s']:.0f} | {row['fast_per_s']:.0f} | "
        f"{row['ratio']:.2f} ({min(row['ratios']):.2f}–{max(row['ratios']):.2f}) | {row['recorded_per_s']} | "
        f"{row['apart_grey_levels']:.1f} |"
        for row in rows
    ]
    return "\n".join([*lines, "", _NOTE])


def _coloured(crop: np.ndarray, gain: tuple[float, float, float]) -> np.ndarray:
    """A crop (S,S,3) uint8 with each channel by its factor, by table."""
    table = (np.arange(256)[:, None] * np.array(gain)).clip(0, 255).astype(np.uint8)
    return cv2.LUT(crop, table[None])


def _seconds(way: Callable[[_Task, int], np.ndarray], tasks: list[_Task], size: int) -> float:
    """Of the processor: other jobs beside this one then hardly count."""
    began = time.process_time()
    for task in tasks:
        way(task, size)
    return time.process_time() - began


def _task(width: int, height: int, picture: np.ndarray | None, draw: np.random.Generator) -> _Task:
    """A JPEG and a frame in it, drawn as the paper's augmentation is, with every change."""
    if picture is None:
        # Fine noise as of a sensor, one tile again and again: without it, JPEG decoding would be too easy.
        tile = np.tile(draw.normal(0, 4, (120, 160, 3)).astype(np.float32), (height // 120, width // 160, 1))
        image = cv2.resize(255 * varied_background(256, draw).astype(np.float32), (width, height)) + tile
    else:
        image = np.asarray(cv2.resize(picture, (width, height)), np.float32)
    pixels = image.clip(0, 255).astype(np.uint8)[..., ::-1]
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    side = draw.uniform(*_BOX_SHARES) * height
    x, y = draw.uniform(side / 2, width - side / 2), draw.uniform(side / 2, height - side / 2)
    roll, zoom = np.radians(draw.uniform(-30, 30)) * (draw.random() < 0.6), 1 + draw.uniform(-0.3, 0.3)
    gain = tuple(draw.uniform(0.8, 1.2, 3).tolist())
    shift = tuple(draw.uniform(-0.02, 0.02, 2).tolist())
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return _Task(data, Framing(box, bool(draw.random() < 0.5), float(roll), float(zoom), shift), gain)
