"""The regressor's configuration: frozen dataclasses are the only schema, presets are code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from tokenizer.engine.config import require_at_least
from tokenizer.engine.errors import fail

VIT_ASPECT = 192 / 256
"""Width over height of the part of a square crop that a ViT sees."""


@dataclass(frozen=True)
class BackboneConfig:
    """Evidence to features: an image to a feature map, or, of kind ``keypoints``, the points that a detector found to a
    vector of ``width``. ``blocks``: of each stage; a ViT has one stage, keypoints have none.

    Of the ResNet alone, ``channels``: the width of its fused map. Of the ViT alone: ``heads``; ``drop_path``, the
    probability by which training leaves out the last block, rising evenly from 0 at the first;
    ``gradient_checkpointing``, to spend time instead of memory in training.

    ``trainable``: all of it, none (only what is behind it learns), or its last N blocks.
    """

    RENAMED: ClassVar[dict[str, str]] = {"recompute": "gradient_checkpointing"}

    kind: Literal["resnet", "vit", "keypoints"] = "resnet"
    width: int = 24
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    channels: int = 64
    heads: int = 16
    drop_path: float = 0.0
    gradient_checkpointing: bool = False
    trainable: Literal["all", "none"] | int = "all"

    @property
    def aspect(self) -> float:
        """Width over height of what is seen of a square crop: a ViT leaves out an eighth at the left and the right."""
        return VIT_ASPECT if self.kind == "vit" else 1.0


@dataclass(frozen=True)
class DecoderConfig:
    """Features to one vector.

    ``pointing``: queries that look up where their keypoint is, then exchange what they found; ``dim`` is theirs,
    ``width`` that of the ``blocks`` behind them. ``single``: the paper's one query of ``width`` in ``layers`` layers of
    ``heads`` heads, ``dim`` together, and a feed-forward of ``hidden``. ``mlp``: ``blocks`` of ``width`` on the vector
    of a keypoint backbone.
    """

    kind: Literal["pointing", "single", "mlp"] = "pointing"
    dim: int = 48
    layers: int = 1
    heads: int = 4
    width: int = 512
    blocks: int = 2
    dropout: float = 0.0
    hidden: int = 1024


@dataclass(frozen=True)
class HeadConfig:
    """What the body pose is predicted as.

    ``logits``: how token logits are formed, see ``heads.TokenHead``; ``mixer``: by ``mixer_head.MixerTokenHead``.
    ``add_mean``: the 6D of the mean pose is added to the one decoded from tokens, as in TokenHMR; tokens then are not
    those of the pose, and no cross-entropy can ask for them. ``hands``: whether
    the two hands are predicted, or rest. ``orientation``: relative to the ``ray`` through the middle of the crop, or
    as it is in ``camera`` axes, whatever the place of the crop. ``bounded``: shape and camera cannot leave the range
    of the training crops by more than half: what the network has never seen must not throw a body out of the picture.
    """

    pose: Literal["tokens", "rot6d"] = "tokens"
    logits: Literal["metric", "free", "mixer"] = "metric"
    add_mean: bool = False
    hands: bool = False
    orientation: Literal["ray", "camera"] = "ray"
    bounded: bool = False


@dataclass(frozen=True)
class TalsConfig:
    """Thresholds by name, and the ``weight`` of an error below its own. A name left out has none: it always counts in
    full. Without any threshold TALS is off.

    ``keypoints_2d``: squared distance in crop units; ``rotations``: angle in radians of the pelvis (the global
    orientation) and the 23 joints; ``source``: where the thresholds come from. Raises ``UserError`` for an unknown name
    or an impossible value.
    """

    keypoints_2d: dict[str, float] = field(default_factory=dict)
    rotations: dict[str, float] = field(default_factory=dict)
    weight: float = 0.05
    source: str = ""

    def __post_init__(self) -> None:
        for what, given, known in (
            ("keypoint", self.keypoints_2d, KEYPOINT_NAMES),
            ("joint", self.rotations, JOINT_NAMES),
        ):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise fail(
                    f"TALS has thresholds for an unknown {what}",
                    got=", ".join(unknown[:5]),
                    expected=f"names such as {', '.join(known[:4])}",
                )
            bad = [f"{name} {value}" for name, value in given.items() if not 0 <= value < float("inf")]
            if bad:
                raise fail(f"TALS has an impossible {what} threshold", got=", ".join(bad[:5]), expected="0 or more")
        if not 0 <= self.weight <= 1:
            raise fail("TALS has an impossible weight", got=self.weight, expected="0 to 1")

    @property
    def on(self) -> bool:
        """Whether there is any threshold."""
        return bool(self.keypoints_2d or self.rotations)


PUBLISHED_TALS = TalsConfig(
    source="TokenHMR as released: BEDLAM seen through the camera of HMR2.0, its rotations against the true ones",
    keypoints_2d={
        "nose": 0.0085024,
        "neck": 0.00648666,
        "right_shoulder": 0.00747825,
        "right_elbow": 0.01103439,
        "right_wrist": 0.01355629,
        "left_shoulder": 0.00741691,
        "left_elbow": 0.01096735,
        "left_wrist": 0.01414461,
        "mid_hip": 0.00974212,
        "right_hip": 0.01127469,
        "right_knee": 0.01663222,
        "right_ankle": 0.00564927,
        "left_hip": 0.01126335,
        "left_knee": 0.01615757,
        "left_ankle": 0.00532595,
        "right_eye": 0.00829731,
        "left_eye": 0.00831497,
        "right_ear": 0.00737241,
        "left_ear": 0.00743286,
        "left_big_toe": 0.00543739,
        "left_small_toe": 0.00550524,
        "left_heel": 0.00535504,
        "right_big_toe": 0.00565414,
        "right_small_toe": 0.00581685,
        "right_heel": 0.00573041,
        "lsp_right_ankle": 0.00554029,
        "lsp_right_knee": 0.01515258,
        "lsp_right_hip": 0.00986267,
        "lsp_left_hip": 0.00997563,
        "lsp_left_knee": 0.01519944,
        "lsp_left_ankle": 0.00511402,
        "lsp_right_wrist": 0.01288267,
        "lsp_right_elbow": 0.01105894,
        "lsp_right_shoulder": 0.00710525,
        "lsp_left_shoulder": 0.00709785,
        "lsp_left_elbow": 0.01092387,
        "lsp_left_wrist": 0.01388091,
        "lsp_neck": 0.00648326,
        "lsp_crown": 0.00766487,
        "mpii_pelvis": 0.00931454,
        "mpii_thorax": 0.00646622,
        "h36m_spine": 0.00677057,
        "h36m_jaw": 0.00744011,
        "h36m_head": 0.00752381,
    },
    rotations={
        "pelvis": 0.46,
        "left_hip": 0.2189672,
        "right_hip": 0.21184929,
        "spine1": 0.14705585,
        "left_knee": 0.33192524,
        "right_knee": 0.30016956,
        "spine2": 0.16634537,
        "left_ankle": 0.19924018,
        "right_ankle": 0.27109867,
        "spine3": 0.1158485,
        "left_foot": 0.28505754,
        "right_foot": 0.27955374,
        "neck": 0.24433719,
        "left_collar": 0.2626824,
        "right_collar": 0.26488456,
        "head": 0.27850774,
        "left_shoulder": 0.29086208,
        "right_shoulder": 0.3204982,
        "left_elbow": 0.34794798,
        "right_elbow": 0.3520567,
        "left_wrist": 0.6241364,
        "right_wrist": 0.5900597,
        "left_hand": 0.19941667,
        "right_hand": 0.19973585,
    },
)
"""The released thresholds of TALS; ``pose-regressor calibrate`` derives others."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the training loss; metres, radians, crop units.

    ``form``: means over what is valid, or the sums over the batch of TokenHMR (``published_loss``); the latter with the
    habits of its code where ``compat_reference`` is set. ``tals``: thresholds below which errors hardly count.
    """

    RENAMED: ClassVar[dict[str, str]] = {"pointed_weight": "soft_argmax_weight"}

    form: Literal["means", "published"] = "means"
    compat_reference: bool = False
    tals: TalsConfig = field(default_factory=TalsConfig)
    orientation_weight: float = 1.0
    body_pose_weight: float = 1.0
    joints_weight: float = 5.0
    body_joints_weight: float = 10.0
    vertices_weight: float = 0.0
    keypoints_3d_weight: float = 0.0
    keypoints_2d_weight: float = 5.0
    soft_argmax_weight: float = 5.0
    betas_weight: float = 0.05
    token_weight: float = 0.1
    label_smoothing: float = 0.0


PUBLISHED_LOSS = LossConfig(
    form="published",
    tals=PUBLISHED_TALS,
    orientation_weight=1e-3,
    body_pose_weight=1e-3,
    joints_weight=0.0,
    body_joints_weight=0.0,
    keypoints_3d_weight=0.05,
    keypoints_2d_weight=0.01,
    soft_argmax_weight=0.0,
    betas_weight=5e-4,
    token_weight=0.0,
)
"""TokenHMR's five terms with its weights and thresholds (Dwivedi et al., CVPR 2024)."""


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise fail(f"{name} is no probability", got=value, expected="0 to 1")


