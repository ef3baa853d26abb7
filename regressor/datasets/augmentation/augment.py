"""Augmentation of training crops with exact annotation.

Mirror images, rotation, zoom, shift, extreme crops, patches, colour, noise.

Each sample has its own random draws, whatever else is in its batch; its picture is resampled once. Extreme crops close
in on a part of the body, as a door frame cuts people off. Patches (Cutout, DeVries and Taylor, 2017; CutPaste, Li et
al., CVPR 2021) hide a part of the image, and leave the annotation as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer.body.skeleton import KEYPOINT_NAMES

from ...config import AugmentConfig
from ...sample import Sample
from ..cropping import Framing, PictureOf, as_images, own_pictures
from .mirroring import mirror_annotation

_COLUMNS = {
    "roll": 1,
    "zoom": 1,
    "shift": 2,
    "roll_chosen": 1,
    "zoom_chosen": 1,
    "shift_chosen": 1,
    "flip": 1,
    "extreme": 1,
    "part": 4,
    "patch": 1,
    "cover": 10,
    "gain": 1,
    "tint": 3,
    "offset": 1,
    "colour_chosen": 1,
    "noise": 1,
    "noise_chosen": 1,
}
"""What is drawn for each sample, evenly from [0, 1), whether or not it is used: no setting moves another's draws."""


_SERIES = 1 << 20


@dataclass(frozen=True)
class Changes:
    """How the frames of samples change: ``flip`` (B,) bool, ``roll`` (B,), ``zoom`` (B,), ``shift`` (B,2), as in
    ``Framing``."""

    flip: Tensor
    roll: Tensor
    zoom: Tensor
    shift: Tensor


def augment(
    sample: Sample,
    config: AugmentConfig,
    seeds: Sequence[Sequence[int]],
    pelvis: Tensor,
    picture: PictureOf | None = None,
) -> Sample:
    """A new sample, on the CPU, from a batch; the given one is not changed.

    In this order: mirror, roll, zoom and shift, or a frame around a part of the body instead of the last two; a patch
    in front; colour; noise. ``seeds``: of each sample, the only source of its draws. ``pelvis`` (B,3): where each
    body's pelvis rests, see ``reframe``. ``picture`` takes crops from elsewhere than the given images, which then
    may be empty.
    """
    generators = [np.random.default_rng(list(seed)) for seed in seeds]
    drawn = np.stack([generator.random(sum(_COLUMNS.values())) for generator in generators])
    ends = np.cumsum([*_COLUMNS.values()])
    draws = dict(zip(_COLUMNS, np.split(drawn, ends[:-1], axis=1), strict=True))
    flip = torch.from_numpy(draws["flip"][:, 0] < config.flip)
    mirrored = mirror_annotation(sample, flip, pelvis)
    changes = _changes(mirrored, flip, config, draws)
    out = reframe_annotation(mirrored, changes.roll, changes.zoom, changes.shift, pelvis)
    frames = framings(sample["box"], changes)
    picture = picture or own_pictures(sample["image"])

    def crop(i: int) -> np.ndarray:
        plain = picture(i, frames[i])
        if draws["patch"][i, 0] < config.patch:
            plain = cover(plain, draws["cover"][i])
        return _recoloured(plain, config, {name: values[i] for name, values in draws.items()}, generators[i])

    out["image"] = as_images(map(crop, range(len(frames))), len(frames))
    return out


def _changes(sample: Sample, flip: Tensor, config: AugmentConfig, draws: dict[str, np.ndarray]) -> Changes:
    def drawn(name: str, spread: float, share: float) -> Tensor:
        values = (2 * draws[name] - 1) * spread * (draws[f"{name}_chosen"] < share)
        return torch.from_numpy(values).float().squeeze(-1)

    roll = drawn("roll", math.radians(config.rotate_deg), config.rotate_share)
    zoom, shift = (
        drawn("zoom", config.scale, config.scale_share).exp(),
        drawn("shift", config.shift, config.shift_share),
    )
    rolled = sample["keypoints_2d"].clone()
    rolled[..., :2] = rolled[..., :2] @ _turn(roll).transpose(1, 2)
    close_zoom, close_shift, is_close = close_crops(rolled, draws["extreme"][:, 0] < config.extreme, draws["part"])
    zoom, shift = torch.where(is_close, close_zoom, zoom), torch.where(is_close[:, None], close_shift, shift)
    return Changes(flip, roll, zoom, shift)


