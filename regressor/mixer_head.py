"""TokenHMR's token classifier: tokens mixed by MLPs (Tolstikhin et al., MLP-Mixer, 2021), one class layer for all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .linear import MLP

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
        """Readout (B,width) → (B,T,64), what the classes are told by."""
        x = F.relu(self.enter_norm(self.enter(x))).unflatten(-1, (self.num_tokens, _HIDDEN))
        for layer in self.layers:
            x = layer(x)
        return F.relu(self.leave_norm(self.leave(x)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Readout (B,width) → one (B,T,L_f) float32 tensor of logits per factor."""
        return list(self.classes(self.features(x)).float().split(self.levels, -1))

    @torch.no_grad()
    def start_at(self, digits: list[Tensor]) -> None:
        """Begin at the frequencies of the digits (N,T) a factor of training poses, over all tokens: one layer serves
        them all."""
        shares = [torch.bincount(digit.flatten(), minlength=level) / digit.numel()
                  for digit, level in zip(digits, self.levels)]  # fmt: skip
        self.classes.bias.copy_((torch.cat(shares) + 1e-4).log())
