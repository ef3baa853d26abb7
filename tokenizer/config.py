"""The tokenizer's configuration: frozen dataclasses are the only schema, presets are code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from .engine.errors import fail


@dataclass(frozen=True)
class NetworkConfig:
    """Encoder and decoder."""

    kind: Literal["mlp"] = "mlp"
    width: int = 768
    blocks: int = 2


@dataclass(frozen=True)
class QuantizerConfig:
    """How latents become tokens. ``levels``, ``groups`` and ``layers`` serve fsq; the other sizes serve ema_vq."""

    kind: Literal["fsq", "ema_vq"] = "fsq"
    levels: tuple[int, ...] = (4, 4, 4, 4, 4, 2)
    groups: int = 10
    layers: int = 3
    num_tokens: int = 32
    num_codes: int = 2048
    dim: int = 8
    decay: float = 0.99
    restart_below: float = 1.0


@dataclass(frozen=True)
class LossConfig:
    """Weights of the training loss; metres and radians."""

    rotation: Literal["mse", "geodesic"] = "mse"
    rotation_weight: float = 1.0
    joints_weight: float = 10.0
    vertices_weight: float = 0.0
    num_vertices: int = 128
    commitment_weight: float = 0.25
    consistency_weight: float = 25.0
    consistency_deg: float = 3.0


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to poses before the encoder; the target is always the clean pose."""

    mirror: float = 0.5
    swap: float = 0.6
    noise_deg: float = 0.0
    noise_share: float = 0.5
    mask: float = 0.0
    mask_share: float = 0.5


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, warm-up and cosine. ``budget_s`` > 0 caps ``steps`` by the pace of the first steps."""

    steps: int = 12000
    budget_s: float = 0.0
    batch: int = 256
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.995


@dataclass(frozen=True)
class TokenizerConfig:
    """Everything that decides a training run, next to the pose store."""

    preset: str = "compact"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    validate_every: int = 500
    checkpoint_every: int = 500


_COMPACT = TokenizerConfig()
PRESETS: dict[str, TokenizerConfig] = {
    "compact": _COMPACT,
    "compact-vq": replace(_COMPACT, preset="compact-vq", quantizer=QuantizerConfig(kind="ema_vq")),
}
"""``compact``: residual MLPs and layered FSQ; ``compact-vq``: the same networks with an EMA codebook."""


def preset(name: str) -> TokenizerConfig:
    """A preset by name. Raises ``UserError`` naming those there are."""
    if name not in PRESETS:
        raise fail(f"Unknown preset {name!r}", expected=f"one of {', '.join(PRESETS)}")
    return PRESETS[name]
