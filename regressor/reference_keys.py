"""What the weights of HMR2.0, ViTPose and TokenHMR are called there and here: explicit tables, ours → theirs."""

from __future__ import annotations

_LEAVES = ("weight", "bias")


def _with_leaves(table: dict[str, str]) -> dict[str, str]:
    return {f"{ours}.{leaf}": f"{theirs}.{leaf}" for ours, theirs in table.items() for leaf in _LEAVES}


def backbone_keys(blocks: int) -> dict[str, str]:
    """Every tensor of a ViT of so many blocks but its positions, for which see ``POSITIONS``."""
    table = {"patch": "patch_embed.proj", "norm": "last_norm"}
    for i in range(blocks):
        table |= {f"blocks.{i}.{ours}": f"blocks.{i}.{theirs}" for ours, theirs in (
            ("norm1", "norm1"), ("qkv", "attn.qkv"), ("out", "attn.proj"), ("norm2", "norm2"),
            ("mlp.inner", "mlp.fc1"), ("mlp.outer", "mlp.fc2"),
        )}  # fmt: skip
    return _with_leaves(table)


POSITIONS = "pos_embed"
"""(1,1+N,width): an offset for all patches, a relic of a class token, then one for each; ours are their sums."""


def head_keys(layers: int) -> dict[str, str]:
    """Every tensor of TokenHMR's decoder and heads that is taken as it is, below ``smpl_head.``."""
    table = {
        "orientation": "decpose_grot", "shape": "decshape", "camera": "deccam", "hands": "decpose_hands",
        "pose_head.enter": "decpose.mixer_trans.ff.0", "pose_head.enter_norm": "decpose.mixer_trans.ff.1",
        "pose_head.leave": "decpose.mixer_norm_layer.ff.0", "pose_head.leave_norm": "decpose.mixer_norm_layer.ff.1",
        "pose_head.classes": "decpose.class_pred_layer",
    }  # fmt: skip
    for i in range(4):
        table |= {f"pose_head.layers.{i}.{ours}": f"decpose.mixer_head.{i}.{theirs}" for ours, theirs in (
            ("norm1", "layernorm1"), ("tokens.inner", "MLP_token.ff.0"), ("tokens.outer", "MLP_token.ff.3"),
            ("norm2", "layernorm2"), ("channels.inner", "MLP_channel.ff.0"), ("channels.outer", "MLP_channel.ff.3"),
        )}  # fmt: skip
    for i in range(layers):
        table |= {f"decoder.layers.{i}.{ours}": f"{layer_key(i)}.{theirs}" for ours, theirs in (
            ("norms.0", "0.norm"), ("self_out", "0.fn.to_out.0"), ("norms.1", "1.norm"), ("cross.out", "1.fn.to_out.0"),
            ("norms.2", "2.norm"), ("mlp.inner", "2.fn.net.0"), ("mlp.outer", "2.fn.net.3"),
        )}  # fmt: skip
    plain = {f"decoder.layers.{i}.cross.query.weight": f"{layer_key(i)}.1.fn.to_q.weight" for i in range(layers)}
    return _with_leaves(table) | plain


def layer_key(layer: int) -> str:
    """A layer of the decoder, below ``smpl_head.``."""
    return f"transformer.transformer.layers.{layer}"
