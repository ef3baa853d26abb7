"""The paper's encoder and decoder: one-dimensional convolutions over the joint axis (TokenHMR, section 3.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..body.skeleton import NUM_BODY_JOINTS

_DILATIONS = (3, 1)
_ENCODER_LENGTHS = (40, 80, 160, 320)
_DECODER_LENGTHS = (125, 90, 55, NUM_BODY_JOINTS)
NUM_TOKENS = _ENCODER_LENGTHS[-1] // 2


def _conv3(inputs: int, outputs: int, dilation: int = 1) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, 3, padding=dilation, dilation=dilation)


class ResidualConv(nn.Module):
    """x + conv1(ReLU(conv3(ReLU(x)))), the first convolution dilated."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.wide = _conv3(width, width, dilation)
        self.point = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B,width,L) → the same shape."""
        out: Tensor = x + self.point(F.relu(self.wide(F.relu(x))))
        return out


class ConvEncoder(nn.Module):
    """21 joints, stretched by nearest neighbours to 320 places, halved to 160 tokens of ``dim``."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.stretch = nn.ModuleList([_conv3(6, width), *(_conv3(width, width) for _ in _ENCODER_LENGTHS)])
        self.halve = nn.Conv1d(width, width, 4, stride=2, padding=1)
        self.residual = nn.Sequential(*[ResidualConv(width, dilation) for dilation in _DILATIONS])
        self.out = _conv3(width, dim)

    def forward(self, rot6d: Tensor, visible: Tensor | None = None) -> Tensor:
        """6D (B,21,6), visible (B,21) bool or None → latents (B,160,dim). A hidden joint enters as zeros."""
        x = (rot6d if visible is None else rot6d * visible[..., None]).transpose(1, 2)
        first, *others = self.stretch
        x = F.relu(first(x))
        for length, conv in zip(_ENCODER_LENGTHS, others, strict=True):
            x = F.relu(conv(F.interpolate(x, size=length, mode="nearest")))
        latents: Tensor = self.out(self.residual(self.halve(x))).transpose(1, 2)
        return latents


class ConvDecoder(nn.Module):
    """160 token values shrunk by nearest neighbours to 21 joints."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.shrink = nn.ModuleList([_conv3(dim, width), *(_conv3(width, width) for _ in _DECODER_LENGTHS)])
        self.residual = nn.Sequential(*[ResidualConv(width, dilation) for dilation in _DILATIONS])
        self.mix = _conv3(width, width)
        self.out = _conv3(width, 6)

    def forward(self, values: Tensor) -> Tensor:
        """Token values (B,160,dim) → 6D (B,21,6)."""
        first, *others = self.shrink
        x = F.relu(first(values.transpose(1, 2)))
        for length, conv in zip(_DECODER_LENGTHS, others, strict=True):
            x = F.relu(conv(F.interpolate(x, size=length, mode="nearest")))
        rot6d: Tensor = self.out(self.mix(self.residual(x))).transpose(1, 2)
        return rot6d
