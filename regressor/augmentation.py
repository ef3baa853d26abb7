"""Changes of training crops that keep every annotation exact: roll, zoom and shift of the crop, colour, noise."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from .config import AugmentConfig
from .datasets.sample import Sample


def augment(
    sample: Sample, config: AugmentConfig, generator: torch.Generator, pelvis: Tensor, *, first: int = 0,
    total: int | None = None,
) -> Sample:  # fmt: skip
    """A new sample, on the CPU, from a batch; the given one is not changed. Every draw comes from ``generator``.

    ``pelvis`` (B,3): where each body's pelvis rests, see ``reframe``. Of a batch of ``total`` samples this may be the
    part from ``first``: draws are made for all of it, and the part comes out as it would in the whole.
    """
    count = len(sample["image"])
    own, total = slice(first, first + count), total or count

    def draw(spread: float, *shape: int) -> Tensor:
        return (2 * torch.rand(total, *shape, generator=generator)[own] - 1) * spread

    roll, zoom, shift = draw(math.radians(config.rotate_deg)), torch.exp(draw(config.scale)), draw(config.shift, 2)
    out = reframe(sample, roll, zoom, shift, pelvis)
    if config.colour or config.noise:
        gain = 1 + draw(config.colour, 1, 1, 1) + draw(config.colour / 4, 3, 1, 1)
        offset = draw(64 * config.colour, 1, 1, 1)
        image = out["image"].float() * gain + offset
        if config.noise:
            strength = draw(255 * config.noise, 1, 1, 1).abs()
            image += strength * torch.randn(total, *image.shape[1:], generator=generator)[own]
        out["image"] = image.clamp_(0, 255).to(torch.uint8)
    return out


def reframe(sample: Sample, roll: Tensor, zoom: Tensor, shift: Tensor, pelvis: Tensor) -> Sample:
    """The same people by a camera rolled about its axis by ``roll`` (B,) radians (clockwise in the image), cropped to
    a box ``zoom`` (B,) times as large and moved by ``shift`` (B,2) of the old box.

    A roll about the optical axis turns the image about the principal point without distorting it (square pixels taken
    for granted), so that crop, keypoints, orientation, translation, and box stay exactly true to each other. Bodies
    turn about ``pelvis`` (B,3), its place at rest, which therefore enters the translation. Only the full image's size
    then no longer describes a rectangle around it.
    """
    cosine, sine = roll.cos(), roll.sin()
    zero, one = torch.zeros_like(roll), torch.ones_like(roll)
    turn2 = torch.stack([cosine, -sine, sine, cosine], -1).view(-1, 2, 2)
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

    # Old pixel from new: turn back (new · zoom + shift), in units of the crop about its centre.
    back = turn2.transpose(1, 2)
    linear = back * zoom[:, None, None]
    edge = sample["image"].shape[-1]
    middle = torch.full((2, 1), edge / 2 - 0.5)
    offset = middle + edge * (back @ shift[..., None]) - linear @ middle
    out["image"] = _warp(sample["image"], torch.cat([linear, offset], -1).double().numpy())
    return out


def _warp(images: Tensor, old_from_new: np.ndarray) -> Tensor:
    """uint8 (B,3,S,S) resampled bilinearly by matrices (B,2,3) of pixel indices; beyond the edge the edge goes on."""
    source = images.permute(0, 2, 3, 1).contiguous().numpy()
    target = np.empty_like(source)
    size = (source.shape[2], source.shape[1])
    for old, new, matrix in zip(source, target, old_from_new, strict=True):
        cv2.warpAffine(old, matrix, size, new, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE)
    return torch.from_numpy(target).permute(0, 3, 1, 2)
