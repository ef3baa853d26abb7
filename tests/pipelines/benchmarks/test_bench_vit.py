"""The benchmark of ViT regressors: its alternative is the same network, its figures are complete."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from pipelines.benchmarks import bench_vit
from pipelines.benchmarks.bench_vit import PLAIN, PlainViT, peak_memory_gib, to_markdown
from pipelines.cli import main
from regressor.network.vit import ViT
from tokenizer.engine.errors import UserError


def test_the_alternative_is_the_same_network():
    torch.manual_seed(0)
    vit = ViT(64, 16, 2, 4).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
        images = torch.randn(3, 3, 64, 64)
        assert torch.allclose(PlainViT(vit)(images), vit(images), atol=1e-4)


def test_peak_memory_counts_what_was_given_back():
    before = peak_memory_gib()
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("only Linux tells how much is held now")
    now = int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    block = np.ones(int((before - now + 0.25) * 2**27))
    held = peak_memory_gib()
    del block
    # The kernel's counters are exact to a few pages a core.
    assert before + 0.2 < held < before + 0.3 and peak_memory_gib() > held - 0.01


def test_table_gives_ratios_to_the_alternative():
    rows = [
        {"way": way, "batch": 1, "wall_s": 2 * cpu, "cpu_s": cpu, "rotation_deg": 0.5, "rotation_median_deg": 0.1}
        for way, cpu in (("fp32", 1.0), (PLAIN, 2.5), ("bf16", 0.5))
    ]
    text = to_markdown({"preset": "vit-h", "threads": 1, "cpu": "AVX512", "rows": rows, "peak_gib": {"fp32": 2.9}})
    assert "| fp32 | 1 | 2.00 | 1.00 | 2.50 | 0.100°, 0.500° |" in text
    assert "| bf16 | 1 | 1.00 | 0.50 | 5.00 |" in text and "2.90 GiB in fp32" in text


def test_a_process_that_dies_is_an_error_and_no_wait():
    with pytest.raises(UserError, match="ended at once"):
        bench_vit._in_process(os._exit, 1)


@pytest.mark.slow
def test_it_runs_and_bf16_stays_within_a_degree(tmp_path):
    done = CliRunner().invoke(main, ["bench-vit", "--preset", "vit-s", "--batch", "2", "--repeats", "1"])
    assert done.exit_code == 0, done.output
    rows = [line for line in done.output.splitlines() if line.startswith("| ") and "°" in line]
    assert len(rows) == 3
    assert all(float(line.split(",")[-1].split("°")[0]) < 1 for line in rows)
