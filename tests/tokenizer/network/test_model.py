"""The tokenizer network as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.config import PRESETS, NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.frozen import load_tokenizer
from tokenizer.mocap.drawn import write_samples
from tokenizer.mocap.store import open_store
from tokenizer.network.model import build_tokenizer
from tokenizer.training.train import train_tokenizer

NETWORKS = {"mlp": NetworkConfig(width=32, blocks=1), "attention": NetworkConfig("attention", width=32, blocks=2)}


QUANTIZERS = {
    "fsq": QuantizerConfig(levels=(4, 4), groups=3, layers=2),
    "ema_vq": QuantizerConfig("ema_vq", num_tokens=4, num_codes=32, dim=4),
    "residual_vq": QuantizerConfig("residual_vq", groups=3, layers=2, num_codes=32, dim=4),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_all_combinations_train_export_and_decode_alike(network, quantizer, tmp_path, open_body):
    write_samples(tmp_path / "poses.h5", 300, seed=0)
    config = TokenizerConfig(network=NETWORKS[network], quantizer=QUANTIZERS[quantizer], precision="fp32")
    config = replace(config, optim=replace(config.optim, steps=6, batch=32, warmup=2))
    frozen = load_tokenizer(train_tokenizer(open_store(tmp_path / "poses.h5"), tmp_path / "run", config, open_body))
    poses = axis_angle_to_matrix(torch.from_numpy(open_store(tmp_path / "poses.h5").poses("val")))
    ids = frozen.encode(poses)
    logits = torch.full((*ids.shape, frozen.num_codes), -30.0).scatter_(-1, ids[..., None], 30.0)
    assert torch.allclose(frozen.decode_soft(logits.softmax(-1)), frozen.decode(ids), atol=1e-4)


def test_presets_build():
    for name, config in PRESETS.items():
        if name != "paper":
            built = build_tokenizer(config.network, config.quantizer)
            assert built.quantizer.codebook.shape == (built.num_codes, built.quantizer.dim), name
