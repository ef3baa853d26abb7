"""Backbones trained elsewhere (ViTPose, HMR2.0) as files that training can start from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tokenizer import __version__
from tokenizer.engine.checkpoint import load_state, save_state
from tokenizer.engine.errors import fail
from tokenizer.engine.foreign import check_names_and_shapes, foreign_tensors, load_foreign
from tokenizer.engine.options import to_dict

from .config import RegressorConfig
from .empty_weights import empty_weights
from .model import RegressorNetwork
from .reference_keys import POSITIONS, backbone_keys
from .vit import ViT, grid_of
from .weights import load_strictly

FORMAT = "pose-token-hmr/backbone"
EXPECTED = "weights of ViTPose or HMR2.0"
_OTHER_PARTS = (
    "keypoint_head.", "associate_keypoint_heads.", "smpl_head.", "smpl.", "discriminator.", "initialized", "cls_token",
)  # fmt: skip


def read_backbone(path: str | Path, config: RegressorConfig, *, resize_positions: bool = False) -> dict[str, Tensor]:
    """The tensors of ``config``'s ViT, under our names, float32, from a checkpoint of ViTPose or HMR2.0.

    What belongs to other parts of such checkpoints is left behind. ``resize_positions`` fits positions learned on
    another grid of patches (square, or 4 to 3), bicubically. Raises ``UserError`` for a preset without a ViT, a file
    that is missing, damaged or hostile, and names every tensor that is missing, extra, misshapen or not finite.
    """
    if config.backbone.kind != "vit":
        raise fail(
            f"Preset {config.preset!r} has no ViT to import into", next_step="Choose vit-s, vit-b, vit-l or vit-h"
        )
    content = load_foreign(path, expected=EXPECTED)
    holder = content if "state_dict" in content else {"state_dict": content}
    found = foreign_tensors(holder, "state_dict", path, expected=EXPECTED)
    tensors = {
        name.removeprefix("backbone."): value
        for name, value in found.items()
        if not name.removeprefix("backbone.").startswith(_OTHER_PARTS)
    }
    with empty_weights():
        shapes = {name: tuple(value.shape) for name, value in _vit(config).state_dict().items()}
    table = backbone_keys(config.backbone.blocks[0])
    patches, width = shapes["positions"]
    if resize_positions and POSITIONS in tensors:
        tensors[POSITIONS] = _resized(tensors[POSITIONS], grid_of(config.image_size), path)
    expected = {theirs: shapes[ours] for ours, theirs in table.items()} | {POSITIONS: (1, 1 + patches, width)}
    check_names_and_shapes(tensors, expected, f"{path} is no backbone of preset {config.preset!r}")
    positions = tensors[POSITIONS].float()[0]
    ours = {name: tensors[theirs].float() for name, theirs in table.items()}
    return {**ours, "positions": positions[1:] + positions[:1]}


def save_backbone(
    path: str | Path, tensors: dict[str, Tensor], config: RegressorConfig, provenance: dict[str, Any]
) -> None:
    """Write what ``read_backbone`` gave, with the backbone's configuration, atomically."""
    save_state(path, {
        "format": FORMAT, "format_version": 1, "backbone_config": to_dict(config.backbone),
        "image_size": config.image_size, "backbone": {name: value.clone() for name, value in tensors.items()},
        "provenance": {"package": f"pose-token-hmr {__version__}", **provenance},
    })  # fmt: skip


def saved_backbone(path: str | Path) -> dict[str, Any]:
    """What ``save_backbone`` wrote, on the CPU. Raises ``UserError`` for another kind of file."""
    state = load_state(path, what="backbone")
    if state.get("format") != FORMAT:
        raise fail(f"{path} is no backbone", got=f"format {state.get('format')!r}", expected=repr(FORMAT),
                   next_step="Make one with `pose-regressor import-backbone`")  # fmt: skip
    return state


def start_from_backbone(network: RegressorNetwork, path: str | Path) -> None:
    """Put the weights of a backbone's file into ``network``. Raises ``UserError`` for another kind of file or of
    backbone, and names the tensors that do not fit."""
    state = saved_backbone(path)
    heads = network.backbone.blocks[0].heads if isinstance(network.backbone, ViT) else None
    if state["backbone_config"]["heads"] != heads:
        raise fail(f"Backbone {path} is of another preset", got=f"{state['backbone_config']['heads']} heads",
                   expected=f"{heads} heads" if heads else "no ViT")  # fmt: skip
    load_strictly(network.backbone, state["backbone"], what=str(path))


def _vit(config: RegressorConfig) -> ViT:
    return ViT(config.image_size, config.backbone.width, config.backbone.blocks[0], config.backbone.heads)


def _resized(positions: Tensor, grid: Sequence[int], path: str | Path) -> Tensor:
    """(1,1+N,width), for a square or 4:3 grid of N patches → (1,1+rows·columns,width)."""
    count = positions.shape[1] - 1 if positions.ndim == 3 and len(positions) == 1 else 0
    side, third = math.isqrt(max(0, count)), math.isqrt(max(0, count) // 12)
    if count > 0 and side * side == count:
        rows = side
    elif count > 0 and 12 * third * third == count:
        rows = 4 * third
    else:
        raise fail(f"The positions of {path} belong to no known grid of patches", got=f"shape {tuple(positions.shape)}",
                   expected="a square grid, or 4 rows to 3 columns")  # fmt: skip
    if (rows, count // rows) == tuple(grid):
        return positions
    plane = positions[:, 1:].float().unflatten(1, (rows, -1)).permute(0, 3, 1, 2)
    fitted = F.interpolate(plane, size=tuple(grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1].float(), fitted.flatten(2).transpose(1, 2)], 1)
