"""Samples as a whole: how many, some of them, on another device."""

from __future__ import annotations

from collections.abc import Sequence
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


def without_images(sample: Sample) -> Sample:
    """The same samples with images of no pixels, (B,3,0,0)."""
    return cast(Sample, {**sample, "image": sample["image"][..., :0, :0]})


def to_device(sample: Sample, device: torch.device) -> Sample:
    """The same samples on ``device``. Copies from pinned memory to a GPU are under way when this returns, in order with
    what is asked of it next."""
    there = {
        name: values.to(device, non_blocking=device.type == "cuda")
        for name, values in cast(dict[str, Tensor], sample).items()
    }
    return cast(Sample, there)


def join(samples: Sequence[Sample]) -> Sample:
    """Several batches as one. What samples may leave out is written out, as ``Sample`` takes it to be."""
    columns: list[dict[str, Tensor]] = []
    for sample in samples:
        count = num_samples(sample)
        absent = {"true_3d": torch.ones(count, dtype=torch.bool), "gender": torch.zeros(count, dtype=torch.int64)}
        columns.append({**absent, **cast(dict[str, Tensor], sample)})
    return cast(Sample, {name: torch.cat([one[name] for one in columns]) for name in columns[0]})
