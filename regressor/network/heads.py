"""Heads: decoder output → token logits or rotations."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokenizer.body.skeleton import NUM_BODY_JOINTS

from .vit import MLP


class TokenHead(nn.Module):
    """Token logits, one set per factor of the artifact's code ids: T·ΣL_f outputs and never T·ΠL_f.

    ``metric``: the logit of a digit is minus its squared distance, in the space of its codes, to a predicted point,
    over twice a predicted variance: near codes share their evidence, as the quantizer would have it. ``free``: one
    output a logit, as in TokenHMR.
    """

    def __init__(
        self, width: int, num_tokens: int, levels: tuple[int, ...], codebook: Tensor, logits: str = "metric"
    ) -> None:
        super().__init__()
        self.num_tokens, self.levels, self.metric = num_tokens, tuple(levels), logits == "metric"
        self.ranks: list[int] = []
        for number, level in enumerate(self.levels):
            stride = math.prod(self.levels[:number])
            coordinates = code_coordinates(codebook[torch.arange(level, device=codebook.device) * stride])
            self.ranks.append(coordinates.shape[1])
            self.register_buffer(f"coordinates_{number}", coordinates, persistent=False)
        outputs = sum(rank + 1 for rank in self.ranks) if self.metric else sum(self.levels)
        self.out = nn.Linear(width, num_tokens * outputs)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Readout (B,width) → one (B,T,L_f) float32 tensor of logits per factor."""
        out = self.out(x).float().unflatten(-1, (self.num_tokens, -1))
        if not self.metric:
            return list(out.split(self.levels, -1))
        logits = []
        for number, part in enumerate(out.split([rank + 1 for rank in self.ranks], -1)):
            coordinates = self.get_buffer(f"coordinates_{number}")
            point, precision = part[..., :-1], F.softplus(part[..., -1:])
            squared = (point[..., None, :] - coordinates).square().sum(-1)
            logits.append(-0.5 * precision * squared)
        return logits

    @torch.no_grad()
    def init_from_statistics(self, digits: list[Tensor]) -> None:
        """Initialize from digits (N,T) of training poses, a tensor a level: frequencies, or mean place and spread."""
        parts = []
        for number, level in enumerate(self.levels):
            digit = digits[number]
            if self.metric:
                places = self.get_buffer(f"coordinates_{number}")[digit]
                precision = 1 / places.var(0, correction=0).mean(-1, keepdim=True).clamp_min(1e-2)
                # The inverse of softplus, in a form that does not overflow.
                parts += [places.mean(0), precision + torch.log(-torch.expm1(-precision))]
            else:
                own = digit + level * torch.arange(self.num_tokens, device=digit.device)
                counts = torch.bincount(own.flatten(), minlength=level * self.num_tokens)
                parts.append((counts.view(self.num_tokens, level) / len(digit) + 1e-3).log())
        self.out.bias.copy_(torch.cat(parts, -1).flatten())


def code_coordinates(rows: Tensor) -> Tensor:
    """Code rows (L,D) → coordinates (L,R) in the R dimensions they really span, centred, of unit spread in all.

    The digits of finite scalar quantization come out on a line, R = 1, in their order; free codes keep R ≤ D.
    """
    centred = (rows - rows.mean(0)).double()
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    rank = max(1, int((s > 1e-4 * s[0].clamp_min(1e-12)).sum()))
    coordinates = u[:, :rank] * s[:rank]
    return (coordinates / coordinates.square().mean(0).sum().sqrt().clamp_min(1e-12)).float()


class Rot6dHead(nn.Module):
    """The continuous baseline: 21 joints as 6D offsets from the mean pose."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, NUM_BODY_JOINTS * 6)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Readout (B,width) → offsets (B,21,6) float32."""
        offsets: Tensor = self.out(x).float().unflatten(-1, (NUM_BODY_JOINTS, 6))
        return offsets


_HIDDEN, _TOKEN_HIDDEN, _CHANNEL_HIDDEN, _LAYERS = 64, 64, 256, 4


class MixerLayer(nn.Module):
    """An MLP across tokens, then one across channels, each on a norm of its input and added to it."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(_HIDDEN), nn.LayerNorm(_HIDDEN)
        self.tokens, self.channels = MLP(num_tokens, _TOKEN_HIDDEN), MLP(_HIDDEN, _CHANNEL_HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        """(B,T,64) → the same shape."""
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.channels(self.norm2(x))
        return out


class MixerTokenHead(nn.Module):
    """Readout → one 64-vector a token → mixer layers → token logits, one set per factor of the artifact's code ids."""

    def __init__(self, width: int, num_tokens: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.num_tokens, self.levels = num_tokens, tuple(levels)
        self.enter, self.enter_norm = nn.Linear(width, num_tokens * _HIDDEN), nn.LayerNorm(num_tokens * _HIDDEN)
        self.layers = nn.ModuleList(MixerLayer(num_tokens) for _ in range(_LAYERS))
        self.leave, self.leave_norm = nn.Linear(_HIDDEN, _HIDDEN), nn.LayerNorm(_HIDDEN)
        self.classes = nn.Linear(_HIDDEN, sum(self.levels))

    def features(self, x: Tensor) -> Tensor:
        """Readout (B,width) → (B,T,64), the features that the classifier reads."""
        x = F.relu(self.enter_norm(self.enter(x))).unflatten(-1, (self.num_tokens, _HIDDEN))
        for layer in self.layers:
            x = layer(x)
        return F.relu(self.leave_norm(self.leave(x)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Readout (B,width) → one (B,T,L_f) float32 tensor of logits per factor."""
        return list(self.classes(self.features(x)).float().split(self.levels, -1))

    @torch.no_grad()
    def init_from_statistics(self, digits: list[Tensor]) -> None:
        """Begin at the frequencies of the digits (N,T) a factor of training poses, over all tokens: one layer serves
        them all."""
        shares = [
            torch.bincount(digit.flatten(), minlength=level) / digit.numel()
            for digit, level in zip(digits, self.levels)
        ]
        self.classes.bias.copy_((torch.cat(shares) + 1e-4).log())
