"""What of a regressor is trained, and at which relative rates: frozen backbones, last blocks, layer-wise decay.

The learning-rate schedule is ``tokenizer.engine.training.schedule``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from tokenizer.engine.errors import fail

from ..config import OptimConfig
from ..network.keypoint_encoder import KeypointEncoder
from ..network.model import RegressorNetwork
from ..network.resnet import ResidualBlock
from ..network.vit import Block, ViT

Trainable = Literal["all", "none"] | int


def frozen_parts(network: RegressorNetwork, trainable: Trainable) -> list[nn.Module]:
    """The parts of the backbone that training leaves alone; their weights no longer ask for gradients.

    ``none``: all of it; a number N: all before its last N blocks (the norm behind them is trained, too). The caller
    keeps these parts in eval mode: no dropout, and batch norm with the statistics it has. Raises ``UserError`` for more
    blocks than there are.
    """
    backbone = network.backbone
    if trainable == "all":
        return []
    parts: list[nn.Module] = [backbone]
    if trainable != "none" and not isinstance(backbone, KeypointEncoder):
        blocks = [module for module in backbone.modules() if isinstance(module, Block | ResidualBlock)]
        if not 0 < trainable <= len(blocks):
            raise fail(
                "The backbone has no such last blocks",
                got=f"backbone.trainable {trainable}",
                expected=f"1 to {len(blocks)}, 'all' or 'none'",
            )
        parts = [backbone.patch if isinstance(backbone, ViT) else backbone.stem, *blocks[:-trainable]]
        if isinstance(backbone, ViT):
            backbone.positions.requires_grad_(False)
    for part in parts:
        part.requires_grad_(False)
    return parts


def parameter_groups(network: RegressorNetwork, config: OptimConfig) -> tuple[list[dict[str, Any]], list[float]]:
    """AdamW's groups of what is trained, and the factor on the learning rate of each.

    Matrices decay, vectors do not. With ``layer_decay`` d the rate of a ViT's block is d times that of the block behind
    it, and d times that of the heads for the last (BEiT: Bao et al., 2022). Raises ``UserError`` for such a decay
    without a ViT.
    """
    backbone = network.backbone
    depth = len(backbone.blocks) if isinstance(backbone, ViT) else 0
    if config.layer_decay != 1 and not depth:
        raise fail("Only a ViT has learning rates by layer", got=f"optim.layer_decay {config.layer_decay}")

    def behind(name: str) -> int:
        """Layers from here to the heads."""
        if name.startswith(("backbone.patch.", "backbone.positions")):
            return depth + 1
        return depth - int(name.split(".")[2]) if name.startswith("backbone.blocks.") else 0

    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = config.layer_decay ** behind(name) if depth else 1.0
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    order = sorted(groups, reverse=True)
    return [{"params": groups[key], "weight_decay": key[1]} for key in order], [factor for factor, _ in order]


def make_optimizer(network: RegressorNetwork, config: OptimConfig) -> tuple[torch.optim.AdamW, list[float]]:
    """AdamW over ``parameter_groups``, and the factor on the learning rate of each group."""
    groups, factors = parameter_groups(network, config)
    # On a GPU in one pass over the weights; a CPU keeps the order of sums that its checkpoints were made with.
    fused = True if next(network.parameters()).device.type == "cuda" else None
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=fused), factors
