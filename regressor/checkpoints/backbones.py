"""Backbones trained elsewhere (ViTPose, HMR2.0) as files that training can start from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tokenizer import __version__
from tokenizer.engine.config import to_dict
from tokenizer.engine.errors import fail
from tokenizer.engine.files.contents import check_version
from tokenizer.engine.files.foreign import check_names_and_shapes, foreign_tensors, load_foreign
from tokenizer.engine.files.state_files import load_state, save_state

from ..config import PRESETS, RegressorConfig
from ..network.empty_weights import empty_weights
from ..network.model import RegressorNetwork
from ..network.vit import ViT, grid_of
from .reference import POSITIONS, backbone_keys
from .regressor_file import load_strictly

FORMAT = "pose-token-hmr/backbone"
EXPECTED = "weights of ViTPose or HMR2.0"
_EXPERT = re.compile(r"(?P<block>blocks\.\d+)\.mlp\.experts\.(?P<number>\d{1,3})\.(?P<leaf>weight|bias)")
_LEARNED_ON = ("COCO", "AI Challenger", "MPII", "AP-10K", "APT-36K", "COCO-WholeBody")
"""The data sets of ViTPose+'s experts, in its order."""
_OTHER_PARTS = (
    "keypoint_head.",
    "associate_keypoint_heads.",
    "smpl_head.",
    "smpl.",
    "discriminator.",
    "initialized",
    "cls_token",
)


def read_backbone(
    path: str | Path,
    config: RegressorConfig,
    *,
    resize_positions: bool = False,
    expert: int = 0,
    note: Callable[[str], object] = lambda text: None,
) -> dict[str, Tensor]:
    """The tensors of ``config``'s ViT, under our names, float32, from a checkpoint of ViTPose or HMR2.0.

    What belongs to other parts of such checkpoints is left behind. ``resize_positions`` fits positions learned on
    another grid of patches (square, or 4 to 3), bicubically. Of ViTPose+, whose MLPs end in a part that all data sets
    share and one that each has for itself (an expert), ``expert`` is taken; ``note`` is called with a line on it.

    Raises ``UserError`` for a preset without a ViT, a file that is missing, damaged or hostile, a backbone of another
    preset, which it names, and for any tensor that is missing, extra, misshapen or not finite.
    """
    if config.backbone.kind != "vit":
        raise fail(
            f"Preset {config.preset!r} has no ViT to import into", next_step="Choose vit-s, vit-b, vit-l or vit-h"
        )
    content = load_foreign(path, expected=EXPECTED)
    holder = content if "state_dict" in content else {"state_dict": content}
    state = foreign_tensors(holder, "state_dict", path, expected=EXPECTED)
    tensors = {
        name.removeprefix("backbone."): value
        for name, value in state.items()
        if not name.removeprefix("backbone.").startswith(_OTHER_PARTS)
    }
    tensors = _with_expert(tensors, expert, path, note)
    _check_preset(tensors, config, path)
    with empty_weights():
        shapes = {name: tuple(value.shape) for name, value in _vit(config).state_dict().items()}
    table = backbone_keys(config.backbone.blocks[0])
    patches, width = shapes["positions"]
    if resize_positions and POSITIONS in tensors:
        tensors[POSITIONS] = _resized(tensors[POSITIONS], grid_of(config.image_size), path)
    expected = {theirs: shapes[name] for name, theirs in table.items()} | {POSITIONS: (1, 1 + patches, width)}
    check_names_and_shapes(tensors, expected, f"{path} is no backbone of preset {config.preset!r}")
    positions = tensors[POSITIONS].float()[0]
    renamed = {name: tensors[theirs].float() for name, theirs in table.items()}
    return {**renamed, "positions": positions[1:] + positions[:1]}


def save_backbone(
    path: str | Path, tensors: dict[str, Tensor], config: RegressorConfig, provenance: dict[str, Any]
) -> None:
    """Write what ``read_backbone`` gave, with the backbone's configuration, atomically."""
    save_state(
        path,
        {
            "format": FORMAT,
            "format_version": 1,
            "backbone_config": to_dict(config.backbone),
            "image_size": config.image_size,
            "backbone": {name: value.clone() for name, value in tensors.items()},
            "provenance": {"package": f"pose-token-hmr {__version__}", **provenance},
        },
    )


