"""Which joints of a skeleton make which joint of SMPL: maps of the public naming styles, found by the names alone.

Joint lists: CMU's ASF files (mocap.cs.cmu.edu) and their two BVH conversions by B. Hahne, "DAZ-friendly" and
"MotionBuilder-friendly"; LaFAN1 (Harvey et al., SIGGRAPH 2020); Mixamo's rig.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..body.skeleton import JOINT_NAMES
from ..engine.errors import fail
from ..engine.files.text_files import read_json

JointMap = dict[str, tuple[str, ...]]
"""SMPL joint → the joints whose rotations, multiplied in order, are its own."""

_SIDES = (("left", "l", "Left"), ("right", "r", "Right"))


def _both_sides(names: dict[str, tuple[str, ...]], short: bool) -> JointMap:
    """The same limb on both sides: ``left_knee`` → ``lShin`` (short) or ``LeftShin``."""
    return {
        f"{side}_{joint}": tuple((letter if short else word) + bone for bone in bones)
        for side, letter, word in _SIDES
        for joint, bones in names.items()
    }


CMU_DAZ: JointMap = {
    "pelvis": ("hip",),
    "spine1": ("abdomen",),
    "spine2": ("chest",),
    "neck": ("neck",),
    "head": ("head",),
    **_both_sides(
        {
            "hip": ("Buttock", "Thigh"),
            "knee": ("Shin",),
            "ankle": ("Foot",),
            "collar": ("Collar",),
            "shoulder": ("Shldr",),
            "elbow": ("ForeArm",),
            "wrist": ("Hand",),
        },
        short=True,
    ),
}
"""CMU's "DAZ-friendly" conversion; spine3 and feet rest."""

CMU_ASF: JointMap = {
    "pelvis": ("root",),
    "spine1": ("lowerback",),
    "spine2": ("upperback",),
    "spine3": ("thorax",),
    "neck": ("lowerneck", "upperneck"),
    "head": ("head",),
    **_both_sides(
        {
            "hip": ("femur",),
            "knee": ("tibia",),
            "ankle": ("foot",),
            "foot": ("toes",),
            "collar": ("clavicle",),
            "shoulder": ("humerus",),
            "elbow": ("radius",),
            "wrist": ("wrist",),
        },
        short=True,
    ),
}
"""CMU's own ASF/AMC."""

_LIMBS = {
    "hip": ("UpLeg",),
    "knee": ("Leg",),
    "ankle": ("Foot",),
    "collar": ("Shoulder",),
    "shoulder": ("Arm",),
    "elbow": ("ForeArm",),
    "wrist": ("Hand",),
}

CMU_MOTIONBUILDER: JointMap = {
    "pelvis": ("Hips",),
    "spine1": ("LowerBack",),
    "spine2": ("Spine",),
    "spine3": ("Spine1",),
    "neck": ("Neck", "Neck1"),
    "head": ("Head",),
    **_both_sides({**_LIMBS, "foot": ("ToeBase",)}, short=False),
}
"""CMU's "MotionBuilder-friendly" conversion; LHipJoint and RHipJoint do not turn."""

LAFAN1: JointMap = {
    "pelvis": ("Hips",),
    "spine1": ("Spine",),
    "spine2": ("Spine1",),
    "spine3": ("Spine2",),
    "neck": ("Neck",),
    "head": ("Head",),
    **_both_sides({**_LIMBS, "foot": ("Toe",)}, short=False),
}

MIXAMO: JointMap = {**LAFAN1, **_both_sides({"foot": ("ToeBase",)}, short=False)}
"""Mixamo's rig, whose names begin with ``mixamorig:``."""

MAPS = {
    "CMU (DAZ)": CMU_DAZ,
    "CMU (MotionBuilder)": CMU_MOTIONBUILDER,
    "CMU (ASF)": CMU_ASF,
    "LaFAN1": LAFAN1,
    "Mixamo": MIXAMO,
}

_NEEDED = ("pelvis", *(f"{side}_{joint}" for side, _, _ in _SIDES for joint in ("hip", "knee", "shoulder", "elbow")))
"""Without these a skeleton is not taken to be of a style; others may be absent and rest."""

_DISTINCTIVE = {"CMU (MotionBuilder)": "spine1"}
"""A style whose names are a superset of another's: the joint that tells it apart."""


@dataclass(frozen=True)
class FoundMap:
    """A map that fits the joints of a file by their own names; ``absent``: SMPL joints of the style that it lacks."""

    style: str
    joints: JointMap
    absent: tuple[str, ...] = ()


