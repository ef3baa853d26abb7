"""Commands that run out of memory say in one line what to change, and exit with 2."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.evaluation import evaluate
from regressor.network.model import build_regressor
from regressor.people import photos as predict_files
from regressor.training import train


def too_much(*_, **__):
    torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("place", "name", "command", "says"),
    [
        (
            train,
            "forward_backward",
            "train {crops} --run {out} --set image_size=32 --set optim.batch=2 --set data.workers=0",
            ("in training", "optim.accumulate", "optim.batch", "backbone.gradient_checkpointing"),
        ),
        (evaluate, "score_batch", "evaluate {file} {crops}", ("in evaluation", "--precision bf16", "--device cpu")),
        (
            predict_files,
            "predict_crops",
            "predict {photo} --whole --regressor {file} --out {out}",
            ("photo.png", "--precision bf16", "--device cpu"),
        ),
    ],
)
def test_memory_that_runs_out_is_one_message(
    tmp_path, monkeypatch, crops_file, tokenizer_file, tokenizer, tiny_config, place, name, command, says
):
    network = build_regressor(tiny_config, tokenizer).network
    file = save_regressor(tmp_path / "r.pt", network, tiny_config, tokenizer, {"body": "open"})
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((64, 48, 3), np.uint8))
    monkeypatch.setattr(place, name, too_much)
    words = command.format(crops=crops_file, file=file, photo=tmp_path / "photo.png", out=tmp_path / "out")
    done = CliRunner().invoke(main, [*words.split(), "--tokenizer", str(tokenizer_file), "--device", "cpu"])
    told = [line for line in done.output.splitlines() if "Memory ran out" in line]
    assert done.exit_code == 2 and len(told) == 1, done.output
    assert all(word in told[0] for word in says) and "Traceback" not in done.output
