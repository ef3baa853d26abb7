"""Frozen backbones stay as they were, last blocks learn, and rates shrink by layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from regressor.config import BackboneConfig, DecoderConfig, HeadConfig
from regressor.datasets.crop_dataset import open_crops
from regressor.network.model import build_regressor
from regressor.training.optimizer import frozen_parts, parameter_groups
from regressor.training.train import train_regressor
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state
from tokenizer.engine.training.run import RunOptions


@pytest.fixture
def vit_config(tiny_config):
    return replace(
        tiny_config,
        image_size=64,
        backbone=BackboneConfig(kind="vit", width=16, blocks=(3,), heads=2),
        decoder=DecoderConfig(kind="single", dim=16, layers=1, heads=2, width=16, hidden=16),
        head=HeadConfig(logits="mixer"),
    )


def trained(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_the_last_blocks_of_a_vit_and_what_is_behind_them_learn(vit_config, tokenizer):
    network = build_regressor(vit_config, tokenizer).network
    everything = trained(network)
    assert frozen_parts(network, "all") == [] and trained(network) == everything
    frozen_parts(network, 1)
    backbone = {name for name in trained(network) if name.startswith("backbone.")}
    assert backbone and all(name.startswith(("backbone.blocks.2.", "backbone.norm.")) for name in backbone)
    frozen_parts(network, "none")
    assert trained(network) == {name for name in everything if not name.startswith("backbone.")}
    with pytest.raises(UserError, match="trainable 4"):
        frozen_parts(network, 4)


def test_rates_shrink_from_layer_to_layer(vit_config, tokenizer):
    network = build_regressor(vit_config, tokenizer).network
    groups, factors = parameter_groups(network, replace(vit_config.optim, layer_decay=0.5))
    rate = {id(p): factor for group, factor in zip(groups, factors, strict=True) for p in group["params"]}
    names = {name: rate[id(parameter)] for name, parameter in network.named_parameters()}
    assert len(names) == len(rate)
    assert [names[f"backbone.blocks.{n}.qkv.weight"] for n in range(3)] == [0.125, 0.25, 0.5]
    assert names["backbone.patch.weight"] == names["backbone.positions"] == 0.0625
    assert names["backbone.norm.weight"] == names["camera.weight"] == 1
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decays[id(network.camera.weight)] > 0 == decays[id(network.camera.bias)]


def test_without_layer_decay_there_are_two_groups_and_a_resnet_has_no_other(tiny_config, tokenizer):
    network = build_regressor(tiny_config, tokenizer).network
    groups, factors = parameter_groups(network, tiny_config.optim)
    assert factors == [1, 1] and [group["weight_decay"] for group in groups] == [tiny_config.optim.weight_decay, 0]
    with pytest.raises(UserError, match="Only a ViT"):
        parameter_groups(network, replace(tiny_config.optim, layer_decay=0.9))


@pytest.mark.parametrize("trainable", ["none", 1])
def test_training_leaves_frozen_parts_as_they_were(tmp_path, crops_file, tokenizer, tiny_config, open_body, trainable):
    """Statistics of batch norm included."""
    config = replace(
        tiny_config,
        device="cpu",
        backbone=replace(tiny_config.backbone, trainable=trainable),
        optim=replace(tiny_config.optim, steps=3),
    )
    torch.manual_seed(config.seed)
    before = build_regressor(config, tokenizer).network.state_dict()
    path = train_regressor(
        open_crops(crops_file), tokenizer, tmp_path / "run", config, open_body, options=RunOptions(export="last")
    )
    after = load_state(path)["network"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    kept = "backbone." if trainable == "none" else ("backbone.stem.", "backbone.stages.0.", "backbone.stages.1.")
    assert not [name for name in moved if name.startswith(kept)]
    assert "decoder.enter.weight" in moved
    assert any(name.startswith("backbone.stages.2.") for name in moved) == (trainable == 1)
    assert load_state(path)["provenance"]["weights"] == "last, step 3"