@dataclass(frozen=True)
class AugmentConfig:
    """Changes of the training crops; annotation changes with them. Degrees, shares of the box, shares of 255.

    ``*_share``: the probability that a crop is changed so at all. ``colours``: ``light``, brightness and contrast with
    a little tint, or ``channels``, each channel by a factor of its own, as TokenHMR. ``flip``, ``extreme``, ``patch``:
    probabilities of a mirror image, of a frame that closes in on a part of the body, and of something in front. There
    is no flip by default: the suit of synthetic people has a left and a right side.
    """

    rotate_deg: float = 30.0
    rotate_share: float = 1.0
    scale: float = 0.1
    scale_share: float = 1.0
    shift: float = 0.05
    shift_share: float = 1.0
    colour: float = 0.2
    colour_share: float = 1.0
    colours: Literal["light", "channels"] = "light"
    noise: float = 0.03
    noise_share: float = 1.0
    flip: float = 0.0
    extreme: float = 0.0
    patch: float = 0.0

    def __post_init__(self) -> None:
        """Raises ``UserError`` for a probability outside 0 … 1."""
        for name, value in vars(self).items():
            if name.endswith("_share") or name in ("flip", "extreme", "patch"):
                _require_share(f"augment.{name}", value)


@dataclass(frozen=True)
class DataConfig:
    """Which samples make a batch. ``mix``: shares of data sets, ``name=weight,…``, ``mix_tokenhmr`` or ``mix_all``;
    empty: all alike.

    ``shuffle_buffer``: shards among which samples are shuffled. ``rank_partitions``: parts of a batch with shards of
    their own, so that processes read different ones; 0: one for each process where data come from a URL, else one.
    ``workers``: processes that prepare batches, for each that trains; -1: as the machine has room. ``val_samples``: at
    most so many are validated on, spread evenly; under a time budget of less than two minutes as much fewer.
    """

    RENAMED: ClassVar[dict[str, str]] = {"window": "shuffle_buffer", "lanes": "rank_partitions"}

    mix: str = ""
    shuffle_buffer: int = 16
    rank_partitions: int = 0
    workers: int = -1
    val_samples: int = 2000

    def __post_init__(self) -> None:
        """Raises ``UserError`` for numbers too small."""
        require_at_least(self, "data.", shuffle_buffer=1, rank_partitions=0, workers=-1, val_samples=1)


