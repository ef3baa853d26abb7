"""Encoder and decoder that attend over joints: transformers between 21 joints and the groups of a latent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..body.skeleton import NUM_BODY_JOINTS
from .networks import add_layers, joint_features

_HEAD = 32


class AttentionBlock(nn.Module):
    """Pre-norm self-attention, then an MLP of twice the width (Vaswani et al., 2017; Xiong et al., 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // _HEAD)
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B,N,width) → the same shape."""
        q, k, v = rearrange(self.qkv(self.norm(x)), "b n (part h d) -> part b h n d", part=3, h=self.heads)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(rearrange(attended, "b h n d -> b n (h d)"))
        out: Tensor = x + self.outer(F.gelu(self.inner(self.mlp_norm(x))))
        return out


class _Blocks(nn.Sequential):
    def __init__(self, width: int, blocks: int) -> None:
        super().__init__(*[AttentionBlock(width) for _ in range(blocks)], nn.LayerNorm(width))


class AttentionEncoder(nn.Module):
    """One token a joint, one query a latent group; a hidden joint enters as its mean with its visibility flag at 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, latent_shape: tuple[int, int], width: int, blocks: int) -> None:
        super().__init__()
        self.groups = latent_shape[0]
        self.register_buffer("mean", torch.zeros(NUM_BODY_JOINTS, 6))
        self.register_buffer("scale", torch.ones(NUM_BODY_JOINTS, 6))
        self.embed = nn.Linear(7, width)
        self.place = nn.Parameter(torch.randn(NUM_BODY_JOINTS, width).mul_(0.02))
        self.queries = nn.Parameter(torch.randn(self.groups, width).mul_(0.5))
        self.blocks = _Blocks(width, blocks)
        self.out = nn.Linear(width, latent_shape[1])

    def forward(self, rot6d: Tensor, visible: Tensor | None = None) -> Tensor:
        """6D (B,21,6), visible (B,21) bool or None for all → latents (B,groups,D)."""
        joints = self.embed(joint_features(rot6d, self.mean, self.scale, visible)) + self.place
        queries = self.queries.to(joints.dtype).expand(len(joints), -1, -1)
        latents: Tensor = self.out(self.blocks(torch.cat([queries, joints], 1))[:, : self.groups])
        return latents


class AttentionDecoder(nn.Module):
    """One query a joint looks at the groups; layers of tokens are first added up with ``layer_scale`` (layers, D)."""

    mean: Tensor
    layer_scale: Tensor

    def __init__(self, num_tokens: int, layer_scale: Tensor, width: int, blocks: int) -> None:
        super().__init__()
        layers, dim = layer_scale.shape
        self.register_buffer("mean", torch.zeros(NUM_BODY_JOINTS, 6))
        self.register_buffer("layer_scale", layer_scale.clone())
        self.embed = nn.Linear(dim, width)
        self.place = nn.Parameter(torch.randn(num_tokens // layers, width).mul_(0.5))
        self.queries = nn.Parameter(torch.randn(NUM_BODY_JOINTS, width).mul_(0.5))
        self.blocks = _Blocks(width, blocks)
        self.out = nn.Linear(width, 6)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def forward(self, values: Tensor) -> Tensor:
        """Token values (B,T,D) → 6D (B,21,6)."""
        groups = self.embed(add_layers(values, self.layer_scale)) + self.place
        queries = self.queries.to(groups.dtype).expand(len(groups), -1, -1)
        offsets = self.out(self.blocks(torch.cat([queries, groups], 1))[:, :NUM_BODY_JOINTS])
        rot6d: Tensor = self.mean + offsets.float()
        return rot6d
