"""The benchmark of crops measures two ways to the same picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines import bench_crops as bench
from tokenizer.engine.errors import UserError


def test_both_ways_show_the_same_place(tmp_path):
    y, x = np.mgrid[:480, :640]
    smooth = np.stack([x / 640, y / 480, (x + y) / 1120], -1) * 255
    draw = np.random.default_rng(1)
    for width, height in bench.SIZES.values():
        for _ in range(4):
            task = bench._task(width, height, smooth.astype(np.uint8), draw)
            apart = np.abs(bench.plain(task, 64).astype(int) - bench.fast(task, 64))
            assert apart.mean() < 2, task.framing


def test_figures_and_table(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    threads = cv2.getNumThreads()
    rows = bench.bench_crops(count=2, repeats=2, size=64, image=path)
    assert cv2.getNumThreads() == threads
    assert [row["images"] for row in rows] == ["640x480", "1080p"]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["fast_per_s"] / row["plain_per_s"])
        assert row["apart_grey_levels"] < 1, "one colour stays one colour"
    table = bench.to_markdown(rows)
    assert "98–117" in table and "24–30" in table and len(table.splitlines()) == 6
    with pytest.raises(UserError, match="No image"):
        bench.bench_crops(image=tmp_path / "none.jpg")
