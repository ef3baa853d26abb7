"""Networks for tests: weights of a size that lets every part matter, the paper's network made narrow."""

from __future__ import annotations

from dataclasses import replace

import torch

from regressor.config import (
    preset,
)


def lively(module):
    """Weights of a size that lets every part of the network matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * (parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3))
    return module


def attention(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def paper_like(tiny_config):
    """The paper's network, narrow and at 64 px."""
    paper = preset("vit-s")
    return replace(
        tiny_config,
        image_size=64,
        head=paper.head,
        loss=paper.loss,
        decoder=replace(paper.decoder, dim=16, layers=2, heads=2, width=16, hidden=16),
        backbone=replace(paper.backbone, width=16, blocks=(2,), heads=2),
    )
