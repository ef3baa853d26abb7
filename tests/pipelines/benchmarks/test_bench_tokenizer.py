"""The benchmark of tokenizers: classical codes are what they say, rows average, files and tables hold every row."""

from __future__ import annotations

import json

import pytest

from pipelines.benchmarks import bench_tokenizer
from pipelines.benchmarks.bench_tokenizer import Candidate, Row, average, bench_tokenizers, markdown
from tokenizer.engine.errors import UserError
from tokenizer.mocap.drawn import write_samples
from tokenizer.report.comparison import comparison, find_benchmark


def test_rows_average_over_seeds():
    one, two = (Row("a", 1, 10.0, mpjpe_mm=value, ids_kept={"1_deg": value / 10}) for value in (2.0, 4.0))
    for row in (one, two):
        row.codes_used, row.steps, row.joints_a_token_moves = 1.0, 5.0, 3.0
    mean = average([one, two])
    assert (mean.mpjpe_mm, mean.spread_mm, mean.seeds) == (3.0, 1.0, 2)
    assert mean.ids_kept == {"1_deg": pytest.approx(0.3)} and mean.poses_per_s is None
    assert mean.plain()["ids_kept_1_deg"] == pytest.approx(0.3) and mean.plain()["p95_mm"] is None


@pytest.mark.slow
def test_the_whole_benchmark_tiny(tmp_path, monkeypatch):
    write_samples(tmp_path / "poses.h5", 400, seed=0)
    small = Candidate("compact", "compact", ("network.width=32", "quantizer.groups=4"))
    monkeypatch.setitem(bench_tokenizer.CANDIDATES, "compact", small)
    said = []
    rows = bench_tokenizers(tmp_path / "poses.h5", tmp_path, ["compact"], 0.002, 2, said.append)
    assert [row.name.split(",")[0] for row in rows] == [
        "compact",
        "k-means of poses",
        "k-means of joints",
        *["PCA + rounding"] * 3,
    ]
    assert rows[0].seeds == 2 and rows[0].bits == 4 * 3 * 11 and rows[0].poses_per_s > 0
    assert sum("pose-tokenizer train" in line and "seed=1" in line for line in said) == 1
    about = json.loads((tmp_path / "bench_tokenizer.json").read_text())
    assert len(about["rows"]) == 6 and about["seeds"] == 2
    text = markdown(rows)
    assert text.count("\n| ") == 6 and "left so are" in text
    run = next(path for path in tmp_path.iterdir() if path.name.startswith("compact_0"))
    assert "PCA + rounding, 330 bits" in comparison(find_benchmark(run))


def test_an_unknown_candidate(tmp_path):
    with pytest.raises(UserError, match="No candidate is called 'x'; expected one of compact"):
        bench_tokenizers(tmp_path / "poses.h5", tmp_path, ["x"], 1, 1, print)
