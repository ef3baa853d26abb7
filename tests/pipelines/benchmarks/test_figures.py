"""What benchmarks say: asked, measured, met or not; the exit status follows."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pipelines.benchmarks import bench, bench_prepare
from pipelines.benchmarks.figures import Figure, Goal, table, verdict
from pipelines.cli import main

GOOD = Figure("error", 9.0, "{:.1f} mm", Goal("at most", 9), ("measure it",))
BAD = Figure("speed", 39.0, "{:,.0f} /s", Goal("at least", 40))
FREE = Figure("use", 51.2, "{:.0f} %")
UNKNOWN = Figure("memory", None, "{:.0f} MB", Goal("below", 600))


@pytest.mark.parametrize(
    ("rule", "met"),
    [("below", [True, False, False]), ("at most", [True, True, False]), ("at least", [False, True, True])],
)
def test_a_goal_is_met_or_not(rule, met):
    assert [Figure("x", value, "{:g}", Goal(rule, 2)).met for value in (1.0, 2.0, 3.0)] == met


def test_the_table_says_what_was_asked_and_measured():
    assert table([GOOD, BAD, FREE, UNKNOWN]).splitlines() == [
        "                 asked      measured",
        "error   at most 9.0 mm        9.0 mm  met",
        "    $ measure it",
        "speed   at least 40 /s         39 /s  NOT MET",
        "use                             51 %",
        "memory    below 600 MB  not measured",
    ]


def test_the_verdict_counts_and_names():
    assert verdict([GOOD, FREE, UNKNOWN]) == "Verdict: 1 of 1 goals are met."
    assert verdict([GOOD, BAD]) == "Verdict: 1 of 2 goals are met; not met: speed (39 /s, asked at least 40 /s)."


@pytest.mark.parametrize(("figures", "status"), [([GOOD, FREE, UNKNOWN], 0), ([GOOD, BAD], 1)])
@pytest.mark.parametrize("command", [["bench"], ["bench-prepare", "."]])
def test_the_exit_status_follows_the_verdict(tmp_path, monkeypatch, figures, status, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "run_bench", lambda *_: figures)
    monkeypatch.setattr(bench_prepare, "prepare_figures", lambda *_: figures)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == status and done.stdout.splitlines()[-1] == verdict(figures), done.output
