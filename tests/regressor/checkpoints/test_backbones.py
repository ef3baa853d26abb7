"""Backbones as their makers and users save them: wrapped, with experts, of another preset, in another form."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest
import torch
from vitpose_files import DEPTH, SHARED, WIDTH, saved, weights

from regressor.checkpoints import backbones as backbone_file
from regressor.checkpoints.backbones import read_backbone
from regressor.config import BackboneConfig, preset
from tokenizer.engine.errors import UserError


@pytest.fixture
def config(monkeypatch):
    small = BackboneConfig(kind="vit", width=WIDTH, blocks=(DEPTH,), heads=2)
    tiny = replace(preset("vit-s"), preset="tiny", image_size=64, backbone=small)
    other = replace(tiny, preset="other", backbone=replace(small, width=24))
    monkeypatch.setattr(backbone_file, "PRESETS", {"tiny": tiny, "other": other})
    return tiny


@pytest.mark.parametrize("prefix", ["module.backbone.", "_orig_mod.backbone.", "module._orig_mod.backbone."])
def test_wrappers_are_taken_off(tmp_path, config, prefix):
    plain = read_backbone(saved(tmp_path / "a.pth", weights()), config)
    wrapped = read_backbone(saved(tmp_path / "b.pth", weights(prefix=prefix)), config)
    half = read_backbone(saved(tmp_path / "c.pth", {k: v.half() for k, v in weights().items()}), config)
    assert plain.keys() == wrapped.keys() and all(torch.equal(plain[name], wrapped[name]) for name in plain)
    for name, value in plain.items():
        assert half[name].dtype == torch.float32 and torch.allclose(half[name], value, atol=2e-3)


def test_of_experts_one_is_joined_to_what_all_share(tmp_path, config):
    content, told = weights(experts=6), []
    tensors = read_backbone(saved(tmp_path / "plus.pth", content), config, expert=5, note=told.append)
    layer = tensors["blocks.1.mlp.outer.weight"]
    assert torch.equal(layer[:SHARED], content["backbone.blocks.1.mlp.fc2.weight"])
    assert torch.equal(layer[SHARED:], content["backbone.blocks.1.mlp.experts.5.weight"])
    assert torch.equal(tensors["blocks.0.mlp.outer.bias"][SHARED:], content["backbone.blocks.0.mlp.experts.5.bias"])
    assert told == ["ViTPose+: expert 5 of 6, of COCO-WholeBody (--expert)"]
    with pytest.raises(UserError, match="no expert 6; got experts 0, 1, 2, 3, 4, 5"):
        read_backbone(tmp_path / "plus.pth", config, expert=6)


def test_experts_compute_what_vitpose_computes(tmp_path, config):
    """Both parts of the last layer see the same input; their outputs lie one behind the other."""
    content = weights(experts=2)
    tensors = read_backbone(saved(tmp_path / "plus.pth", content), config, expert=1)
    x = torch.randn(5, 4 * WIDTH)
    parts = [
        torch.nn.functional.linear(x, *(content[f"backbone.blocks.0.mlp.{part}.{leaf}"] for leaf in ("weight", "bias")))
        for part in ("fc2", "experts.1")
    ]
    outer = torch.nn.functional.linear(x, tensors["blocks.0.mlp.outer.weight"], tensors["blocks.0.mlp.outer.bias"])
    assert torch.allclose(outer, torch.cat(parts, -1), atol=1e-5)


def test_another_preset_is_named_in_one_line(tmp_path, config):
    path = saved(tmp_path / "a.pth", weights(width=24))
    with pytest.raises(UserError, match=r"24 wide, 2 blocks: this is other; expected 16.*--preset other") as told:
        read_backbone(path, config)
    assert len(str(told.value)) < 300 and "\n" not in str(told.value)
    with pytest.raises(UserError, match="20 wide, 2 blocks, of no preset"):
        read_backbone(saved(tmp_path / "b.pth", weights(width=20)), config)
    names = {"encoder.layer.0.attention.query.weight": torch.zeros(4, 4)}
    with pytest.raises(UserError, match=r"no ViT by the names of ViTPose; got encoder\.layer\.0") as told:
        read_backbone(saved(tmp_path / "c.pth", names), config)
    assert len(str(told.value)) < 400


def test_safetensors_are_read_or_named(tmp_path, config):
    content = weights()
    head, blob = {}, b""
    for name, value in content.items():
        data = value.numpy().tobytes()
        head[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(head).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + blob)
    try:
        import safetensors  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"is a safetensors file.*pip install safetensors"):
            read_backbone(tmp_path / "a.safetensors", config)
    else:
        plain = read_backbone(saved(tmp_path / "a.pth", content), config)
        tensors = read_backbone(tmp_path / "a.safetensors", config)
        assert all(torch.equal(tensors[name], plain[name]) for name in plain)