@dataclass(frozen=True)
class SimulationConfig:
    """What a keypoint regressor trains on: people in front of cameras, and a detector that errs as real ones do.

    Poses, shares of all: ``mirror``; ``swap``, legs of another pose; ``jitter``, every joint turned by ``jitter_deg``
    (root mean square). Views: any yaw; the camera looks down by ``pitch_deg`` (mean, deviation) and is rolled by
    ``roll_deg``; a person leans by ``lean_deg`` from balance; a share ``wild`` is turned anyhow. ``focal_mm``: range of
    35 mm equivalents; ``height_share``: of the image that 1.7 m take; ``close``: share of close-ups, which the frame
    cuts. ``betas``: deviation of shape.

    Detector, lengths in halves of the person's longer extent: ``error`` of a sure point, and ``error_unsure`` more
    where confidence falls to 0; ``outliers`` and ``swaps`` (left for right, of a pair of limbs), ``dropped``: shares;
    ``hidden_legs``, ``hidden_limb``: shares of people whose legs, or whose single limbs, are not seen; ``coco``: share
    of detectors without hands and feet. ``hints``: share of people with 3D landmarks, whose errors in metres are
    multiples ``hint_error`` of (0.012, 0.012, 0.06) a bone; ``focal_error``: log deviation of the focal length that
    the regressor is told from the true one, for half of the people.
    """

    mirror: float = 0.5
    swap: float = 0.35
    jitter: float = 0.5
    jitter_deg: float = 6.0
    pitch_deg: tuple[float, ...] = (6.0, 13.0)
    roll_deg: float = 6.0
    lean_deg: float = 9.0
    wild: float = 0.06
    focal_mm: tuple[float, ...] = (24.0, 85.0)
    height_share: tuple[float, ...] = (0.25, 0.95)
    close: float = 0.1
    betas: float = 0.9
    error: float = 0.018
    error_unsure: float = 0.13
    outliers: float = 0.015
    swaps: float = 0.01
    dropped: float = 0.03
    hidden_legs: float = 0.12
    hidden_limb: float = 0.06
    coco: float = 0.1
    hints: float = 0.8
    hint_error: float = 1.0
    focal_error: float = 0.25

    def __post_init__(self) -> None:
        """Raise ``UserError`` for numbers that no simulation can have."""
        for name in ("mirror", "swap", "jitter", "wild", "close", "outliers", "swaps", "dropped"):
            _require_share(f"simulation.{name}", getattr(self, name))
        for name in ("hidden_legs", "hidden_limb", "coco", "hints"):
            _require_share(f"simulation.{name}", getattr(self, name))
        for name in ("focal_mm", "height_share"):
            limits = getattr(self, name)
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise fail(f"simulation.{name} is no range", got=limits, expected="two numbers above 0, in order")
        if len(self.pitch_deg) != 2:
            raise fail("simulation.pitch_deg has the wrong length", got=self.pitch_deg, expected="mean and deviation")


