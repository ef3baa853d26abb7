"""The benchmark of ``prepare``: copies that count as different clips, figures with their command, memory of all."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pipelines.benchmarks import bench_prepare
from tokenizer.engine.errors import UserError


def test_figures_of_a_few_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_prepare, "_DRAWN", 5000)
    for seed in range(2):
        folder = tmp_path / "cmu" / ("train", "val")[seed]
        folder.mkdir(parents=True)
        poses = np.random.default_rng(seed).normal(size=(5, 156)) * 0.1
        np.savez(folder / "a.npz", poses=poses, mocap_framerate=30.0)
    said = []
    figures = bench_prepare.prepare_figures(tmp_path / "cmu", tmp_path / "bench", said.append, copies=3)
    assert figures[0].what.startswith("prepare 6 clips, 30 frames") and figures[0].commands[0] in said[1]
    assert all(figure.value[0].isdigit() for figure in figures if "memory, all" not in figure.what)
    assert [figure.what.split(",")[1] for figure in figures[3::2]] == [" drawn alike", " drawn by a mixture"]
    with pytest.raises(UserError, match="No clips"):
        bench_prepare.prepare_figures(tmp_path / "bench" / "none", tmp_path, said.append)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_is_that_of_a_process_and_its_children():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "1\n"
        family = bench_prepare._family(process.pid)
        assert len(family) == 2 and all(bench_prepare._resident(pid) > 1e6 for pid in family)
        process.communicate("\n")
    assert bench_prepare._resident(process.pid) == 0
