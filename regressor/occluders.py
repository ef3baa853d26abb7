"""Occlusion patches: something is in front of a part of a training crop. Annotation stays: what is hidden is asked for.

Cutout (DeVries and Taylor, 2017) and CutMix's pasted regions (Yun et al., ICCV 2019), without mixing annotation.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SIDES = (0.1, 0.4)
_FLAT = 0.5


def cover(images: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """New images (B,3,S,S) uint8; over those ``chosen`` (B,) bool lies one rectangle, anywhere.

    Its sides are 10 to 40 % of the crop's, its middle is inside the crop. It shows one colour or, as often, what is at
    the same place of another of the images. The given ones are not changed.
    """
    out = images.clone()
    count, _, _, edge = images.shape
    for i in chosen.nonzero()[:, 0].tolist():
        draws = torch.rand(6, generator=generator)
        colour = torch.randint(256, (3, 1, 1), generator=generator).to(torch.uint8)
        height, width = ((_SIDES[0] + draws[:2] * (_SIDES[1] - _SIDES[0])) * edge).round().clamp_min(1).int().tolist()
        top, left = (draws[2:4] * edge - torch.tensor([height, width]) / 2).round().int().tolist()
        place = (slice(None), slice(max(0, top), max(1, top + height)), slice(max(0, left), max(1, left + width)))
        if count == 1 or draws[4] < _FLAT:
            out[i][place] = colour
        else:
            other = (i + 1 + int(draws[5] * (count - 1))) % count
            out[i][place] = images[other][place]
    return out
