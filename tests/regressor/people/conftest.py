"""A regressor that predicts, a photograph, and the command on it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.network.model import build_regressor


@pytest.fixture(scope="module")
def regressor_file(tmp_path_factory, tiny_config, tokenizer):
    torch.manual_seed(0)
    network = build_regressor(tiny_config, tokenizer).network
    provenance = {"body": "open", "crops_attributes": {"domain": "suit"}}
    path = tmp_path_factory.mktemp("regressor") / "regressor.pt"
    return save_regressor(path, network, tiny_config, tokenizer, provenance)


@pytest.fixture(autouse=True)
def no_detector(monkeypatch):
    """Whoever runs the tests may have installed it."""
    monkeypatch.setattr("regressor.people.jobs.is_installed", lambda: False)


@pytest.fixture
def photo(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    return tmp_path / "photo.png"


@pytest.fixture
def run(regressor_file, tokenizer_file, tmp_path):
    def call(*arguments, tokenizer=tokenizer_file):
        return CliRunner().invoke(
            main,
            [
                "predict",
                *map(str, arguments),
                "--regressor",
                str(regressor_file),
                "--tokenizer",
                str(tokenizer),
                "--out",
                str(tmp_path / "out"),
                "--device",
                "cpu",
            ],
        )

    return call
