"""Quantizers: latents → tokens, each with one explicit codebook (codes × dims); all state lives in buffers.

Stage 2 never knows which it was. ``levels`` are the mixed-radix factors of a token id (first factor fastest), and
``codebook[id]`` is then the sum over factors of a table row, which lets a soft token be decoded factor by factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.distributed import rows_over_ranks, sum_over_ranks, world_size


@dataclass
class Quantized:
    """values (B,T,D): codebook rows with straight-through gradients; ids (B,T) int64; commitment: scalar loss."""

    values: Tensor
    ids: Tensor
    commitment: Tensor


def split_ids(ids: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Token ids (...) → digits (...,F), first factor fastest."""
    digits = []
    for level in levels:
        digits.append(ids % level)
        ids = ids // level
    return torch.stack(digits, -1)


def join_digits(digits: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Digits (...,F) → token ids (...); the inverse of ``split_ids``."""
    ids = digits[..., -1]
    for number in reversed(range(len(levels) - 1)):
        ids = ids * levels[number] + digits[..., number]
    return ids


class LayeredFSQ(nn.Module):
    """Finite scalar quantization (Mentzer et al., ICLR 2024) in ``layers`` of growing fineness.

    ``groups · len(levels)`` scalars are squashed to (−1, 1) by tanh. The first layer encodes in which of its level's
    equal cells a scalar lies, the next in which cell of that cell, and so on: the same scalar in base ``level``, its
    coarse digits in the first ``groups`` tokens, finer ones in later tokens. One layer is plain FSQ.

    The codebook holds the cell centres in (−1, 1), one column a scalar; ``layer_scale`` (layers, D) is the weight by
    which a decoder adds the layers up.
    """

    codebook: Tensor
    layer_scale: Tensor

    def __init__(self, levels: tuple[int, ...], groups: int, layers: int) -> None:
        super().__init__()
        self.levels, self.groups, self.layers = tuple(levels), groups, layers
        self.dim, self.num_codes, self.num_tokens = len(levels), math.prod(levels), groups * layers
        self.latent_shape = (groups, self.dim)
        radix = torch.tensor(levels, dtype=torch.float32)
        digits = split_ids(torch.arange(self.num_codes), self.levels)
        self.register_buffer("codebook", (digits + 0.5) / radix * 2 - 1)
        self.register_buffer("radix", radix, persistent=False)
        self.register_buffer(
            "layer_scale", torch.stack([radix.pow(-layer) for layer in range(layers)]), persistent=False
        )

    def forward(self, latents: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """Latents (B,groups,D), unbounded → ``Quantized`` with layers·groups tokens, coarse layers first."""
        bounded = torch.tanh(latents.float())
        residual, digits, centres = bounded.detach(), [], []
        radix = self.get_buffer("radix")
        for _ in range(self.layers):
            digit = torch.minimum(((residual + 1) / 2 * radix).floor().clamp_min(0), radix - 1)
            centre = (digit + 0.5) / radix * 2 - 1
            residual = (residual - centre) * radix
            digits.append(digit.long())
            centres.append(centre)
        centres[0] = centres[0] + (bounded - bounded.detach())
        ids = join_digits(torch.cat(digits, 1), self.levels)
        return Quantized(torch.cat(centres, 1), ids, bounded.new_zeros(()))


class EmaVQ(nn.Module):
    """Nearest-code quantization with an exponentially averaged codebook (van den Oord et al., 2017, appendix A.1).

    The first training batch initialises the codes; a code whose averaged count falls below ``restart_below`` is
    replaced by a latent of the batch. Counts and sums are buffers, so that a resumed run is exact. Over several
    processes statistics are summed and latents drawn from all: their codebooks are one, that of the whole batch.
    """

    codebook: Tensor
    code_sum: Tensor
    code_count: Tensor
    ready: Tensor
    layer_scale: Tensor

    def __init__(self, num_tokens: int, num_codes: int, dim: int, decay: float, restart_below: float) -> None:
        super().__init__()
        self.num_tokens, self.num_codes, self.dim = num_tokens, num_codes, dim
        self.decay, self.restart_below = decay, restart_below
        self.levels: tuple[int, ...] = (num_codes,)
        self.layers = 1
        self.latent_shape = (num_tokens, dim)
        self.register_buffer("layer_scale", torch.ones(1, dim), persistent=False)
        self.register_buffer("codebook", torch.zeros(num_codes, dim))
        self.register_buffer("code_sum", torch.zeros(num_codes, dim))
        self.register_buffer("code_count", torch.ones(num_codes))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, latents: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """Latents (B,T,D) → ``Quantized``; in training mode the codebook follows the latents."""
        latents = latents.float()
        flat = latents.detach().flatten(0, 1)
        if self.training and not self.ready:
            self.init_codebook(flat, generator)
        ids = self.nearest(flat)
        values = F.embedding(ids, self.codebook).view_as(latents)
        if self.training:
            self.update_ema(flat, ids, generator)
        commitment = F.mse_loss(latents, values)
        return Quantized(latents + (values - latents).detach(), ids.view(latents.shape[:2]), commitment)

    @torch.no_grad()
    def init_codebook(self, flat: Tensor, generator: torch.Generator | None) -> None:
        """Take the first codes from latents (N,D)."""
        self.codebook.copy_(self._draw(flat, self.num_codes, generator))
        self.code_sum.copy_(self.codebook)
        self.ready.fill_(True)

    def nearest(self, flat: Tensor) -> Tensor:
        """Latents (N,D) → ids (N,) of their nearest codes."""
        distance = self.codebook.square().sum(-1) - 2 * flat @ self.codebook.T
        return distance.argmin(-1)

    def _draw(self, flat: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
        rows = len(flat) * world_size()
        chosen = torch.randint(rows, (count,), generator=generator).to(flat.device)
        drawn = rows_over_ranks(flat, chosen)
        if rows < count:
            jitter = torch.randn(drawn.shape, generator=generator).to(flat.device)
            spread = rows_over_ranks(flat, torch.arange(rows, device=flat.device)).std(0)
            drawn = drawn + 0.01 * spread.nan_to_num() * jitter
        return drawn

    @torch.no_grad()
    def update_ema(self, flat: Tensor, ids: Tensor, generator: torch.Generator | None) -> None:
        """Move the codes towards the latents (N,D) that chose them, ids (N,); codes hardly ever chosen restart."""
        count = torch.zeros_like(self.code_count).index_add_(0, ids, torch.ones_like(flat[:, 0]))
        total = torch.zeros_like(self.code_sum).index_add_(0, ids, flat)
        self.code_count.lerp_(sum_over_ranks(count), 1 - self.decay)
        self.code_sum.lerp_(sum_over_ranks(total), 1 - self.decay)
        fresh = self._draw(flat, self.num_codes, generator)
        alive = (self.code_count >= self.restart_below)[:, None]
        self.codebook.copy_(torch.where(alive, self.code_sum / self.code_count.clamp_min(1e-9)[:, None], fresh))


class ResidualVQ(EmaVQ):
    """EMA vector quantization in ``layers`` of growing fineness; every layer quantizes what the one before left over.

    As in RQ-VAE (Lee et al., CVPR 2022) all layers share one codebook. What a layer leaves over is enlarged for the
    next by K^(1/D), the factor by which K codes in D dimensions shrink an error at best, so that the codebook fits each
    layer alike; ``layer_scale`` (layers, D) undoes that in a decoder, which adds the layers up. Coarse tokens first.
    """

    def __init__(self, groups: int, layers: int, num_codes: int, dim: int, decay: float, restart_below: float) -> None:
        super().__init__(groups * layers, num_codes, dim, decay, restart_below)
        self.groups, self.layers = groups, layers
        self.latent_shape = (groups, dim)
        powers = torch.arange(layers, dtype=torch.float32)
        scale = torch.pow(torch.tensor(float(num_codes)), -powers / dim)
        self.register_buffer("layer_scale", scale[:, None].expand(layers, dim).clone(), persistent=False)

    def forward(self, latents: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """Latents (B,groups,D) → ``Quantized`` with layers·groups tokens; in training mode the codebook follows."""
        latents = latents.float()
        residual = latents.detach()
        if self.training and not self.ready:
            self.init_codebook(residual.flatten(0, 1), generator)
        scaled_residuals, values, ids = [], [], []
        scale = self.layer_scale
        for layer in range(self.layers):
            enlarged = residual / scale[layer]
            chosen = self.nearest(enlarged.flatten(0, 1)).view(enlarged.shape[:2])
            value = self.codebook[chosen]
            residual = residual - value * scale[layer]
            scaled_residuals.append(enlarged)
            values.append(value)
            ids.append(chosen)
        commitment = (latents - (latents.detach() - residual)).square().mean()
        if self.training:
            self.update_ema(torch.cat(scaled_residuals, 1).flatten(0, 1), torch.cat(ids, 1).flatten(), generator)
        values[0] = values[0] + (latents - latents.detach())
        return Quantized(torch.cat(values, 1), torch.cat(ids, 1), commitment)


Quantizer = LayeredFSQ | EmaVQ | ResidualVQ
