"""The benchmark of crops measures several ways to the same picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.benchmarks import bench_crops as bench
from pipelines.benchmarks.crop_ways import WAYS
from tokenizer.engine.errors import UserError


def test_figures_and_table(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    threads = cv2.getNumThreads()
    rows = bench.bench_crops(count=2, repeats=2, size=64, image=path, seconds=0.02)
    assert cv2.getNumThreads() == threads
    assert [row["images"] for row in rows] == ["640x480", "1080p"]
    for row in rows:
        assert all(row[kind].keys() == WAYS.keys() for kind in ("per_s", "to_plain", "two_processes_per_s"))
        assert row["to_plain"]["plain"] == row["to_published"]["published"] == [1, 1]
        assert all(rate > 0 for rate in row["two_processes_per_s"].values())
        assert row["apart_grey_levels"] < 1, "one colour stays one colour"
    table = bench.to_markdown(rows)
    assert "98–117" in table and "24–30" in table and len(table.splitlines()) == 2 + 2 * len(WAYS) + 4
    with pytest.raises(UserError, match="No image"):
        bench.bench_crops(image=tmp_path / "none.jpg")
