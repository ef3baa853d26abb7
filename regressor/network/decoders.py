"""Decoders: image features → the vector of each token or of the whole body."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import DecoderConfig
from .empty_weights import drawn
from .vit import MLP, dropout


@dataclass
class Decoded:
    """What the heads read.

    readout (B,width); soft_argmax_keypoints (B,Q,2): the place of each keypoint query, crop units in [-0.5, 0.5], or
    None from a decoder whose queries have no place.
    """

    readout: Tensor
    soft_argmax_keypoints: Tensor | None


class PointingAttention(nn.Module):
    """Cross-attention of learned queries to a feature map, each with one attention map of its own.

    The mean position under a query's attention is a differentiable keypoint (Sun et al., Integral Human Pose, 2018):
    supervised by 2D keypoints, it shows the queries where to look within the first few hundred steps.
    """

    def __init__(self, queries: int, channels: int, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, queries, bias=False)
        self.value = nn.Linear(channels, dim)
        self.place = nn.Linear(4, dim)
        self.embedding = nn.Parameter(drawn(queries, dim))

    def forward(self, tokens: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B,N,channels) at crop positions grid (N,2) → queries (B,Q,dim), positions (B,Q,2)."""
        attention = self.query(tokens).float().transpose(1, 2).softmax(-1)
        moments = attention @ torch.cat([grid, grid.square()], -1)
        position = moments[..., :2]
        spread = (moments[..., 2:] - position.square()).clamp_min(1e-8).sqrt()
        attended = attention.to(tokens.dtype) @ self.value(tokens)
        return attended + self.place(torch.cat([position, spread], -1)) + self.embedding, position


class QueryLayer(nn.Module):
    """Pre-norm self-attention among the queries, cross-attention to the map, feed-forward."""

    def __init__(self, dim: int, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.self_in, self.self_out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.cross_query = nn.Linear(dim, dim, bias=False)
        self.cross_context, self.cross_out = nn.Linear(channels, 2 * dim, bias=False), nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Queries (B,Q,dim), tokens (B,N,channels) → queries (B,Q,dim)."""
        q, k, v = self.self_in(self.norms[0](queries)).chunk(3, -1)
        queries = queries + self.self_out(self._attend(q, k, v))
        k, v = self.cross_context(tokens).chunk(2, -1)
        queries = queries + self.cross_out(self._attend(self.cross_query(self.norms[1](queries)), k, v))
        out: Tensor = queries + self.outer(F.gelu(self.inner(self.norms[2](queries))))
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # Spelled out: with few, narrow heads PyTorch's fused attention takes several times as long backward on a CPU.
        q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=self.heads) for x in (q, k, v))
        attention = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        return rearrange(attention.to(v.dtype) @ v, "b h n d -> b n (h d)")


class QueryDecoder(nn.Module):
    """Pointing attention, ``layers`` query layers, then a residual MLP over all queries and the crop's geometry."""

    grid: Tensor
    needs_geometry = True

    def __init__(self, config: DecoderConfig, *, queries: int, channels: int, map_size: int, geometry: int) -> None:
        super().__init__()
        dim, width = config.dim, config.width
        self.width = width
        # On the CPU by name: where weights are still to come, all else is built without memory.
        centres = (torch.arange(map_size, device="cpu") + 0.5) / map_size - 0.5
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        self.register_buffer("grid", torch.stack([x.flatten(), y.flatten()], -1), persistent=False)
        self.pointing = PointingAttention(queries, channels, dim)
        self.position = nn.Parameter(drawn(map_size * map_size, channels))
        self.layers = nn.ModuleList(QueryLayer(dim, channels, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Linear(queries * (dim + 2) + geometry, width)
        self.blocks = nn.ModuleList(MLPBlock(width, config.dropout) for _ in range(config.blocks))
        self.leave = nn.LayerNorm(width)

    def forward(self, features: Tensor, geometry: Tensor) -> Decoded:
        """Features (B,channels,H,W), geometry (B,G) of the crop → ``Decoded``."""
        tokens = rearrange(features, "b c h w -> b (h w) c")
        queries, places = self.pointing(tokens, self.grid)
        if self.layers:
            tokens = tokens + self.position
            for layer in self.layers:
                queries = layer(queries, tokens)
        x = torch.cat([self.norm(queries).flatten(1), 4 * places.flatten(1), geometry], -1)
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return Decoded(self.leave(x), places)


class MLPBlock(nn.Module):
    """x + Dropout(Linear(GELU(Linear(LayerNorm(x)))))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B,width) → the same shape."""
        return x + dropout(self.outer(F.gelu(self.inner(self.norm(x)))), self.dropout, self.training)


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
        attended = F.scaled_dot_product_attention(probes, context, context, scale=self.head_dim**-0.5)[:, 0]
        out: Tensor = self.out(torch.einsum("bhc,hdc->bhd", attended, self.value).flatten(1))
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
        """Features (B,channels,H,W) → ``Decoded`` without soft-argmax keypoints."""
        tokens = rearrange(features, "b c h w -> b (h w) c")
        x = self.query.expand(len(tokens), -1)
        for layer in self.layers:
            x = layer(x, tokens)
        return Decoded(x, None)
