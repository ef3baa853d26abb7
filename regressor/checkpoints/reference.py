"""Released checkpoints of TokenHMR become regressor files of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokenizer import FrozenTokenizer
from tokenizer.engine.config import resolve
from tokenizer.engine.errors import fail
from tokenizer.engine.files.foreign import check_names_and_shapes, foreign_tensors, load_foreign, setting
from tokenizer.engine.files.npz import read_npz

from ..config import PRESETS, RegressorConfig, preset
from ..network.model import NUM_BETAS, Regressor, build_regressor
from ..network.vit import grid_of

EXPECTED = "a released tokenhmr_model*.ckpt"
_DROPPED = ("smpl.", "initialized")
_MEANS = {"init_body_pose": ("pose", 144), "init_betas": ("shape", NUM_BETAS), "init_cam": ("cam", 3)}
_QUERY_PARTS = {"transformer.pos_embedding": 3, "transformer.to_token_embedding.bias": 1}
# The query is what a linear layer makes of a zero: its bias alone.
_UNUSED = "transformer.to_token_embedding.weight"


def read_reference(
    path: str | Path,
    tokenizer: FrozenTokenizer,
    *,
    mean_params: str | Path | None = None,
    assignments: Sequence[str] = (),
) -> Regressor:
    """The regressor in a released checkpoint, in eval mode; its body-model buffers (``smpl.*``) are left behind.

    ``tokenizer`` must be the one it was trained with: the file does not hold it, and can tell only the numbers of
    tokens and codes. ``mean_params`` (``smpl_mean_params.npz``) gives the mean pose, shape and camera where the file
    has none, and must agree where it has. Sizes are read off the weights and the settings in the file;
    ``assignments`` (``backbone.heads=12``) correct what cannot be read there.

    Raises ``UserError`` for a file that is missing, damaged or hostile, names every tensor that is missing, extra,
    misshapen or not finite, and tells of a tokenizer or mean parameters that do not fit.
    """
    content = load_foreign(path, expected=EXPECTED)
    tensors = {
        name: value
        for name, value in foreign_tensors(content, "state_dict", path, expected=EXPECTED).items()
        if not name.startswith(_DROPPED)
    }
    tensors = _with_means(tensors, mean_params)
    config = resolve(_config_of(tensors, content, path, assignments), assignments=assignments)
    _check_tokenizer(tensors, tokenizer, path)
    regressor = build_regressor(config, tokenizer, empty=True)
    shapes = {name: tuple(value.shape) for name, value in regressor.network.state_dict().items()}
    check_names_and_shapes(
        tensors, _expected_shapes(config, shapes), f"{path} is not a regressor of the reference's architecture"
    )
    regressor.network.load_state_dict(_our_tensors(tensors, config), assign=True)
    steps = {key: content[key] for key in ("epoch", "global_step") if isinstance(content.get(key), int)}
    regressor.provenance = {"imported_from": Path(path).name, "body": "smpl", **steps}
    return regressor.eval()


def _with_means(tensors: dict[str, Tensor], mean_params: str | Path | None) -> dict[str, Tensor]:
    """The mean parameters of the file added to ``tensors``, or compared with what is there."""
    if mean_params is None:
        return tensors
    arrays = read_npz(mean_params, "mean parameters", keys={key for key, _ in _MEANS.values()})
    means = {}
    for name, (key, size) in _MEANS.items():
        if key not in arrays or arrays[key].size != size or arrays[key].dtype.kind != "f":
            got = f"{key} of shape {arrays[key].shape}" if key in arrays else f"no {key}"
            raise fail(f"{mean_params} holds no mean parameters", got=got, expected=f"{size} numbers named {key}")
        means[f"smpl_head.{name}"] = torch.from_numpy(arrays[key].astype(np.float32)).view(1, size)
    for name, value in means.items():
        if name in tensors and tensors[name].shape == value.shape and not torch.allclose(tensors[name].float(), value):
            raise fail(
                f"The mean parameters of {mean_params} are not those of the checkpoint",
                got=f"another {name}",
                next_step="Leave --mean-params out to use the checkpoint's own",
            )
    return {**means, **tensors}


def _config_of(
    tensors: dict[str, Tensor], content: dict[str, Any], path: str | Path, assignments: Sequence[str]
) -> RegressorConfig:
    """The sizes of the network, read off its weights and settings."""
    try:
        width = tensors["backbone.patch_embed.proj.weight"].shape[0]
        patches = tensors[f"backbone.{POSITIONS}"].shape[1] - 1
        query = tensors["smpl_head.transformer.pos_embedding"].shape[-1]
        inner = tensors[f"smpl_head.{layer_key(0)}.1.fn.to_q.weight"].shape[0]
        hidden = tensors[f"smpl_head.{layer_key(0)}.2.fn.net.0.weight"].shape[0]
        if min(width, patches, query, inner, hidden) < 1:
            raise ValueError
    except (KeyError, IndexError, ValueError):
        first_names = ", ".join(list(tensors)[:4])
        raise fail(f"{path} is no regressor of the reference", got=f"{first_names} …", expected=EXPECTED) from None
    size = round((patches * 1024 / 3) ** 0.5)
    if math.prod(grid_of(size)) != patches:
        raise fail(f"{path} has positions for another image", got=f"{patches} patches", expected="192, of 256 × 192 px")
    blocks, layers = _count(tensors, "backbone.blocks."), _count(tensors, f"smpl_head.{layer_key(0)[:-1]}")
    alike = next((p for p in PRESETS.values() if p.backbone.kind == "vit" and p.backbone.width == width), None)
    if alike is None and not any(assignment.startswith("backbone.heads=") for assignment in assignments):
        raise fail(
            "The file does not name the number of heads",
            got=f"an unusual backbone, {width} wide",
            next_step="Say it: --set backbone.heads=N",
        )
    base = alike or preset("vit-h")
    heads = setting(content, "hyper_parameters", "cfg", "MODEL", "SMPL_HEAD", "TRANSFORMER_DECODER", "heads")
    return replace(
        base,
        preset="imported",
        image_size=size,
        backbone=replace(base.backbone, width=width, blocks=(blocks,)),
        decoder=replace(
            base.decoder,
            dim=inner,
            layers=layers,
            width=query,
            hidden=hidden,
            heads=heads if isinstance(heads, int) and heads > 0 else max(1, inner // 64),
        ),
    )


def _count(tensors: dict[str, Tensor], prefix: str) -> int:
    """How many different parts follow ``prefix``."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def _check_tokenizer(tensors: dict[str, Tensor], tokenizer: FrozenTokenizer, path: str | Path) -> None:
    enter = tensors.get("smpl_head.decpose.mixer_trans.ff.0.bias")
    channels = tensors.get("smpl_head.decpose.mixer_norm_layer.ff.0.bias")
    classes = tensors.get("smpl_head.decpose.class_pred_layer.bias")
    if enter is None or channels is None or classes is None or not len(channels):
        return  # and let the missing tensor be named
    tokens, codes = len(enter) // len(channels), len(classes)
    if (tokens, (codes,)) != (tokenizer.num_tokens, tokenizer.levels):
        got = f"a tokenizer of {tokenizer.num_tokens} tokens × {tokenizer.num_codes} codes, levels {tokenizer.levels}"
        raise fail(
            f"The tokenizer does not fit {path}",
            got=got,
            expected=f"{tokens} tokens × {codes} codes",
            next_step="Import the released tokenizer.pth with `pose-tokenizer import-reference`",
        )


