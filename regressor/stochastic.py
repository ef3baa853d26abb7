"""Dropout and drop path whose draws belong to the whole batch: a part of it sees what it would see in the whole.

Whoever trains on parts (processes, accumulated gradients) seeds torch alike before each, and names its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

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


def _kept(x: Tensor, kept: float, shape: torch.Size) -> Tensor:
    first, total = _place or (0, len(x))
    draws = torch.rand(total, *shape, device=x.device)[first : first + len(x)]
    return (draws < kept).to(x.dtype) / kept