def saved_backbone(path: str | Path) -> dict[str, Any]:
    """What ``save_backbone`` wrote, on the CPU. Raises ``UserError`` for another kind of file."""
    state = load_state(path, what="backbone")
    if state.get("format") != FORMAT:
        raise fail(
            f"{path} is no backbone",
            got=f"format {state.get('format')!r}",
            expected=repr(FORMAT),
            next_step="Make one with `pose-regressor import-backbone`",
        )
    check_version(state.get("format_version"), 1, path)
    return state


def start_from_backbone(network: RegressorNetwork, path: str | Path) -> None:
    """Put the weights of a backbone's file into ``network``. Raises ``UserError`` for another kind of file or of
    backbone, and names the tensors that do not fit."""
    state = saved_backbone(path)
    heads = network.backbone.blocks[0].heads if isinstance(network.backbone, ViT) else None
    if state["backbone_config"]["heads"] != heads:
        raise fail(
            f"Backbone {path} is of another preset",
            got=f"{state['backbone_config']['heads']} heads",
            expected=f"{heads} heads" if heads else "no ViT",
        )
    load_strictly(network.backbone, state["backbone"], what=str(path))


def _with_expert(
    tensors: dict[str, Tensor], expert: int, path: str | Path, note: Callable[[str], object]
) -> dict[str, Tensor]:
    """One expert's rows behind those that all share, as ViTPose+ joins their outputs (Xu et al., 2023)."""
    experts = {name: match for name in tensors if (match := _EXPERT.fullmatch(name))}
    if not experts:
        return tensors
    numbers = sorted({int(match["number"]) for match in experts.values()})
    if expert not in numbers:
        raise fail(
            f"{path} has no expert {expert}",
            got=f"experts {', '.join(map(str, numbers))}",
            next_step="Give another --expert",
        )
    joined = {name: value for name, value in tensors.items() if name not in experts}
    for name, match in experts.items():
        shared = f"{match['block']}.mlp.fc2.{match['leaf']}"
        if int(match["number"]) == expert and shared in tensors:
            try:
                joined[shared] = torch.cat([tensors[shared], tensors[name]])
            except (RuntimeError, TypeError):
                raise fail(f"{path} has experts that do not fit", got=f"{name} {tuple(tensors[name].shape)}") from None
    learned = f", of {_LEARNED_ON[expert]}" if numbers == list(range(len(_LEARNED_ON))) else ""
    note(f"ViTPose+: expert {expert} of {len(numbers)}{learned} (--expert)")
    return joined


def _check_preset(tensors: dict[str, Tensor], config: RegressorConfig, path: str | Path) -> None:
    """Raise ``UserError`` in one line where these are the weights of another ViT, or none by these names."""
    patch = tensors.get("patch_embed.proj.weight")
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    if patch is None or patch.ndim != 4 or not blocks:
        raise fail(
            f"{path} holds no ViT by the names of ViTPose",
            got=", ".join(sorted(tensors)[:4]) or "nothing",
            expected="patch_embed.proj.weight, blocks.0.attn.qkv.weight, …",
            next_step="Give the weights as ViTPose or HMR2.0 published them",
        )
    size, expected_size = (len(patch), blocks), (config.backbone.width, config.backbone.blocks[0])
    if size == expected_size:
        return
    names = [name for name, preset in PRESETS.items() if (preset.backbone.width, *preset.backbone.blocks[:1]) == size]
    sizes = f"{size[0]} wide, {size[1]} blocks"
    raise fail(
        f"{path} is no backbone of preset {config.preset!r}",
        expected=f"{expected_size[0]} wide, {expected_size[1]} blocks",
        got=f"{sizes}: this is {names[0]}" if names else f"{sizes}, of no preset",
        next_step=f"Give --preset {names[0]}" if names else "Give its sizes: --set backbone.width=…, backbone.blocks=…",
    )


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
        raise fail(
            f"The positions of {path} belong to no known grid of patches",
            got=f"shape {tuple(positions.shape)}",
            expected="a square grid, or 4 rows to 3 columns",
        )
    if (rows, count // rows) == tuple(grid):
        return positions
    plane = positions[:, 1:].float().unflatten(1, (rows, -1)).permute(0, 3, 1, 2)
    fitted = F.interpolate(plane, size=tuple(grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1].float(), fitted.flatten(2).transpose(1, 2)], 1)