SIMULATED_VAL = SimulationConfig(mirror=0.0, swap=0.0, jitter=0.0, focal_error=0.0)
"""Simulated val v1: what keypoint regressors are validated on, whatever they train on. Its numbers stay as they are;
other numbers would be another version."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, warm-up (at most a quarter) and cosine. ``budget_s`` > 0: seconds for all of the training, validations
    included; as many of ``steps`` as fit are taken, and the schedule follows the time.

    ``batch``: images a step, over all processes. Each process passes its share in ``accumulate`` parts and adds up
    their gradients: less memory, the same step (but batch norm, in ResNets, has statistics of each part).
    ``layer_decay``: a ViT's blocks learn at rates that shrink by this factor from one to the block before it.
    """

    steps: int = 4000
    budget_s: float = 0.0
    batch: int = 64
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.998
    accumulate: int = 1
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        """Raises ``UserError`` for numbers too small to train by."""
        require_at_least(self, "optim.", steps=1, budget_s=0, batch=1, lr=0, warmup=0, accumulate=1)


@dataclass(frozen=True)
class RegressorConfig:
    """Everything that decides a training run, next to the crops and the tokenizer.

    ``best_by``: the figure on val by which the best weights are chosen, the lower the better; where val does not know
    enough for it, ``keypoints_2d_pct``, the mean error of 2D keypoints in per cent of the side of the box.
    ``validate_every`` and ``checkpoint_every``: of ``optim.steps``. ``keep_checkpoints``: the newest that stay; the
    best weights are in each. ``pictures``: how many people of val every validation paints into the run folder.
    ``compile``: torch.compile the network.
    """

    preset: str = "small"
    image_size: int = 128
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    best_by: Literal["mpjpe_mm", "pa_mpjpe_mm", "orientation_deg", "keypoints_2d_pct"] = "mpjpe_mm"
    validate_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    pictures: int = 8
    compile: bool = False

    def __post_init__(self) -> None:
        """Raises ``UserError`` for a seed that random generators do not take, and for intervals of no step."""
        require_at_least(self, "", validate_every=1, checkpoint_every=1, keep_checkpoints=1, pictures=0)
        if not 0 <= self.seed < 1 << 63:
            raise fail("That is no seed", got=self.seed, expected="0 to 2^63 - 1")


