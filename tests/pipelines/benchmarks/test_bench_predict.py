"""The benchmark of predict: its ratios follow from its times, and every way is timed."""

from __future__ import annotations

from pipelines.benchmarks import bench_predict
from pipelines.benchmarks.bench_predict import to_text

SECONDS = {
    "everything": 0.5,
    "--no-overlay --no-mesh": 0.02,
    "a picture, exact renderer (before)": 0.8,
    "a picture": 0.2,
    "an OBJ": 0.1,
}


def test_ratios_compare_with_the_exact_renderer():
    """0.8 s ÷ 0.2 s; and (0.5 − 0.2 + 0.8) s ÷ 0.5 s with the picture as it was drawn before."""
    lines = to_text(SECONDS).splitlines()
    assert lines[0].split() == ["everything", "500.0", "ms"] and len(lines) == 6
    assert lines[-1] == "The picture: 4.0 times faster than before; a photograph: 2.2 times"


def test_work_is_done_once_before_it_is_timed(monkeypatch):
    times, calls = iter([10.0, 12.5]), []
    monkeypatch.setattr(bench_predict.time, "process_time", lambda: next(times))
    assert bench_predict._seconds(lambda: calls.append(1)) == 2.5 and len(calls) == 2
