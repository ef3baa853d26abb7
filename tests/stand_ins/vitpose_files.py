"""Files of ViTPose weights, drawn."""

from __future__ import annotations

import torch

WIDTH, DEPTH, SHARED = 16, 2, 12


def weights(*, prefix="backbone.", experts=0, width=WIDTH):
    torch.manual_seed(0)
    rows = SHARED if experts else width
    shapes = {
        "pos_embed": (1, 13, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        **dict.fromkeys(("patch_embed.proj.bias", "last_norm.weight", "last_norm.bias"), (width,)),
    }
    for block in range(DEPTH):
        linear = {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (rows, 4 * width),
            "norm1": (width,),
            "norm2": (width,),
        }
        linear |= {f"mlp.experts.{number}": (width - rows, 4 * width) for number in range(experts)}
        for name, shape in linear.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
    tensors = {f"{prefix}{name}": torch.randn(shape) for name, shape in shapes.items()}
    return {**tensors, "keypoint_head.final_layer.weight": torch.randn(17, 8, 1, 1)}


def saved(path, content):
    torch.save({"state_dict": content}, path)
    return path
