"""Ways from the bytes of a JPEG to the crop a regressor is trained on, for ``bench_crops`` to time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from regressor.datasets.cropping import Framing, crop_stored, decode_as_needed, read_crop, scale_of

_MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)
_STD = 255 * np.array([0.229, 0.224, 0.225], np.float32)
_BYTES = np.arange(256, dtype=np.float32)[:, None]


@dataclass(frozen=True)
class Task:
    """The bytes of a JPEG; what is to be seen of it; a factor for each channel; and the same person as a shard has it:
    a JPEG and the rectangle (4,) of the image that it shows."""

    data: bytes
    framing: Framing
    gain: tuple[float, float, float]
    shard_jpeg: bytes
    shard_rectangle: np.ndarray


def decode(task: Task, size: int) -> np.ndarray:
    """The whole image, and no more: what no way that decodes whole images can be faster than."""
    image = cv2.imdecode(np.frombuffer(task.data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "encoded by the benchmark"
    return image


def decode_needed(task: Task, size: int) -> np.ndarray:
    """The image no finer than ``here`` needs it, and no more."""
    image, _ = decode_as_needed(task.data, task.framing.image_from_crop(size))
    assert image is not None, "encoded by the benchmark"
    return image


def published(task: Task, size: int) -> np.ndarray:
    """The steps that the published loader is known to take, one after the other → (3,size,size) float32, normalised.

    The whole image is decoded, converted, blurred if it is to be enlarged (its factor against aliasing is inverted),
    and mirrored; then sampled; colour by channel and normalisation are in floating point. Not its code: each step is
    one call of OpenCV or NumPy, on bytes as long as it goes.
    """
    image = cv2.cvtColor(decode(task, size), cv2.COLOR_BGR2RGB)
    matrix = task.framing.image_from_crop(size)
    inverted = 1 / scale_of(matrix)
    if inverted > 1:
        image = cv2.GaussianBlur(image, (0, 0), inverted / 2)
    image, matrix = _mirrored(image, matrix, task.framing.mirror)
    crop = _sampled(image, matrix, size, cv2.BORDER_CONSTANT).astype(np.float32).transpose(2, 0, 1)
    crop = np.stack([np.clip(channel * gain, 0, 255) for channel, gain in zip(crop, task.gain, strict=True)])
    return (crop - _MEAN[:, None, None]) / _STD[:, None, None]


def plain(task: Task, size: int, *, blur: bool = False) -> np.ndarray:
    """The whole image, sampled without antialiasing, as published crops are; but colour by table → (size,size,3) uint8.

    ``blur``: against aliasing, the whole image.
    """
    image = cv2.cvtColor(decode(task, size), cv2.COLOR_BGR2RGB)
    matrix = task.framing.image_from_crop(size)
    if blur and scale_of(matrix) > 1:
        image = cv2.GaussianBlur(image, (0, 0), scale_of(matrix) / 2)
    image, matrix = _mirrored(image, matrix, task.framing.mirror)
    return coloured(_sampled(image, matrix, size, cv2.BORDER_REPLICATE), task.gain)


def smoothed(task: Task, size: int) -> np.ndarray:
    """As ``plain``, but the whole image is blurred against aliasing before it is sampled."""
    return plain(task, size, blur=True)


def here(task: Task, size: int) -> np.ndarray:
    """As this project reads photographs → (size,size,3) uint8; the network normalises."""
    return coloured(read_crop(task.data, task.framing, size), task.gain)


def here_normalised(task: Task, size: int) -> np.ndarray:
    """``here`` as ``published`` leaves it → (3,size,size) float32, normalised: colour and that in one table."""
    table = (((_BYTES * np.array(task.gain, np.float32)).clip(0, 255)) - _MEAN) / _STD
    crop = cv2.LUT(read_crop(task.data, task.framing, size), table[None])
    return np.stack(cv2.split(crop))


def here_shards(task: Task, size: int) -> np.ndarray:
    """As this project trains, from shards that ``prepare`` made once → (size,size,3) uint8."""
    return coloured(crop_stored(task.shard_jpeg, task.shard_rectangle, task.framing, size), task.gain)


WAYS: dict[str, Callable[[Task, int], np.ndarray]] = {
    "decode": decode,
    "decode_needed": decode_needed,
    "published": published,
    "plain": plain,
    "smoothed": smoothed,
    "here": here,
    "here_normalised": here_normalised,
    "here_shards": here_shards,
}


def coloured(crop: np.ndarray, gain: tuple[float, float, float]) -> np.ndarray:
    """A crop (S,S,3) uint8 with each channel by its factor, by table."""
    return cv2.LUT(crop, (_BYTES * np.array(gain, np.float32)).clip(0, 255).astype(np.uint8)[None])


def seconds_of(way: str, tasks: list[Task], size: int) -> float:
    """Return seconds of processor time, on which other jobs have little effect."""
    began = time.process_time()
    for task in tasks:
        WAYS[way](task, size)
    return time.process_time() - began


def rate_of(job: tuple[str, list[Task], int, float]) -> float:
    """Images a second, by the clock, of a way that runs for so many seconds; OpenCV has one thread."""
    way, tasks, size, seconds = job
    cv2.setNumThreads(1)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        WAYS[way](tasks[count % len(tasks)], size)
        count += 1
    return count / (time.perf_counter() - began)


def _mirrored(image: np.ndarray, matrix: np.ndarray, mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    """The whole image mirrored, or not, and the map to it."""
    if not mirror:
        return image, matrix
    matrix = matrix.copy()
    matrix[0] = np.array([0, 0, image.shape[1] - 1]) - matrix[0]
    return cv2.flip(image, 1), matrix


def _sampled(image: np.ndarray, matrix: np.ndarray, size: int, border: int) -> np.ndarray:
    """A crop by one call of OpenCV, bilinearly, whatever the scale."""
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)
