"""Composed poses: sitting, squatting, lunging and floor poses, which open motion capture lacks, from sampled angles.

The angles of hips, knees, ankles, trunk and arms are drawn evenly from ranges within what people can do; a pose is
mirrored with probability a half, and every joint turns a little. They are poses, not motion, and follow no statistics
of people: a vocabulary learned with them holds such poses, and says nothing about how often they occur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..body.skeleton import BODY_JOINT_NAMES, body_index, mirror_permutation
from .clip import canonical

Range = tuple[float, float]
"""Degrees, from and to."""

_JITTER_DEG = 4.0
_SIDES_DIFFER_DEG = 8.0


@dataclass(frozen=True)
class Leg:
    """Ranges in degrees: the thigh forward (``flexion``) and outward (``abduction``), its turn outward about its own
    axis, the bend of the knee, the toes up (negative: pointed)."""

    flexion: Range
    knee: Range
    abduction: Range = (0, 20)
    turn: Range = (-10, 15)
    ankle: Range = (-15, 15)


@dataclass(frozen=True)
class Arm:
    """Ranges in degrees, from arms stretched out sideways: the arm down (negative: up), then forward, its turn about
    its own axis, the bend of the elbow."""

    down: Range
    forward: Range
    elbow: Range = (0, 40)
    turn: Range = (-30, 30)


@dataclass(frozen=True)
class Family:
    """A kind of pose: the first leg, the second (None: as the first), the trunk's bend forward, its lean and twist to
    a side in degrees, and the arms that go with it, by the names of ``ARMS``."""

    leg: Leg
    other: Leg | None = None
    bend: Range = (-5, 25)
    aside: float = 10
    arms: tuple[str, ...] = ("hang", "rest", "free")


ARMS = {
    "hang": Arm((60, 85), (-20, 30)),
    "rest": Arm((45, 75), (20, 60), elbow=(30, 90)),
    "free": Arm((-60, 80), (-20, 110), elbow=(0, 120), turn=(-60, 60)),
    "front": Arm((-10, 40), (60, 100), elbow=(0, 60)),
    "support": Arm((-10, 25), (75, 105), elbow=(0, 25)),
    "behind": Arm((45, 80), (-60, -20), elbow=(0, 30)),
    "up": Arm((-90, -50), (-20, 60), elbow=(0, 40)),
    "hug": Arm((30, 65), (60, 100), elbow=(50, 120)),
}

FAMILIES = {
    "chair": Family(Leg((65, 110), (60, 115), (0, 30)), bend=(-15, 40), arms=("rest", "hang", "free", "front", "hug")),
    "crossed legs on a chair": Family(Leg((75, 115), (60, 110), (-20, 0)), Leg((65, 100), (70, 105)), (-10, 35)),
    "long sitting": Family(Leg((70, 115), (0, 35), (0, 40)), bend=(-10, 50), arms=("behind", "front", "rest", "free")),
    "cross-legged": Family(Leg((75, 110), (105, 145), (20, 50), (35, 75)), bend=(-5, 40), arms=("rest", "hug", "free")),
    "knees hugged": Family(Leg((105, 135), (105, 145), (0, 15)), bend=(10, 55), arms=("hug", "front", "behind")),
    "kneeling": Family(Leg((0, 50), (100, 150), (0, 25), ankle=(-55, -20)), arms=("hang", "rest", "free", "up")),
    "half kneeling": Family(
        Leg((70, 110), (70, 125)), Leg((-20, 20), (75, 120), ankle=(-50, 20)), (-5, 35), arms=("rest", "hang", "free")
    ),
    "squat": Family(
        Leg((80, 135), (80, 150), (5, 45), (0, 40), (5, 35)), bend=(0, 50), arms=("front", "rest", "hug", "free")
    ),
    "lunge": Family(
        Leg((55, 115), (55, 125), ankle=(-5, 30)),
        Leg((-30, 10), (5, 95), ankle=(-10, 35)),
        (-10, 35),
        aside=20,
        arms=("hang", "rest", "free", "up"),
    ),
    "side lunge": Family(Leg((50, 115), (60, 130), (15, 50), (0, 35)), Leg((0, 50), (0, 20), (25, 60)), (0, 45)),
    "step": Family(Leg((40, 110), (40, 110)), Leg((-15, 25), (0, 35)), (-5, 30)),
    "all fours": Family(
        Leg((65, 105), (65, 110), (0, 25), ankle=(-50, 20)), bend=(-25, 25), arms=("support", "support", "free")
    ),
    "plank": Family(Leg((-10, 25), (0, 20), ankle=(-50, 30)), bend=(-15, 15), arms=("support", "front")),
    "bridge": Family(Leg((-45, 5), (50, 125), (0, 30)), bend=(-75, -20), arms=("up", "up", "behind"), aside=5),
    "back bend": Family(Leg((-35, 0), (0, 60)), bend=(-65, -15), arms=("up", "behind", "free"), aside=8),
    "fold": Family(Leg((75, 140), (0, 25), (0, 25)), bend=(15, 85), arms=("front", "support", "up", "hang")),
    "splits": Family(
        Leg((65, 105), (0, 15)), Leg((-80, -30), (0, 25), ankle=(-50, 0)), (-20, 35), arms=("free", "up", "behind")
    ),
    "straddle": Family(Leg((0, 95), (0, 20), (45, 80), (0, 50)), bend=(-10, 60), arms=("front", "free", "rest")),
    "lying": Family(
        Leg((-10, 100), (0, 125), (0, 35)), Leg((-10, 90), (0, 110), (0, 35)), (-15, 30), 20, ("free", "up", "behind")
    ),
    "high kick": Family(Leg((60, 115), (0, 90), (0, 45)), Leg((-15, 15), (0, 30)), (-15, 30), 15, ("free", "up")),
}


def compose(count: int, seed: int) -> np.ndarray:
    """Draw (count,21,3) float32 axis-angle poses, every family alike. The same seed gives the same poses anywhere."""
    draw = np.random.default_rng(seed)
    families = list(FAMILIES.values())
    poses = np.zeros((count, len(BODY_JOINT_NAMES), 3))
    owner = np.arange(count) % len(families)
    for number, family in enumerate(families):
        rows = np.flatnonzero(owner == number)
        poses[rows] = family_poses(family, len(rows), draw)
    turned = Rotation.from_rotvec(poses.reshape(-1, 3)) * Rotation.from_rotvec(
        np.radians(_JITTER_DEG) / np.sqrt(3) * draw.standard_normal((poses.size // 3, 3))
    )
    poses = turned.as_rotvec().reshape(poses.shape)
    mirrored = poses[:, list(mirror_permutation(BODY_JOINT_NAMES))] * np.array([1, -1, -1])
    poses = np.where((draw.random(count) < 0.5)[:, None, None], mirrored, poses)
    return canonical(draw.permutation(poses)).astype(np.float32)


def family_poses(family: Family, count: int, draw: np.random.Generator) -> np.ndarray:
    """Poses (count,21,3) axis-angle of one family, not mirrored, without jitter."""
    poses = np.zeros((count, len(BODY_JOINT_NAMES), 3))

    def put(joint: str, rotations: Rotation) -> None:
        poses[:, body_index(joint)] = rotations.as_rotvec()

    first = _draws(family.leg, count, draw)
    if family.other is None:
        second = {name: angles + draw.normal(0, _SIDES_DIFFER_DEG, count) for name, angles in first.items()}
    else:
        second = _draws(family.other, count, draw)
    for side, sign, leg in (("left", 1, first), ("right", -1, second)):
        thigh = np.stack([-leg["flexion"], sign * leg["abduction"], sign * leg["turn"]], -1)
        put(f"{side}_hip", Rotation.from_euler("XZY", thigh, degrees=True))
        bends = np.stack([leg["knee"].clip(0, 155), -leg["ankle"], draw.uniform(-25, 10, count)])
        for joint, bend in zip(("knee", "ankle", "foot"), np.radians(bends), strict=True):
            poses[:, body_index(f"{side}_{joint}"), 0] = bend
    bend, lean, twist = draw.uniform(*family.bend, count), *draw.uniform(-family.aside, family.aside, (2, count))
    for joint, share in zip(("spine1", "spine2", "spine3"), draw.dirichlet((6, 5, 4), count).T, strict=True):
        put(joint, Rotation.from_euler("XYZ", (np.stack([bend, twist, lean]) * share).T, degrees=True))
    for joint in ("neck", "head"):
        put(joint, Rotation.from_euler("XYZ", draw.normal(0, 10, (count, 3)) - [6, 0, 0], degrees=True))
    together = draw.random(count) < 0.6
    kinds = draw.choice(len(family.arms), (2, count))
    kinds[1] = np.where(together, kinds[0], kinds[1])
    for side, sign, kind in zip(("left", "right"), (1, -1), kinds, strict=True):
        options = [_draws(ARMS[name], count, draw) for name in family.arms]
        arm = {name: np.choose(kind, [option[name] for option in options]) for name in options[0]}
        # The collar rises with an arm that is up, and follows one that reaches forward.
        collar = np.stack([np.zeros(count), -sign * 0.12 * arm["forward"], -sign * 0.2 * (arm["down"] - 70)], -1)
        put(f"{side}_collar", Rotation.from_euler("XYZ", collar, degrees=True))
        upper = np.stack([-sign * 0.88 * arm["forward"], -sign * (0.8 * arm["down"] + 14), arm["turn"]], -1)
        put(f"{side}_shoulder", Rotation.from_euler("YZX", upper, degrees=True))
        poses[:, body_index(f"{side}_elbow"), 1] = -sign * np.radians(arm["elbow"].clip(0, 150))
        put(f"{side}_wrist", Rotation.from_euler("XYZ", draw.normal(0, 12, (count, 3)), degrees=True))
    return poses


def _draws(ranges: Leg | Arm, count: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Return angles (count,) in degrees for each range of a limb."""
    return {name: draw.uniform(span[0], span[1], count) for name, span in vars(ranges).items()}
