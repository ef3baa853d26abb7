"""Encoders and decoders around the quantizer. Poses enter and leave as the two-row 6D of 21 joints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..body.skeleton import NUM_BODY_JOINTS


def add_layers(values: Tensor, layer_scale: Tensor) -> Tensor:
    """Token values (B,layers·groups,D) → (B,groups,D): the digits of one number become that number."""
    layers = layer_scale.shape[0]
    return (values.unflatten(1, (layers, -1)) * layer_scale[:, None]).sum(1)


def joint_features(rot6d: Tensor, mean: Tensor, scale: Tensor, visible: Tensor | None) -> Tensor:
    """6D (B,21,6), standardised, and a flag of visibility: (B,21,7). A joint that is not ``visible`` (B,21) bool enters
    as its mean with its flag at 0; None: all are seen."""
    seen = torch.ones_like(rot6d[..., :1]) if visible is None else visible[..., None].to(rot6d.dtype)
    return torch.cat([(rot6d - mean) / scale * seen, seen], -1)


class ResidualBlock(nn.Module):
    """x + Linear(GELU(Linear(LayerNorm(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(...,width) → the same shape."""
        out: Tensor = x + self.outer(F.gelu(self.inner(self.norm(x))))
        return out


def _trunk(inputs: int, width: int, blocks: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        *[ResidualBlock(width) for _ in range(blocks)],
        nn.LayerNorm(width),
        nn.Linear(width, outputs),
    )


class MLPEncoder(nn.Module):
    """Residual MLP from a whole pose to latents of ``latent_shape``.

    The 6D is standardised by buffers; a hidden joint enters as its mean with its visibility flag at 0.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, latent_shape: tuple[int, int], width: int, blocks: int) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.register_buffer("mean", torch.zeros(NUM_BODY_JOINTS, 6))
        self.register_buffer("scale", torch.ones(NUM_BODY_JOINTS, 6))
        self.trunk = _trunk(NUM_BODY_JOINTS * 7, width, blocks, latent_shape[0] * latent_shape[1])

    def forward(self, rot6d: Tensor, visible: Tensor | None = None) -> Tensor:
        """6D (B,21,6), visible (B,21) bool or None for all → latents (B, *latent_shape)."""
        x = joint_features(rot6d, self.mean, self.scale, visible)
        latents: Tensor = self.trunk(x.flatten(1)).unflatten(1, self.latent_shape)
        return latents


class MLPDecoder(nn.Module):
    """Residual MLP from token values (B,T,D) to the 6D of a pose, as an offset from the mean pose.

    Layers of tokens are first added up with ``layer_scale`` (layers, D).
    """

    mean: Tensor
    layer_scale: Tensor

    def __init__(self, num_tokens: int, layer_scale: Tensor, width: int, blocks: int) -> None:
        super().__init__()
        layers, dim = layer_scale.shape
        self.register_buffer("mean", torch.zeros(NUM_BODY_JOINTS, 6))
        self.register_buffer("layer_scale", layer_scale.clone())
        self.trunk = _trunk(num_tokens // layers * dim, width, blocks, NUM_BODY_JOINTS * 6)
        with torch.no_grad():
            self.trunk[-1].weight.mul_(0.1)  # type: ignore[operator]

    def forward(self, values: Tensor) -> Tensor:
        """Token values (B,T,D) → 6D (B,21,6)."""
        summed = add_layers(values, self.layer_scale)
        rot6d: Tensor = self.mean + self.trunk(summed.flatten(1)).unflatten(1, (NUM_BODY_JOINTS, 6)).float()
        return rot6d
