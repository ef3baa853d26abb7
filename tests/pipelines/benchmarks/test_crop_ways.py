"""Ways to a crop: all show the same place."""

from __future__ import annotations

import numpy as np
import torch

from pipelines.benchmarks import bench_crops as bench
from pipelines.benchmarks.crop_ways import WAYS, here, here_normalised, plain
from regressor.network.model import normalise


def test_all_ways_show_the_same_place():
    y, x = np.mgrid[:480, :640]
    smooth = np.stack([x / 640, y / 480, (x + y) / 1120], -1) * 255
    draw = np.random.default_rng(1)
    for width, height in bench.SIZES.values():
        for _ in range(4):
            task = bench._task(width, height, smooth.astype(np.uint8), draw)
            expected = plain(task, 64).astype(int)
            assert np.abs(here(task, 64) - expected).mean() < 2, task.framing
            # Shards hold a margin around the box; what a frame shows beyond it, or beyond the image, is edge.
            assert np.abs(WAYS["here_shards"](task, 64)[8:-8, 8:-8] - expected[8:-8, 8:-8]).mean() < 2, task.framing
            floats = normalise(torch.from_numpy(expected.astype(np.uint8)).permute(2, 0, 1)).numpy()
            assert np.abs(here_normalised(task, 64) - floats).mean() < 0.04
            inner = (slice(None), slice(16, -16), slice(16, -16))  # beyond the image the published crops are black
            assert np.abs(WAYS["published"](task, 64) - floats)[inner].mean() < 0.04
