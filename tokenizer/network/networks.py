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
    visibility = torch.ones_like(rot6d[..., :1]) if visible is None else visible[..., None].to(rot6d.dtype)
    return torch.cat([(rot6d - mean) / scale * visibility, visibility], -1)


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

    The 6D is standardised by buffers; a hidden joint enters as its mean with its visibility flag at 0. ``linear``: a
    linear map is added to the MLP, see ``fit_linear_maps``.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, latent_shape: tuple[int, int], width: int, blocks: int, linear: bool = False) -> None:
        super().__init__()
        self.latent_shape = latent_shape
        self.register_buffer("mean", torch.zeros(NUM_BODY_JOINTS, 6))
        self.register_buffer("scale", torch.ones(NUM_BODY_JOINTS, 6))
        self.trunk = _trunk(NUM_BODY_JOINTS * 7, width, blocks, latent_shape[0] * latent_shape[1])
        self.linear = nn.Linear(NUM_BODY_JOINTS * 7, latent_shape[0] * latent_shape[1]) if linear else None

    def forward(self, rot6d: Tensor, visible: Tensor | None = None) -> Tensor:
        """6D (B,21,6), visible (B,21) bool or None for all → latents (B, *latent_shape)."""
        x = joint_features(rot6d, self.mean, self.scale, visible).flatten(1)
        latents: Tensor = self.trunk(x) if self.linear is None else self.trunk(x) + self.linear(x)
        return latents.unflatten(1, self.latent_shape)


class MLPDecoder(nn.Module):
    """Residual MLP from token values (B,T,D) to the 6D of a pose, as an offset from the mean pose.

    Layers of tokens are first added up with ``layer_scale`` (layers, D). ``linear``: as of the encoder.
    """

    mean: Tensor
    layer_scale: Tensor

    def __init__(self, num_tokens: int, layer_scale: Tensor, width: int, blocks: int, linear: bool = False) -> None:
        super().__init__()
        layers, dim = layer_scale.shape
        self.register_buffer("mean", torch.zeros(NUM_BODY_JOINTS, 6))
        self.register_buffer("layer_scale", layer_scale.clone())
        self.trunk = _trunk(num_tokens // layers * dim, width, blocks, NUM_BODY_JOINTS * 6)
        self.linear = nn.Linear(num_tokens // layers * dim, NUM_BODY_JOINTS * 6) if linear else None
        with torch.no_grad():
            self.trunk[-1].weight.mul_(0.1)  # type: ignore[operator]

    def forward(self, values: Tensor) -> Tensor:
        """Token values (B,T,D) → 6D (B,21,6)."""
        summed = add_layers(values, self.layer_scale).flatten(1)
        offset = self.trunk(summed) if self.linear is None else self.trunk(summed) + self.linear(summed)
        rot6d: Tensor = self.mean + offset.unflatten(1, (NUM_BODY_JOINTS, 6)).float()
        return rot6d


_GAIN = 0.8
"""tanh(0.8 z) of a Gaussian z is about evenly spread."""


@torch.no_grad()
def fit_linear_maps(encoder: MLPEncoder, decoder: MLPDecoder, rot6d: Tensor, levels: Tensor) -> None:
    """Begin at principal components of poses (N,21,6), and leave the MLPs at zero.

    Each latent gets one component, scaled to fill the range of tanh; those of the largest variance get the latents of
    the most ``levels`` (D). The decoder's map is the least-squares inverse. ``encoder`` and ``decoder`` have their
    linear maps, and their means and scales fitted.
    """
    assert encoder.linear is not None and decoder.linear is not None
    for network in (encoder, decoder):
        last = network.trunk[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_(), last.bias.zero_()
    offsets = (rot6d - encoder.mean).flatten(1).double()
    variance, directions = torch.linalg.eigh(offsets.T @ offsets / len(offsets))
    groups, dim = encoder.latent_shape
    order = levels.repeat(groups).argsort(descending=True, stable=True)[: offsets.shape[1]]
    used = slice(offsets.shape[1] - len(order), None)
    # A component of no variance stays where noise does not reach a cell's border.
    rows = _GAIN * (directions[:, used] / variance[used].clamp_min(1e-6).sqrt()).flip(1).T
    weight = torch.zeros(groups * dim, NUM_BODY_JOINTS, 7, dtype=torch.float64, device=rot6d.device)
    weight[order, :, :6] = rows.unflatten(1, (NUM_BODY_JOINTS, 6)) * encoder.scale
    encoder.linear.weight.copy_(weight.flatten(1))
    encoder.linear.bias.zero_()
    values = torch.tanh(offsets @ (weight[..., :6] / encoder.scale).flatten(1).T)
    normal = values.T @ values + 1e-6 * len(values) * torch.eye(groups * dim, dtype=torch.float64, device=rot6d.device)
    decoder.linear.weight.copy_(torch.linalg.solve(normal, values.T @ offsets).T)
    decoder.linear.bias.zero_()
