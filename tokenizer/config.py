"""The tokenizer's configuration: frozen dataclasses are the only schema, presets are code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from .engine.config import require_at_least
from .engine.errors import fail


@dataclass(frozen=True)
class NetworkConfig:
    """Encoder and decoder: residual MLPs or attention over joints (``blocks`` each side), or the paper's convolutions
    (``conv``). ``linear``: with each MLP a linear map, which begins as principal components of the poses, so that
    training starts near what these reach; with fsq alone."""

    kind: Literal["mlp", "attention", "conv"] = "mlp"
    width: int = 768
    blocks: int = 2
    linear: bool = False


@dataclass(frozen=True)
class QuantizerConfig:
    """How latents become tokens: (layered) finite scalar quantization, or codebooks that follow the latents, of one
    layer (``ema_vq``) or several (``residual_vq``). ``levels`` serve fsq; ``groups`` and ``layers`` serve fsq and
    residual_vq; ``num_tokens`` serves ema_vq; the other sizes serve both codebooks."""

    kind: Literal["fsq", "ema_vq", "residual_vq"] = "fsq"
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
    """Weights of the training loss; metres and radians. ``num_vertices``: size of the fixed subset, 0 for all;
    ``area_mse`` weighs a vertex by the areas of its faces. The weight of consistency grows evenly over the first
    ``consistency_grows`` of the training: first a pose must be told at all, then the same one the same way; it is taken
    of one in ``consistency_every`` poses."""

    rotation: Literal["mse", "geodesic"] = "mse"
    rotation_weight: float = 1.0
    joints: Literal["l1", "mse"] = "l1"
    joints_weight: float = 10.0
    vertices: Literal["l1", "mse", "area_mse"] = "l1"
    vertices_weight: float = 0.0
    num_vertices: int = 128
    commitment_weight: float = 0.25
    consistency_weight: float = 70.0
    consistency_grows: float = 1.0
    consistency_deg: float = 3.0
    consistency_every: int = 1

    def __post_init__(self) -> None:
        """Raise ``UserError`` where consistency would be taken of no pose."""
        require_at_least(self, "loss.", consistency_every=1)


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to poses before the encoder.

    Mirroring, swapping and turning make new poses, which are also the target; noise and masks change the input alone.
    ``turn_share`` of the poses have every joint turned about a random axis, by an angle whose r.m.s. over all joints of
    a kind is ``turn_…_deg``: mocap hardly ever moves collars, spine3 and feet, and people do. In a ``mask_share`` of
    the poses joints are hidden: each with probability ``mask``, or, in ``mask_limbs`` of these, one or two whole limbs.
    """

    mirror: float = 0.5
    swap: float = 0.6
    turn_share: float = 0.0
    turn_collars_deg: float = 20.0
    turn_spine3_deg: float = 8.0
    turn_feet_deg: float = 12.0
    turn_others_deg: float = 6.0
    noise_deg: float = 0.0
    noise_share: float = 0.5
    mask: float = 0.5
    mask_share: float = 0.1
    mask_limbs: float = 0.0


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, linear warm-up, then a cosine to zero, or a factor ``gamma`` at each of ``milestones``.

    ``budget_s`` > 0: seconds for all of the training, validations included; as many of ``steps`` as fit are taken, and
    the schedule follows the time. ``warmup`` is at most a quarter. ``clip`` 0 and ``average`` 0 are off.
    """

    steps: int = 12000
    budget_s: float = 0.0
    batch: int = 256
    lr: float = 1e-3
    warmup: int = 100
    schedule: Literal["cosine", "milestones"] = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.995

    def __post_init__(self) -> None:
        """Raise ``UserError`` for numbers too small to train by."""
        require_at_least(self, "optim.", steps=1, budget_s=0, batch=1, lr=0, warmup=0)


@dataclass(frozen=True)
class TokenizerConfig:
    """Everything that decides a training run, next to the pose store. ``mix``: shares of its data sets in a batch, as
    in ``cmu=.12,moyo=.16`` (``rest``: those not named); ``paper``; or nothing, for every pose alike. ``compile``:
    torch.compile the networks. ``validate_every`` and ``checkpoint_every``: of ``optim.steps``. ``val_poses``: at most
    so many are validated on, spread evenly over the val split; under a budget of less than two minutes as much fewer.
    ``keep_checkpoints``: the newest that stay; the best weights are in each."""

    preset: str = "compact"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    mix: str = ""
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    validate_every: int = 500
    val_poses: int = 5000
    checkpoint_every: int = 500
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        """Raise ``UserError`` for intervals of no step, and where nothing would be validated on or kept."""
        require_at_least(self, "", validate_every=1, val_poses=1, checkpoint_every=1, keep_checkpoints=1)


_COMPACT = TokenizerConfig()
PRESETS: dict[str, TokenizerConfig] = {
    "compact": _COMPACT,
    "compact-vq": replace(_COMPACT, preset="compact-vq", quantizer=QuantizerConfig(kind="ema_vq")),
    "compact-rvq": replace(_COMPACT, preset="compact-rvq", quantizer=QuantizerConfig(kind="residual_vq", dim=6)),
    "attention": replace(_COMPACT, preset="attention", network=NetworkConfig(kind="attention", width=128, blocks=3)),
    "people": TokenizerConfig(
        preset="people",
        network=NetworkConfig(width=512, linear=True),
        loss=LossConfig(consistency_every=4),
        augment=AugmentConfig(turn_share=0.5, mask=0.4, mask_share=0.5, mask_limbs=0.5),
        optim=OptimConfig(steps=5000, batch=512, lr=1.5e-3),
    ),
    "paper": TokenizerConfig(
        preset="paper",
        network=NetworkConfig(kind="conv", width=512),
        quantizer=QuantizerConfig(kind="ema_vq", num_tokens=160, num_codes=2048, dim=256),
        loss=LossConfig(
            rotation_weight=20.0,
            joints="mse",
            joints_weight=100.0,
            vertices="area_mse",
            vertices_weight=100.0,
            num_vertices=0,
            commitment_weight=1.0,
            consistency_weight=0.0,
        ),
        augment=AugmentConfig(mirror=0.0, swap=0.0, mask=0.0),
        optim=OptimConfig(
            steps=200_000,
            batch=256,
            lr=2e-4,
            warmup=2,
            schedule="milestones",
            milestones=(75_000, 100_000),
            gamma=0.05,
            weight_decay=1e-5,
            clip=0.0,
            average=0.0,
        ),
        mix="paper",
        validate_every=2500,
        checkpoint_every=2500,
    ),
}
"""``compact``: residual MLPs and layered FSQ; ``compact-vq``: the same networks with an EMA codebook;
``compact-rvq``: with a residual one, as many tokens as ``compact``; ``attention``: transformers over joints in place of
the MLPs; ``people``: as ``compact``, for the bodies of people beyond mocap: their collars move and limbs are hidden;
``paper``: architecture, losses, mixture and schedule of TokenHMR (CVPR 2024). Its poses come of
``pose-tokenizer prepare AMASS MOYO --split by-dataset --trim 0.6,moyo=0.8 --fps 12``: the middle 60 % of a clip of
AMASS, 80 % of MOYO; it takes every 10th frame of AMASS, which is 12 a second of 120, and every 5th of MOYO."""


def preset(name: str) -> TokenizerConfig:
    """A preset by name. Raise ``UserError`` naming those there are."""
    if name not in PRESETS:
        raise fail(f"Unknown preset {name!r}", expected=f"one of {', '.join(PRESETS)}")
    return PRESETS[name]
