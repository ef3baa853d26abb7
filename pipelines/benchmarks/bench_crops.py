"""How fast crops come out of JPEG files: decoded, cut, mirrored, rolled, zoomed, shifted and coloured.

Compared with other ways to the same crop, round by round: ``crop_ways``. All have the same images, boxes and draws.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from regressor.datasets.cropping import Framing
from regressor.datasets.image_files import read_image
from regressor.datasets.prepare import StoreOptions
from regressor.datasets.shard_file import encode_person
from regressor.datasets.synthetic.appearance import varied_background
from tokenizer.engine.processes import map_in_order

from .crop_ways import WAYS, Task, here, plain, rate_of, seconds_of

SIZES = {"640x480": (640, 480), "1080p": (1920, 1080)}
RECORDED = {"640x480": "98–117", "1080p": "24–30"}
"""Images a second recorded from the published loader, on 2 shared cores of another machine, its images unknown."""

NAMES = {
    "decode": "decoding the whole image, alone",
    "decode_needed": "decoding as much as needed here, alone",
    "published": "the published loader's steps",
    "plain": "plain: whole image, no antialiasing",
    "smoothed": "plain, whole image blurred",
    "here": "here, from photographs",
    "here_normalised": "here, from photographs, normalised",
    "here_shards": "here, from shards",
}
_NOTE = (
    "A core: images a second of one process's processor time. Two processes: both together, by the clock, with "
    "whatever else the machine does. The published loader's steps (from a description, not its code) end in normalised "
    "floats; elsewhere that is left to the network unless said. Preparing shards, once, is not timed.\n"
    "Recorded from the published loader on 2 shared cores of another machine, from other images, not measured here: "
)
_QUALITY = 95
_BOX_SHARES = (0.5, 0.9)


def bench_crops(
    *,
    count: int = 16,
    repeats: int = 5,
    size: int = 256,
    image: Path | None = None,
    seed: int = 0,
    seconds: float = 0.5,
    say: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """One dict for each of ``SIZES``: images a second of every way of ``WAYS``, on one core and in two processes.

    OpenCV has one thread meanwhile. ``count`` JPEG images of quality 95 are drawn, or all made of the file ``image``;
    boxes have 50 to 90 % of the image's height. The best of ``repeats`` rounds counts; in two processes every way goes
    on for ``seconds`` a round.
    """
    draw = np.random.default_rng(seed)
    tell = say or (lambda text: None)
    picture = None if image is None else read_image(image)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rows, tasks = [], {}
        for name, (width, height) in SIZES.items():
            tell(f"{name}: {repeats} rounds of {count} images in memory, on one core")
            tasks[name] = [_task(width, height, picture, draw) for _ in range(count)]
            rounds = [{way: seconds_of(way, tasks[name], size) for way in WAYS} for _ in range(repeats)]
            apart = [np.abs(plain(task, size).astype(int) - here(task, size)).mean() for task in tasks[name]]
            rows.append(
                {
                    "images": name,
                    "kilobytes": round(sum(len(task.data) for task in tasks[name]) / count / 1000),
                    "per_s": {way: count / min(times[way] for times in rounds) for way in WAYS},
                    "to_plain": {way: [times["plain"] / times[way] for times in rounds] for way in WAYS},
                    "to_published": {way: [times["published"] / times[way] for times in rounds] for way in WAYS},
                    "recorded_per_s": RECORDED[name],
                    "apart_grey_levels": float(np.mean(apart)),
                }
            )
    finally:
        cv2.setNumThreads(threads)
    tell(f"Two processes, about {2 * repeats * len(WAYS) * seconds:.0f} s")
    # Jobs go to whichever process is free, so that both are always at the same way, or at most at neighbouring ones.
    jobs = [(name, way) for _ in range(repeats) for name in SIZES for way in WAYS]
    work = ((way, tasks[name], size, seconds) for name, way in jobs for _ in range(2))
    rates = list(map_in_order(rate_of, work, 2))
    for row in rows:
        row["two_processes_per_s"] = {
            way: max(sum(rates[2 * at : 2 * at + 2]) for at, job in enumerate(jobs) if job == (row["images"], way))
            for way in WAYS
        }
    return rows


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The figures as a table, with what they are."""
    lines = [
        "| JPEG | way | a core | two processes | ÷ published steps (range) | ÷ plain (range) |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for way, name in NAMES.items():
            ratios = [
                f"{np.median(speedups):.2f} ({min(speedups):.2f}–{max(speedups):.2f})"
                for speedups in (row["to_published"][way], row["to_plain"][way])
            ]
            two = row["two_processes_per_s"][way]
            lines.append(
                f"| {row['images']}, {row['kilobytes']} KB | {name} | {row['per_s'][way]:.0f} | {two:.0f} | "
                f"{' | '.join(ratios)} |"
            )
    recorded = ", ".join(f"{row['recorded_per_s']} from {row['images']}" for row in rows)
    apart = ", ".join(f"{row['apart_grey_levels']:.1f}" for row in rows)
    share = ", ".join(f"{row['per_s']['here'] / row['per_s']['decode_needed']:.0%}" for row in rows)
    floor = f"Of the time here, from photographs, {share} is decoding. Plain and here are {apart} grey levels apart."
    return "\n".join([*lines, "", f"{_NOTE}{recorded}.", floor])


def _task(width: int, height: int, picture: np.ndarray | None, draw: np.random.Generator) -> Task:
    """A JPEG and a frame in it, drawn as the paper's augmentation is, with every change; and the shard's picture."""
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
    framing = Framing(box, bool(draw.random() < 0.5), float(roll), float(zoom), shift)
    storing = StoreOptions()
    row = encode_person(
        np.ascontiguousarray(pixels[..., ::-1]),
        np.array(box),
        margin=storing.margin,
        pixels=storing.pixels,
        quality=storing.quality,
    )
    return Task(data, framing, gain, row["jpeg"], row["stored"].astype(np.float32))
