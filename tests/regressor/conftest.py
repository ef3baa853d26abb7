"""What several folders of tests of the regressor share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from body_models import write_model

from regressor.checkpoints.regressor_file import save_regressor
from regressor.network.model import build_regressor


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for gender, scale in (("NEUTRAL", 1.0), ("FEMALE", 0.9), ("MALE", 1.1)):
        write_model(folder / f"SMPL_{gender}.npz", scale)
    return folder


@pytest.fixture(scope="module")
def photographs(make_photographs):
    return make_photographs(12)


@pytest.fixture
def start(tmp_path, tiny_config, tokenizer):
    """A regressor that sees everybody at the wrong place, which a few steps can mend."""
    torch.manual_seed(0)
    config = replace(tiny_config, optim=replace(tiny_config.optim, lr=1.0))
    network = build_regressor(config, tokenizer).network
    network.mean_camera.copy_(torch.tensor([1.0, 0.25, 0.0]))
    return save_regressor(tmp_path / "start.pt", network, config, tokenizer, {"body": "open"})