def _paper(name: str, width: int, blocks: int, heads: int, drop_path: float) -> RegressorConfig:
    """The paper's network, loss and schedule (four GPUs of 48 images each) around a ViT of these sizes."""
    return RegressorConfig(
        preset=name,
        image_size=256,
        backbone=BackboneConfig(kind="vit", width=width, blocks=(blocks,), heads=heads, drop_path=drop_path),
        decoder=DecoderConfig(kind="single", dim=512, layers=6, heads=8, width=1024, hidden=1024),
        head=HeadConfig(logits="mixer", add_mean=True, hands=True, orientation="camera"),
        augment=AugmentConfig(
            rotate_share=0.6, scale=0.3, shift=0.02, colours="channels", noise=0.0, flip=0.5, extreme=0.1
        ),
        loss=PUBLISHED_LOSS,
        optim=OptimConfig(steps=100_000, batch=192, lr=5e-6, warmup=1000, weight_decay=1e-4, average=0.999),
        checkpoint_every=2000,
    )


_SMALL = RegressorConfig(head=HeadConfig(bounded=True))
_KEYPOINTS = RegressorConfig(
    preset="keypoints",
    image_size=0,
    backbone=BackboneConfig(kind="keypoints", width=768, blocks=()),
    decoder=DecoderConfig(kind="mlp", width=768, blocks=4),
    head=HeadConfig(logits="free"),
    loss=LossConfig(
        orientation_weight=6.0,
        body_pose_weight=6.0,
        joints_weight=10.0,
        body_joints_weight=6.0,
        keypoints_3d_weight=5.0,
        keypoints_2d_weight=4.0,
        soft_argmax_weight=0.0,
        betas_weight=0.02,
        token_weight=0.01,
    ),
    optim=OptimConfig(steps=20_000, batch=256, lr=1e-3, warmup=200, weight_decay=1e-4, average=0.998),
    validate_every=1000,
    checkpoint_every=1000,
    pictures=0,
)
PRESETS: dict[str, RegressorConfig] = {
    "small": _SMALL,
    "small-6d": replace(_SMALL, preset="small-6d", head=HeadConfig(pose="rot6d", bounded=True)),
    "keypoints": _KEYPOINTS,
    "vit-s": _paper("vit-s", 384, 12, 12, 0.1),
    "vit-b": _paper("vit-b", 768, 12, 12, 0.3),
    "vit-l": _paper("vit-l", 1024, 24, 16, 0.5),
    "vit-h": _paper("vit-h", 1280, 32, 16, 0.55),
}
"""``small``: a narrow ResNet at 128 px, which a CPU trains in minutes; ``small-6d``: the same with the continuous 6D
pose head instead of tokens, its baseline. ``keypoints``: a network that sees 2D keypoints in place of an image, and
trains on a pose store. ``vit-h``: TokenHMR's network at 256 px, 675 million weights;
``vit-l``, ``vit-b``, ``vit-s``: the same around smaller transformers, in ViTPose's sizes."""


def preset(name: str) -> RegressorConfig:
    """A preset by name. Raises ``UserError`` naming those there are."""
    if name not in PRESETS:
        raise fail(f"Unknown preset {name!r}", expected=f"one of {', '.join(PRESETS)}")
    return PRESETS[name]
