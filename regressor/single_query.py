"""TokenHMR's decoder: one learned query reads the feature map in several layers (Dwivedi et al., CVPR 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .decoder import Decoded
from .empty_weights import drawn
from .linear import MLP


class ContextAttention(nn.Module):
    """Cross-attention of one vector to N others, with ``heads`` heads of ``head_dim``; no bias on query, key, value.

    One query need not turn N vectors into keys and values: (Wq·x)·(Wk·f) = (Wkᵀ·Wq·x)·f, and Wv leaves the mean over
    f alone. The same function at a fiftieth of the work.
    """

    def __init__(self, width: int, context: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.query = nn.Linear(width, heads * head_dim, bias=False)
        self.key = nn.Parameter(torch.empty(heads, head_dim, context))
        self.value = nn.Parameter(torch.empty(heads, head_dim, context))
        self.out = nn.Linear(heads * head_dim, width)
        for weight in (self.key, self.value):
            nn.init.normal_(weight, std=context**-0.5)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """x (B,width), features (B,N,context) → (B,width)."""
        query = self.query(x).unflatten(-1, (self.heads, self.head_dim))
        probes = torch.einsum("bhd,hdc->bhc", query, self.key)[:, None]
        context = features[:, None]
        seen = F.scaled_dot_product_attention(probes, context, context, scale=self.head_dim**-0.5)[:, 0]
        out: Tensor = self.out(torch.einsum("bhc,hdc->bhd", seen, self.value).flatten(1))
        return out


class Layer(nn.Module):
    """Pre-norm self-attention, cross-attention, feed-forward, each added to its input.

    Among one query, self-attention gives all its weight to the query itself: what is left of it are value and output.
    """

    def __init__(self, width: int, context: int, heads: int, head_dim: int, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.self_value = nn.Linear(width, heads * head_dim, bias=False)
        self.self_out = nn.Linear(heads * head_dim, width)
        self.cross = ContextAttention(width, context, heads, head_dim)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """x (B,width), features (B,N,context) → (B,width)."""
        x = x + self.self_out(self.self_value(self.norms[0](x)))
        x = x + self.cross(self.norms[1](x), features)
        out: Tensor = x + self.mlp(self.norms[2](x))
        return out


class SingleQueryDecoder(nn.Module):
    """One learned query through ``layers`` layers; no norm at the end. It looks at the crop alone, not at its place in
    the image."""

    needs_geometry = False

    def __init__(self, *, channels: int, layers: int, heads: int, head_dim: int, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.query = nn.Parameter(drawn(width))
        self.layers = nn.ModuleList(Layer(width, channels, heads, head_dim, hidden) for _ in range(layers))

    def forward(self, features: Tensor) -> Decoded:
        """Features (B,channels,H,W) → ``Decoded`` without pointed places."""
        tokens = features.flatten(2).transpose(1, 2)
        x = self.query.expand(len(tokens), -1)
        for layer in self.layers:
            x = layer(x, tokens)
        return Decoded(x, None)
