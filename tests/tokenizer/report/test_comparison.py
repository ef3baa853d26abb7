"""The benchmark in the report."""

from __future__ import annotations

import json

import pytest

from tokenizer.engine.errors import UserError
from tokenizer.report.comparison import comparison, find_benchmark


def test_a_benchmark_becomes_a_table_and_a_plot(tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    with pytest.raises(UserError, match="make bench-tokenizer"):
        find_benchmark(run)
    rows = [{"name": "ours <1>", "bits": 330, "mpjpe_mm": 7.25}, {"name": "paper", "bits": 1760, "seeds": 3}]
    (run.parent / "bench.json").write_text("another benchmark's")
    (run.parent / "bench-tokenizer.json").write_text(json.dumps({"command": "make it", "rows": rows}))
    assert find_benchmark(run) == run.parent / "bench-tokenizer.json"
    html = comparison(run.parent / "bench-tokenizer.json")
    assert "<td>ours &lt;1&gt;</td><td>330</td><td>7.25</td><td>–</td>" in html
    assert html.count("<circle") == 1 and "command: make it" in html
    own = run / "bench_tokenizer.json"
    own.write_text(json.dumps({"rows": rows[1:]}))
    assert find_benchmark(run) == own and "<svg" not in comparison(own)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"rows": []}', '{"rows": [1]}', '{"rows": [{}]}', "\udcff"])
def test_a_benchmark_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "bench.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="benchmark"):
        comparison(tmp_path / "bench.json")
