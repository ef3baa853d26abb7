"""Samples as a whole: how many, some of them, on another device."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from .datasets.sample import Sample


def num_samples(sample: Sample) -> int:
    """The batch size B of a sample."""
    return len(sample["image"])


def take(sample: Sample, chosen: Tensor | slice) -> Sample:
    """The samples of a batch at ``chosen``: indices (N,) int64 or a slice."""
    return cast(Sample, {name: values[chosen] for name, values in cast(dict[str, Tensor], sample).items()})


def to_device(sample: Sample, device: torch.device) -> Sample:
    """The same samples on ``device``."""
    return cast(Sample, {name: values.to(device) for name, values in cast(dict[str, Tensor], sample).items()})
