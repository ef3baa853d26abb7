"""The benchmark of training steps: its FLOPs are those of the formula, its figures are complete."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from pipelines.benchmarks.bench_step import _vocabulary, matrix_flops_per_s, step_flops, to_text
from pipelines.cli import main
from regressor.config import preset

TINY = ("backbone.width=16", "backbone.blocks=[2]", "backbone.heads=2", "image_size=64")


@pytest.fixture(scope="module")
def vocabulary():
    return _vocabulary()


def test_flops_are_those_of_the_formula(vocabulary):
    """Of a ViT's blocks 24 w² a patch and 4 w N for attention, three times for forward and backward; the patches have
    no gradient. What is behind it is a hundredth or two."""
    config = preset("vit-b")
    config = replace(config, optim=replace(config.optim, batch=2))
    width, patches = 768, 192
    blocks = 3 * 12 * patches * (24 * width**2 + 4 * patches * width)
    embedding = 2 * 2 * patches * 16 * 16 * 3 * width
    assert 1 < step_flops(config, vocabulary) / (2 * (blocks + embedding)) < 1.02
    again = replace(config, backbone=replace(config.backbone, gradient_checkpointing=True))
    assert step_flops(again, vocabulary) == step_flops(config, vocabulary), "computing it again is no use of it"
    frozen = replace(config, backbone=replace(config.backbone, trainable="none"))
    assert 0.33 < step_flops(frozen, vocabulary) / step_flops(config, vocabulary) < 0.36


def test_the_matrix_rate_counts_two_a_multiplication(monkeypatch):
    clock = iter(range(0, 100, 1))
    monkeypatch.setattr("pipelines.benchmarks.bench_step.time.perf_counter", lambda: next(clock))
    assert matrix_flops_per_s(torch.device("cpu"), torch.float32, side=10, repeats=2) == 2000


def test_the_text_shows_the_arithmetic():
    figures = {
        "preset": "vit-h",
        "batch": 48,
        "settings": ["seed=1"],
        "precision": "bf16",
        "device": "a GPU",
        "step_s": 0.1,
        "step_flops": 36e12,
        "matrix_flops_per_s": 720e12,
        "share": 0.5,
        "gpu_memory_gib": 40.0,
    }
    assert to_text(figures).splitlines() == [
        "vit-h, batch 48, bf16, seed=1, on a GPU",
        "A step takes 100.0 ms: 480.0 images/s",
        "36 TFLOP a step / 0.1 s = 360 TFLOP/s",
        "of 720 TFLOP/s, a large matrix product: 50.0%",
        "GPU: 40.0 GiB at most",
    ]


def bench(tmp_path, *arguments):
    done = CliRunner().invoke(main, ["bench-step", *arguments, "--json", str(tmp_path / "step.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "step.json").read_text())
    assert figures["share"] == figures["step_flops"] / figures["step_s"] / figures["matrix_flops_per_s"]
    return figures


def test_it_runs_on_a_cpu(tmp_path):
    settings = [word for setting in TINY for word in ("--set", setting)]
    figures = bench(
        tmp_path,
        "--preset",
        "vit-s",
        "--batch",
        "2",
        "--steps",
        "1",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        *settings,
    )
    assert figures["precision"] == "fp32" and 0 < figures["share"] < 1 and "gpu_memory_gib" not in figures


@pytest.mark.gpu
def test_vit_h_uses_its_gpu(tmp_path):
    figures = bench(tmp_path, "--preset", "vit-h", "--batch", "48", "--device", "cuda")
    assert figures["precision"] == "bf16" and figures["share"] >= 0.45 and figures["gpu_memory_gib"] > 10
