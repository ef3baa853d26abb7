"""Changes of training crops that keep every annotation exact: mirror, roll, zoom and shift, patches, colour, noise."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from .close_crops import close_crops
from .config import AugmentConfig
from .datasets.sample import Sample
from .mirroring import mirror
from .occluders import cover


def augment(sample: Sample, config: AugmentConfig, generator: torch.Generator, pelvis: Tensor) -> Sample:
    """A new sample, on the CPU, from a batch; the given one is not changed. Every draw comes from ``generator``.

    In this order: mirror, roll, zoom and shift, or a frame around a part of the body instead of the last two; a patch
    in front; colour; noise. ``pelvis`` (B,3): where each body's pelvis rests, see ``reframe``.
    """
    count = len(sample["image"])

    def draw(spread: float, *shape: int) -> Tensor:
        return (2 * torch.rand(count, *shape, generator=generator) - 1) * spread

    def chosen(share: float) -> Tensor:
        return torch.rand(count, generator=generator) < share

    def some(values: Tensor, share: float, neutral: Tensor | float = 0.0) -> Tensor:
        """``values`` (B,...) of that share of the samples, and ``neutral`` of the others."""
        if share == 1:
            return values
        return torch.where(chosen(share).view(-1, *[1] * (values.ndim - 1)), values, neutral)

    roll, zoom, shift = draw(math.radians(config.rotate_deg)), torch.exp(draw(config.scale)), draw(config.shift, 2)
    roll, zoom = some(roll, config.rotate_share), some(zoom, config.scale_share, 1.0)
    shift = some(shift, config.shift_share)
    if config.flip:
        sample = mirror(sample, chosen(config.flip), pelvis)
    if config.extreme:
        rolled = sample["keypoints_2d"].clone()
        rolled[..., :2] = rolled[..., :2] @ _turn(roll).transpose(1, 2)
        close_zoom, close_shift, found = close_crops(rolled, chosen(config.extreme), generator)
        zoom, shift = torch.where(found, close_zoom, zoom), torch.where(found[:, None], close_shift, shift)
    out = reframe(sample, roll, zoom, shift, pelvis)
    if config.patch:
        out["image"] = cover(out["image"], chosen(config.patch), generator)
    if config.colour or config.noise:
        light = 1.0 if config.colours == "channels" else 1 + draw(config.colour, 1, 1, 1)
        tint = config.colour if config.colours == "channels" else config.colour / 4
        gain = light + draw(tint, 3, 1, 1)
        offset = torch.zeros(count, 1, 1, 1) if config.colours == "channels" else draw(64 * config.colour, 1, 1, 1)
        none = torch.tensor([1.0, 1, 1, 0]).view(4, 1, 1)
        gain, offset = some(torch.cat([gain, offset], 1), config.colour_share, none).split([3, 1], 1)
        image = out["image"].float() * gain + offset
        if config.noise:
            strength = some(draw(255 * config.noise, 1, 1, 1).abs(), config.noise_share)
            image += strength * torch.randn(image.shape, generator=generator)
        out["image"] = image.clamp_(0, 255).to(torch.uint8)
    return out


def _turn(roll: Tensor) -> Tensor:
    """Matrices (B,2,2) that turn the image clockwise by ``roll`` (B,)."""
    cosine, sine = roll.cos(), roll.sin()
    return torch.stack([cosine, -sine, sine, cosine], -1).view(-1, 2, 2)


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