def framings(box: Tensor, changes: Changes) -> list[Framing]:
    """What the changed crops show, for boxes (B,4) in pixels of whatever they are cut from."""
    columns = (box.double(), changes.flip, changes.roll.double(), changes.zoom.double(), changes.shift.double())
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Framing(tuple(corners), flip, roll, zoom, tuple(shift)) for corners, flip, roll, zoom, shift in rows]


def _recoloured(
    crop: np.ndarray, config: AugmentConfig, draws: dict[str, np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """A crop (S,S,3) uint8 in another light, by table, and with noise, both of the configured strengths."""
    even = {name: 2 * values - 1 for name, values in draws.items()}
    if draws["colour_chosen"][0] < config.colour_share:
        if config.colours == "channels":
            gain, offset = 1 + config.colour * even["tint"], np.zeros(1)
        else:
            gain = 1 + config.colour * even["gain"] + config.colour / 4 * even["tint"]
            offset = 64 * config.colour * even["offset"]
        table = (np.arange(256)[:, None] * gain + offset).round().clip(0, 255).astype(np.uint8)
        crop = cv2.LUT(crop, table[None])
    strength = 255 * config.noise * draws["noise"][0] * (draws["noise_chosen"][0] < config.noise_share)
    if strength > 0:
        # A piece of one long series: drawing each number anew would take half of the time of all changes together.
        series = _normal_series(max(_SERIES, 2 * crop.size))
        first = generator.integers(len(series) - crop.size)
        noise = series[first : first + crop.size].reshape(crop.shape)
        crop = cv2.add(crop, np.float32(strength) * noise, dtype=cv2.CV_8U)  # rounds, and stays within 0 to 255
    return crop


@lru_cache(maxsize=1)
def _normal_series(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(count, dtype=np.float32)


def _turn(roll: Tensor) -> Tensor:
    """Matrices (B,2,2) that turn the image clockwise by ``roll`` (B,)."""
    cosine, sine = roll.cos(), roll.sin()
    return torch.stack([cosine, -sine, sine, cosine], -1).view(-1, 2, 2)


def reframe(sample: Sample, roll: Tensor, zoom: Tensor, shift: Tensor, pelvis: Tensor) -> Sample:
    """The same people by a camera rolled about its axis by ``roll`` (B,) radians (clockwise in the image), cropped to
    a box ``zoom`` (B,) times as large and moved by ``shift`` (B,2) of the old box: images and ``reframe_annotation``.
    """
    out = reframe_annotation(sample, roll, zoom, shift, pelvis)
    picture = own_pictures(sample["image"])
    changes = Changes(torch.zeros(len(roll), dtype=torch.bool), roll, zoom, shift)
    crops = (picture(number, framing) for number, framing in enumerate(framings(sample["box"], changes)))
    out["image"] = as_images(crops, len(roll))
    return out


def reframe_annotation(sample: Sample, roll: Tensor, zoom: Tensor, shift: Tensor, pelvis: Tensor) -> Sample:
    """``reframe`` without the images, which stay as they are.

    A roll about the optical axis turns the image about the principal point without distorting it (square pixels taken
    for granted), so that crop, keypoints, orientation, translation, and box stay exactly true to each other. Bodies
    turn about ``pelvis`` (B,3), its place at rest, which therefore enters the translation. Only the full image's size
    then no longer describes a rectangle around it.
    """
    cosine, sine = roll.cos(), roll.sin()
    zero, one = torch.zeros_like(roll), torch.ones_like(roll)
    turn2 = _turn(roll)
    turn3 = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], -1).view(-1, 3, 3)

    out = sample.copy()
    keypoints = sample["keypoints_2d"].clone()
    turned = keypoints[..., :2] @ turn2.transpose(1, 2)
    keypoints[..., :2] = (turned - shift[:, None]) / zoom[:, None, None]
    out["keypoints_2d"] = keypoints
    points = sample["keypoints_3d"].clone()
    points[..., :3] = points[..., :3] @ turn3.transpose(1, 2)
    out["keypoints_3d"] = points
    out["global_orient"] = turn3 @ sample["global_orient"]
    out["translation"] = (turn3 @ (sample["translation"] + pelvis)[..., None])[..., 0] - pelvis

    low, high = sample["box"][:, :2], sample["box"][:, 2:]
    principal, size = sample["K"][:, :2, 2], (high - low)[:, :1]
    centre = principal + (turn2 @ ((low + high) / 2 - principal)[..., None])[..., 0] + shift * size
    half = 0.5 * size * zoom[:, None]
    out["box"] = torch.cat([centre - half, centre + half], -1)
    return out


_ARMS = ("shoulder", "elbow", "wrist")
_LEGS = ("hip", "knee", "ankle", "big_toe", "heel")
_PARTS = {
    "upper body": ("nose", "neck", *(f"{side}_{name}" for side in ("left", "right") for name in (*_ARMS, "hip"))),
    "torso": tuple(f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "hip")),
    "head": ("nose", "neck", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    "legs": tuple(f"{side}_{name}" for side in ("left", "right") for name in _LEGS),
    "left arm": tuple(f"left_{name}" for name in _ARMS),
    "right arm": tuple(f"right_{name}" for name in _ARMS),
    "left leg": tuple(f"left_{name}" for name in _LEGS),
    "right leg": tuple(f"right_{name}" for name in _LEGS),
}
PARTS: dict[str, tuple[int, ...]] = {
    part: tuple(i for i, keypoint in enumerate(KEYPOINT_NAMES) if keypoint.removeprefix("lsp_") in names)
    for part, names in _PARTS.items()
}
"""What a frame can close in on: indices of keypoints, those of LSP among them, since a data set may know only one kind
of them."""

_LEAST_KNOWN = 3
_LEAST_SIDE = 0.2
"""Of the old box: in smaller frames hardly a pixel is left of an ordinary crop."""
_MARGIN = (1.1, 1.6)


def close_crops(keypoints: Tensor, chosen: np.ndarray, draws: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Frames around a random part of each body: ``zoom`` (B,) and ``shift`` (B,2) as ``augmentation.reframe`` takes
    them, and ``is_close`` (B,) bool, where there is such a frame.

    ``keypoints`` (B,44,3): in crop units with confidence, as rolled as the frame will be. Of those ``chosen`` (B,) bool
    a part is drawn, by ``draws`` (B,4) from [0, 1); where fewer than 3 of its keypoints are known and inside the crop,
    there is no frame.
    """
    zoom, shift = torch.ones(len(keypoints)), torch.zeros(len(keypoints), 2)
    is_close = torch.zeros(len(keypoints), dtype=torch.bool)
    parts = list(PARTS.values())
    for i in np.flatnonzero(chosen).tolist():
        part = parts[int(draws[i, 0] * len(parts))]
        points = keypoints[i, list(part)]
        points = points[(points[:, 2] > 0) & (points[:, :2].abs() < 0.5).all(1), :2]
        if len(points) < _LEAST_KNOWN:
            continue
        low, high = points.amin(0), points.amax(0)
        margin = _MARGIN[0] + float(draws[i, 1]) * (_MARGIN[1] - _MARGIN[0])
        side = ((high - low).amax() * margin).clamp(_LEAST_SIDE, 1.0)
        zoom[i], is_close[i] = side, True
        shift[i] = (low + high) / 2 + torch.from_numpy(draws[i, 2:] - 0.5) * 0.2 * side
    return zoom, shift, is_close


_SIDES = (0.1, 0.4)
_FLAT = 0.5


def cover(image: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """A new image (S,S,3) uint8 with one rectangle on it, anywhere, by ``draws`` (10,) from [0, 1).

    Its sides are 10 to 40 % of the crop's, its middle is inside the crop. It shows one colour or, as often, what is at
    another place of the same image.
    """
    edge = len(image)
    sides = np.maximum(1, (edge * (_SIDES[0] + draws[:2] * (_SIDES[1] - _SIDES[0]))).round().astype(int))
    low = (draws[2:4] * edge - sides / 2).round().astype(int)
    high, low = np.clip(low + sides, 1, edge), np.clip(low, 0, edge - 1)
    out = image.copy()
    if draws[4] < _FLAT:
        out[low[0] : high[0], low[1] : high[1]] = (256 * draws[5:8]).astype(np.uint8)
    else:
        size = high - low
        top, left = (draws[8:10] * (edge - size + 1)).astype(int)
        out[low[0] : high[0], low[1] : high[1]] = image[top : top + size[0], left : left + size[1]]
    return out
