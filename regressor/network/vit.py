"""The vision transformer of ViTPose and TokenHMR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokenizer.engine.training.processor import instruction_set

PATCH = 16
_EPS = 1e-6


def grid_of(size: int) -> tuple[int, int]:
    """Rows and columns of patches in the middle three quarters of a square crop of ``size`` pixels."""
    return size // PATCH, size * 3 // 4 // PATCH


class Block(nn.Module):
    """Pre-norm self-attention and MLP. In training each is left out for a sample with probability ``drop_path``."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=_EPS), nn.LayerNorm(width, eps=_EPS)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B,N,width) → the same shape."""
        x = x + self._sometimes(self._attend(self.norm1(x)))
        return x + self._sometimes(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        out: Tensor = self.out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
        return out

    def _sometimes(self, branch: Tensor) -> Tensor:
        return drop_path(branch, self.drop_path, self.training)


class ViT(nn.Module):
    """Patches of the middle three quarters of a square crop, ``depth`` blocks, a norm; no class token.

    ``positions`` (N,width): one learned offset a patch. What travels from block to block stays float32 under autocast;
    only products are rounded. ``gradient_checkpointing`` keeps only each block's input for the backward pass, and
    computes the rest again.
    """

    stride = PATCH

    def __init__(
        self,
        size: int,
        width: int,
        depth: int,
        heads: int,
        *,
        drop_path: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels, self.gradient_checkpointing = width, gradient_checkpointing
        self.size, self.grid = size, grid_of(size)
        # Two rows and columns of zeros around the image, of which the last patch leaves out as many: the weights of
        # HMR2.0 and its successors were trained so.
        self.patch = nn.Conv2d(3, width, PATCH, PATCH, padding=2)
        self.positions = nn.Parameter(torch.zeros(self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(
            Block(width, heads, drop_path * number / max(1, depth - 1)) for number in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self._initialise()

    def embed(self, images: Tensor) -> Tensor:
        """Normalised crops (B,3,S,S) → patches (B,N,width) float32, without their positions."""
        margin = (self.size - self.grid[1] * PATCH) // 2
        x: Tensor = self.patch(images[..., margin : self.size - margin])
        return rearrange(x, "b c h w -> b (h w) c").float()

    def forward(self, images: Tensor) -> Tensor:
        """Normalised crops (B,3,S,S) → features (B,width,S/16,3S/64) of the middle three quarters of the columns."""
        if images.device.type == "cpu" and len(images) > 1 and not torch.is_grad_enabled():
            # One crop keeps a CPU as busy as many, and its activations stay small: at 128 crops, 20 MB and not 2 GB.
            return torch.cat([self._features(image) for image in images.split(1)])
        return self._features(images)

    def _features(self, images: Tensor) -> Tensor:
        x = self.embed(images) + self.positions
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return rearrange(self.norm(x), "b (h w) c -> b c h w", h=self.grid[0])

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)


def wants_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether a product of ``x`` and ``weight`` should be handed to oneDNN by name: float32 on a CPU with AVX-512."""
    return (
        x.device.type == "cpu"
        and instruction_set().startswith("AVX512")
        and x.dtype == weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class Linear(nn.Linear):
    """``nn.Linear`` whose float32 products on a CPU with AVX-512 go to oneDNN; the same parameters, equal up to
    rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(...,in_features) → (...,out_features)."""
        if not wants_onednn(x, self.weight):
            return F.linear(x, self.weight, self.bias)
        return F.linear(x.to_mkldnn(), self.weight, self.bias).to_dense()


class MLP(nn.Module):
    """Linear, GELU (the exact one), Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = Linear(width, hidden), Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(...,width) → the same shape."""
        if not wants_onednn(x, self.inner.weight):
            out: Tensor = self.outer(F.gelu(self.inner(x)))
            return out
        # Between the two layers the values stay in oneDNN's hands: nothing is copied out and in.
        hidden = F.gelu(F.linear(x.to_mkldnn(), self.inner.weight, self.inner.bias))
        return F.linear(hidden, self.outer.weight, self.outer.bias).to_dense()


_place: tuple[int, int] | None = None
"""Of this process, not of a thread: recomputation draws again in a thread of the backward pass."""


@contextmanager
def part_of_batch(first: int, total: int) -> Iterator[None]:
    """Within, batches are the samples from ``first`` of a batch of ``total``. Keep the backward pass within, too."""
    global _place
    before, _place = _place, (first, total)
    try:
        yield
    finally:
        _place = before


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """x (B,...) with each entry left out with ``probability`` while ``training``, the rest scaled up."""
    return x * _kept(x, 1 - probability, x.shape[1:]) if training and probability else x


def drop_path(branch: Tensor, probability: float, training: bool) -> Tensor:
    """branch (B,...) left out for whole samples with ``probability`` while ``training``, the rest scaled up (stochastic
    depth: Huang et al., ECCV 2016)."""
    if not training or not probability:
        return branch
    return branch * _kept(branch, 1 - probability, torch.Size([1] * (branch.ndim - 1)))


def _kept(x: Tensor, keep_probability: float, shape: torch.Size) -> Tensor:
    first, total = _place or (0, len(x))
    draws = torch.rand(total, *shape, device=x.device)[first : first + len(x)]
    return (draws < keep_probability).to(x.dtype) / keep_probability