def read_joint_map(path: str | Path) -> JointMap:
    """A JSON object from SMPL joint names to a joint's name or a list of them. Raise ``UserError`` otherwise."""
    try:
        table = read_json(path)
        joint_map = {str(k): (v,) if isinstance(v, str) else tuple(map(str, v)) for k, v in table.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise fail(f"Cannot read joint map {path}", got=error, expected='JSON like {"left_knee": "lShin"}') from None
    unknown = sorted(set(joint_map) - set(JOINT_NAMES))
    if unknown:
        raise fail(f"Joint map {path} names joints that SMPL has not", got=", ".join(unknown))
    return joint_map


def find_map(joints: Collection[str], path: Path) -> FoundMap:
    """The shipped map that fits most of ``joints``; prefixes such as ``mixamorig:`` and capitals do not matter.

    Raise ``UserError`` where none fits: it names the nearest map, what that lacks, and a map to start from.
    """
    own = {_bare(name): name for name in reversed(list(joints))}
    own.update({"root": own["hips"]} if "root" not in own and "hips" in own and "lfemur" in own else {})
    candidates = []
    for style, joint_map in MAPS.items():
        mapped = {
            joint: tuple(own[_bare(bone)] for bone in bones if _bare(bone) in own) for joint, bones in joint_map.items()
        }
        mapped = {joint: bones for joint, bones in mapped.items() if bones}
        absent = tuple(joint for joint in joint_map if joint not in mapped)
        distinct = _DISTINCTIVE.get(style, "pelvis") in mapped
        fits = all(joint in mapped for joint in _NEEDED) and distinct
        candidates.append((fits, len(mapped), -len(absent), FoundMap(style, mapped, absent)))
    fits, count, _, best = max(candidates, key=lambda candidate: candidate[:3])
    if fits:
        return best
    if not count:
        best = FoundMap("LaFAN1", {}, tuple(LAFAN1))
    lacking = ", ".join(bone for joint in best.absent for bone in MAPS[best.style][joint])
    raise fail(
        f"{path} has the joints of no known skeleton; the nearest is {best.style}, of which it lacks {lacking}",
        got=", ".join(joints),
        expected=f"the joint names of {', '.join(MAPS)}",
        next_step=f"Give your own with --joint-map FILE, for a start: {json.dumps(propose(joints))}",
    )


def propose(joints: Collection[str]) -> dict[str, str]:
    """A guess of a map by the likeness of names, one joint each: what a person would begin to edit."""
    guess, free = {}, {_bare(name): name for name in joints}
    for joint, words in _SYNONYMS.items():
        side = joint.split("_")[0][0] if "_" in joint else ""
        sided = [name for name in free if not side or name.startswith(side) or name.endswith(side)]
        for word in words:
            near = difflib.get_close_matches(word, [name for name in sided if name in free], n=1, cutoff=0.75)
            if near:
                guess[joint] = free.pop(near[0])
                break
    return {joint: guess[joint] for joint in JOINT_NAMES if joint in guess}


def _bare(name: str) -> str:
    """``mixamorig1:LeftUpLeg``, ``left_up_leg`` and ``Bip01 L Thigh`` → ``leftupleg``, ``leftupleg`` and ``lthigh``."""
    last = re.split(r"[:|]", name)[-1]
    last = re.sub(r"(?i)^mixamorig\d*", "", last)  # three.js leaves the colon out
    last = re.sub(r"(?i)^(character\d*|bip\d+|actor\d*|skeleton\d*)(?=[_\s-])", "", last)
    return re.sub(r"[\s_.-]", "", last).lower()


def _synonyms() -> dict[str, tuple[str, ...]]:
    trunk = {
        "pelvis": ("pelvis", "hips", "hip", "root"),
        "spine1": ("spine", "spine1", "abdomen", "lowerback"),
        "spine2": ("spine1", "spine2", "chest", "upperback"),
        "spine3": ("spine2", "spine3", "upperchest", "thorax"),
        "neck": ("neck", "lowerneck"),
        "head": ("head",),
    }
    limbs = {
        "hip": ("upleg", "thigh", "femur", "upperleg", "hip"),
        "knee": ("leg", "shin", "tibia", "calf", "lowerleg", "knee"),
        "ankle": ("foot", "ankle"),
        "foot": ("toebase", "toe", "toes", "ball"),
        "collar": ("shoulder", "collar", "clavicle"),
        "shoulder": ("arm", "shldr", "humerus", "upperarm"),
        "elbow": ("forearm", "radius", "lowerarm", "elbow"),
        "wrist": ("hand", "wrist"),
    }
    sided = {
        f"{side}_{joint}": tuple(
            way for word in words for way in (f"{side}{word}", f"{letter}{word}", f"{word}{letter}")
        )
        for side, letter, _ in _SIDES
        for joint, words in limbs.items()
    }
    return {**trunk, **sided}


_SYNONYMS = _synonyms()
