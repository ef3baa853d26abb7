"""Trainings of a few steps."""

from __future__ import annotations

from tokenizer.config import NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig

SMALL = TokenizerConfig(
    network=NetworkConfig(width=16, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4), groups=4, layers=2),
    optim=OptimConfig(steps=4, batch=8, warmup=1),
    device="cpu",
    precision="fp32",
    validate_every=2,
    checkpoint_every=2,
)
