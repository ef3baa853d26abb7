"""What images lose in the wild, done to test crops: a closer cut, and something in front. Annotation stays exact."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from ..datasets.augmentation.augment import reframe
from ..sample import Sample

CROPS = (0.1, 0.3, 0.5)
PATCHES = (0.2, 0.4)
RULES = (
    "cut P %: the box shrinks about its middle by P % of its side, and the regressor gets the new box; patch P %: a "
    "grey square of P % of the side hides the surroundings of one keypoint, drawn at random but always the same"
)
_GREY = 128
Change = Callable[[Sample, int], Sample]
"""(samples, number of the first of them in its split) → changed samples; those given stay as they are."""


def changes() -> dict[str, Change]:
    """All changes by name, in the order of the table."""
    cuts: dict[str, Change] = {f"cut {100 * share:.0f} %": partial(cut_closer, share=share) for share in CROPS}
    patches: dict[str, Change] = {f"patch {100 * share:.0f} %": partial(hide, share=share) for share in PATCHES}
    return cuts | patches


def cut_closer(sample: Sample, first: int = 0, *, share: float) -> Sample:
    """Crops whose box is smaller by ``share`` of its side, about the same middle; ``first`` does not matter."""
    count = len(sample["image"])
    still = torch.zeros(count)
    return reframe(sample, still, torch.full((count,), 1 - share), torch.zeros(count, 2), torch.zeros(count, 3))


def hide(sample: Sample, first: int = 0, *, share: float) -> Sample:
    """Crops with a grey square of ``share`` of their side around one keypoint that is known and inside.

    The draw depends on ``first`` + the place in the batch alone, so that every regressor meets the same squares.
    """
    out = sample.copy()
    out["image"] = sample["image"].clone()
    edge = sample["image"].shape[-1]
    half = max(1, round(share * edge / 2))
    for i, points in enumerate(sample["keypoints_2d"].numpy()):
        inside = points[(points[:, 2] > 0) & (np.abs(points[:, :2]) < 0.5).all(1), :2]
        draw = np.random.default_rng([first + i, round(1000 * share)])
        middle = inside[draw.integers(len(inside))] if len(inside) else draw.uniform(-0.5, 0.5, 2)
        x, y = ((middle + 0.5) * edge).round().astype(int)
        out["image"][i, :, max(0, y - half) : y + half, max(0, x - half) : x + half] = _GREY
    return out
