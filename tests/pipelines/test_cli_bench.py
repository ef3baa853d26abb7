"""Benchmark commands: a missed goal is exit status 1, and no folder is measured that is not there."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pipelines.benchmarks import bench, bench_prepare, bench_tokenizer
from pipelines.benchmarks.figures import Figure, Goal
from pipelines.cli import main


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize(("measured", "status", "verdict"), [(12.0, 0, "1 of 1"), (8.0, 1, "0 of 1")])
def test_the_exit_status_is_the_verdict(monkeypatch, tmp_path, measured, status, verdict):
    figure = Figure("images", measured, "{:.0f} /s", Goal("at least", 10), ("pose-regressor synthesize",))
    monkeypatch.setattr(bench, "run_bench", lambda runs, mocap, say: [figure])
    monkeypatch.setattr(bench_prepare, "prepare_figures", lambda mocap, folder, say, copies: [figure] * (copies == 3))
    for arguments in (("bench", "--runs", tmp_path), ("bench-prepare", tmp_path, "--copies", 3)):
        done = run(*arguments)
        assert done.exit_code == status and f"Verdict: {verdict} goals are met" in done.output, done.output
    assert "MOCAP=DIR" in run("bench", "--runs", tmp_path).output


def test_a_folder_that_is_not_there_is_not_measured(tmp_path):
    done = run("bench", "--runs", tmp_path / "none")
    assert done.exit_code == 2 and f"No folder at {tmp_path / 'none'}" in done.output
    assert run("bench-prepare", tmp_path / "none").exit_code == 2


@pytest.mark.parametrize(
    ("options", "source"), [((), ["sample"]), (("--mocap", "."), ["prepare", "."]), (("--poses", __file__), None)]
)
def test_candidates_train_on_the_poses_that_are_asked_for(monkeypatch, tmp_path, options, source):
    commands, calls = [], []
    monkeypatch.setattr("pipelines.demo.run_command", commands.append)
    monkeypatch.setattr(bench_tokenizer, "bench_tokenizers", lambda *arguments: calls.append(arguments) or [])
    done = run("bench-tokenizer", "--out", tmp_path, "--minutes", 0.5, "--seeds", 2, "--only", "compact", *options)
    assert done.exit_code == 0, done.output
    poses = str(tmp_path / "poses.h5") if source else __file__
    assert commands == ([("pose-tokenizer", *source, "--out", poses)] if source else [])
    assert (str(calls[0][0]), *calls[0][1:5]) == (poses, tmp_path, ["compact"], 0.5, 2)