def _expected_shapes(config: RegressorConfig, ours: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Their name → shape, from ours."""
    blocks, layers = config.backbone.blocks[0], config.decoder.layers
    width, inner, context = config.decoder.width, config.decoder.dim, config.backbone.width
    patches = ours["backbone.positions"][0]
    shapes = {f"backbone.{theirs}": ours[f"backbone.{name}"] for name, theirs in backbone_keys(blocks).items()}
    shapes[f"backbone.{POSITIONS}"] = (1, 1 + patches, context)
    head = {theirs: ours[name] for name, theirs in head_keys(layers).items()}
    head |= {name: (1,) * (ndim - 1) + (width,) for name, ndim in _QUERY_PARTS.items()} | {_UNUSED: (width, 1)}
    head |= {name: (1, size) for name, (_, size) in _MEANS.items()}
    for i in range(layers):
        head[f"{layer_key(i)}.0.fn.to_qkv.weight"] = (3 * inner, width)
        head[f"{layer_key(i)}.1.fn.to_kv.weight"] = (2 * inner, context)
    return shapes | {f"smpl_head.{name}": shape for name, shape in head.items()}


def _our_tensors(tensors: dict[str, Tensor], config: RegressorConfig) -> dict[str, Tensor]:
    """Our name → values, float32; each in memory of its own, or still in the file."""
    blocks, layers, heads = config.backbone.blocks[0], config.decoder.layers, config.decoder.heads
    head = {name.removeprefix("smpl_head."): value.float() for name, value in tensors.items() if "smpl_head." in name}
    ours = {f"backbone.{name}": tensors[f"backbone.{theirs}"].float() for name, theirs in backbone_keys(blocks).items()}
    positions = tensors[f"backbone.{POSITIONS}"].float()[0]
    ours["backbone.positions"] = positions[1:] + positions[:1]
    ours |= {name: head[theirs] for name, theirs in head_keys(layers).items()}
    ours["decoder.query"] = torch.stack([head[name].flatten() for name in _QUERY_PARTS]).sum(0)
    for i in range(layers):
        value = head[f"{layer_key(i)}.0.fn.to_qkv.weight"].chunk(3)[2]
        ours[f"decoder.layers.{i}.self_value.weight"] = value.clone()
        for name, part in zip(("key", "value"), head[f"{layer_key(i)}.1.fn.to_kv.weight"].chunk(2)):
            ours[f"decoder.layers.{i}.cross.{name}"] = part.unflatten(0, (heads, -1)).clone()
    pose = head["init_body_pose"].view(24, 6)
    for name, mean in (
        ("orientation6d", pose[0]),
        ("pose6d", pose[1:22]),
        ("hands6d", pose[22:]),
        ("betas", head["init_betas"][0]),
        ("camera", head["init_cam"][0]),
    ):
        ours[f"mean_{name}"] = mean.clone()
    return ours


_LEAVES = ("weight", "bias")


def _with_leaves(table: dict[str, str]) -> dict[str, str]:
    return {f"{ours}.{leaf}": f"{theirs}.{leaf}" for ours, theirs in table.items() for leaf in _LEAVES}


def backbone_keys(blocks: int) -> dict[str, str]:
    """Every tensor of a ViT of so many blocks but its positions, for which see ``POSITIONS``."""
    table = {"patch": "patch_embed.proj", "norm": "last_norm"}
    for i in range(blocks):
        table |= {
            f"blocks.{i}.{ours}": f"blocks.{i}.{theirs}"
            for ours, theirs in (
                ("norm1", "norm1"),
                ("qkv", "attn.qkv"),
                ("out", "attn.proj"),
                ("norm2", "norm2"),
                ("mlp.inner", "mlp.fc1"),
                ("mlp.outer", "mlp.fc2"),
            )
        }
    return _with_leaves(table)


POSITIONS = "pos_embed"
"""(1,1+N,width): an offset for all patches, a relic of a class token, then one for each; ours are their sums."""


def head_keys(layers: int) -> dict[str, str]:
    """Every tensor of TokenHMR's decoder and heads that is taken as it is, below ``smpl_head.``."""
    table = {
        "orientation": "decpose_grot",
        "shape": "decshape",
        "camera": "deccam",
        "hands": "decpose_hands",
        "pose_head.enter": "decpose.mixer_trans.ff.0",
        "pose_head.enter_norm": "decpose.mixer_trans.ff.1",
        "pose_head.leave": "decpose.mixer_norm_layer.ff.0",
        "pose_head.leave_norm": "decpose.mixer_norm_layer.ff.1",
        "pose_head.classes": "decpose.class_pred_layer",
    }
    for i in range(4):
        table |= {
            f"pose_head.layers.{i}.{ours}": f"decpose.mixer_head.{i}.{theirs}"
            for ours, theirs in (
                ("norm1", "layernorm1"),
                ("tokens.inner", "MLP_token.ff.0"),
                ("tokens.outer", "MLP_token.ff.3"),
                ("norm2", "layernorm2"),
                ("channels.inner", "MLP_channel.ff.0"),
                ("channels.outer", "MLP_channel.ff.3"),
            )
        }
    for i in range(layers):
        table |= {
            f"decoder.layers.{i}.{ours}": f"{layer_key(i)}.{theirs}"
            for ours, theirs in (
                ("norms.0", "0.norm"),
                ("self_out", "0.fn.to_out.0"),
                ("norms.1", "1.norm"),
                ("cross.out", "1.fn.to_out.0"),
                ("norms.2", "2.norm"),
                ("mlp.inner", "2.fn.net.0"),
                ("mlp.outer", "2.fn.net.3"),
            )
        }
    plain = {f"decoder.layers.{i}.cross.query.weight": f"{layer_key(i)}.1.fn.to_q.weight" for i in range(layers)}
    return _with_leaves(table) | plain


def layer_key(layer: int) -> str:
    """A layer of the decoder, below ``smpl_head.``."""
    return f"transformer.transformer.layers.{layer}"
