"""Reads BVH motion: the skeleton by tokens, so that line breaks mean nothing, and its rotations carried to SMPL.

The joint map is found by the names of the joints (``joint_maps``), the rest pose is made SMPL's (``skeleton_motion``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..engine.errors import fail
from ..engine.files.text_files import read_text
from .clip import Clip
from .joint_maps import JointMap, find_map
from .skeleton_motion import SkeletonMotion, to_smpl

_T_POSE_RAD = 0.15
_LEAVES_T_POSE_RAD = 0.1
_MOTION_HEADER = re.compile(r"\s*Frames\s*:\s*(\S+)\s+Frame\s+Time\s*:\s*(\S+)[ \t]*", re.IGNORECASE)


@dataclass
class _Joint:
    """A joint as written: its parent's name, its first column of the motion and the names of its channels."""

    parent: str | None
    line: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    first_channel: int = 0
    channels: tuple[str, ...] = ()


def read_bvh(path: str | Path, joint_map: JointMap | None = None, *, metres_per_unit: float | None = None) -> Clip:
    """Read one clip, y-up unless its people are upright along z.

    ``joint_map`` is found by the joints' names where it is not given, the unit of length by the length of the legs
    where ``metres_per_unit`` is not. Position channels of joints other than the root and the pelvis are not motion of
    a body and are skipped. A T-pose in front of the motion, which converters put there to show the rest pose, is
    left out. Raise ``UserError`` for a file that is not BVH, whose joints are of no known skeleton or lack those of
    the map, whose rest pose cannot be made a T-pose, or whose numbers do not match its header (with the line).
    """
    path = Path(path)
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"Cannot read {path}", got=error, expected="BVH text") from None
    joints, end = _hierarchy(text, path)
    values, seconds = _motion(text, end, sum(len(joint.channels) for joint in joints.values()), path)
    notes: tuple[str, ...] = ()
    style = ""
    if joint_map is None:
        mapping = find_map(joints, path)
        joint_map, style = mapping.joints, mapping.style
        if mapping.absent:
            notes = (f"joints as in {mapping.style}; without {', '.join(mapping.absent)}, which rest",)
    missing = sorted({bone for bones in joint_map.values() for bone in bones} - set(joints))
    if missing:
        raise fail(
            f"{path} lacks joints of the map",
            got=f"no {', '.join(missing)}",
            expected=", ".join(sorted(joints)),
            next_step="Give a map of your own with --joint-map",
        )
    smpl_motion = to_smpl(path, _skeleton(joints, values), joint_map, metres_per_unit, style)
    first = int(_starts_with_t_pose(smpl_motion.body))
    return Clip(
        smpl_motion.body[first:],
        smpl_motion.root[first:],
        smpl_motion.translation[first:],
        np.zeros(10, np.float32),
        1 / seconds,
        "neutral",
        smpl_motion.up,
        notes,
    )


def _starts_with_t_pose(body: np.ndarray) -> bool:
    """Whether frame 0 rests in every joint and frame 1 has left that pose at once."""
    if len(body) < 2:
        return False
    leap = np.linalg.norm(body[1] - body[0], axis=-1).max()
    return bool(np.linalg.norm(body[0], axis=-1).max() < _T_POSE_RAD and leap > _LEAVES_T_POSE_RAD)


def _hierarchy(text: str, path: Path) -> tuple[dict[str, _Joint], int]:
    """The joints, parents first, and where the text behind the word MOTION begins."""
    reading = _Tokens(text, path)
    if reading.next("HIERARCHY") != "HIERARCHY":
        got = repr(text.strip().split("\n")[0][:40]) if text.strip() else "an empty file"
        raise fail(f"{path} is no BVH file", got=got, expected="HIERARCHY")
    joints: dict[str, _Joint] = {}
    open_joints: list[str | None] = []
    channel = 0
    while (word := reading.next("a line MOTION")) != "MOTION":
        if word in ("ROOT", "JOINT", "End"):
            line = reading.line
            name: str | None = reading.until("{")
            if word == "End":
                name = None
            else:
                if name in joints:
                    raise fail(f"{path} line {line} repeats a joint", got=name, expected="a name of its own")
                joints[str(name)] = _Joint(next((parent for parent in open_joints[::-1] if parent), None), line)
            open_joints.append(name)
        elif word == "}" and open_joints:
            open_joints.pop()
        elif word == "OFFSET":
            offset = reading.numbers(3)
            if open_joints and open_joints[-1]:
                joints[open_joints[-1]].offset = offset
        elif word == "CHANNELS":
            joint = joints.get(open_joints[-1] or "") if open_joints else None
            names = reading.channels(joint is not None)
            assert joint is not None
            joint.first_channel, joint.channels = channel, names
            channel += len(names)
        else:
            raise fail(f"{path} line {reading.line} is broken", got=word, expected="JOINT, OFFSET, CHANNELS or MOTION")
    return joints, reading.end


class _Tokens:
    """Words of a text one by one; ``line`` is that of the last one, ``end`` the place behind it."""

    def __init__(self, text: str, path: Path) -> None:
        self._words = re.finditer(r"[{}]|[^\s{}]+", text)
        self._text, self._path, self._counted, self._peeked = text, path, 0, ""
        self.line, self.end = 1, 0

    def next(self, expected: str) -> str:
        """The next word. Raise ``UserError`` at the end of the text."""
        word = next(self._words, None)
        if word is None:
            if expected == "HIERARCHY":
                return ""
            raise fail(f"{self._path} has no motion", got=f"its end in line {self.line}", expected=expected)
        self.line += self._text.count("\n", self._counted, word.start())
        self._counted, self.end = word.start(), word.end()
        return word.group()

    def until(self, brace: str) -> str:
        """The words up to a brace, joined: names may hold spaces."""
        words = []
        while (word := self.next(f"a name and {brace}")) != brace:
            words.append(word)
        return " ".join(words)

    def numbers(self, count: int) -> np.ndarray:
        """So many numbers. Raise ``UserError`` for other words."""
        words = [self.next("numbers") for _ in range(count)]
        try:
            return np.array(words, np.float64)
        except ValueError:
            raise fail(
                f"{self._path} line {self.line} is broken", got=" ".join(words), expected=f"{count} numbers"
            ) from None

    def channels(self, in_joint: bool) -> tuple[str, ...]:
        """The names behind CHANNELS, as ``Xrotation``. Raise ``UserError`` for others or another number of them."""
        line = self.line
        words_left = self._text[self.end : self._text.find("\n", self.end) % (len(self._text) + 1)].split()
        words: list[str] = []
        count = self.next("a number of channels")
        for _ in range(int(count) if count.isdigit() and int(count) <= 6 else 0):
            words.append(self.next("names of channels").capitalize())
        axes = [word[0] for word in words if word[1:] == "rotation"]
        places = sum(word[1:] == "position" for word in words)
        is_known = (words or count == "0") and len(axes) + places == len(words)
        is_known = is_known and {word[0] for word in words} <= set("XYZ")
        if not in_joint or not is_known or len(set(words)) < len(words):
            raise fail(
                f"{self._path} line {line} is broken",
                got=f"CHANNELS {' '.join(words_left)}",
                expected="CHANNELS n and n names such as Xposition or Zrotation, after a joint",
            )
        return tuple(words)


def _motion(text: str, start: int, width: int, path: Path) -> tuple[np.ndarray, float]:
    """(n,width) numbers and seconds a frame."""
    header = _MOTION_HEADER.match(text, start)
    line = text.count("\n", 0, start) + 2
    try:
        frames, seconds = int(header.group(1)), float(header.group(2))  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        raise fail(f"{path} line {line} is broken", expected="Frames: n, then Frame Time: s") from None
    if not 0 < seconds < float("inf"):
        raise fail(f"{path} has no usable frame rate", got=f"Frame Time: {seconds}", expected="above 0")
    assert header is not None
    words = text[header.end() :].split()
    if len(words) != frames * width:
        first = text.count("\n", 0, header.end()) + 1
        rows = [(number, row.split()) for number, row in enumerate(text[header.end() :].split("\n"), first)]
        rows = [(number, row) for number, row in rows if row]
        odd = next(((number, row) for number, row in rows if len(row) != width), None)
        if len(rows) == frames and odd is not None:
            raise fail(f"{path} line {odd[0]} does not match its header", got=f"{len(odd[1])} numbers", expected=width)
        raise fail(f"{path} does not hold what line {line} says", got=f"{len(rows)} frame lines", expected=frames)
    try:
        values = np.array(words, np.float64).reshape(frames, width)
    except ValueError as error:
        raise fail(f"{path} holds a value that is not a number", got=error) from None
    if not frames or not np.isfinite(values).all():
        raise fail(f"{path} holds no frames, or numbers that are not finite")
    return values, seconds


def _skeleton(joints: dict[str, _Joint], values: np.ndarray) -> SkeletonMotion:
    root = next(iter(joints))
    offsets, places = {}, np.zeros((len(values), 3))
    rotations = {name: _rotation(values, joint) for name, joint in joints.items()}
    for name, joint in joints.items():
        offsets[name] = joint.offset
        position = _position(values, joint)
        if position is not None and name == root:
            places = position
        elif position is not None and not joint.offset.any():
            offsets[name] = np.median(position, 0)  # some programs write bones as positions alone
    return SkeletonMotion({name: joint.parent for name, joint in joints.items()}, offsets, rotations, places)


def _rotation(values: np.ndarray, joint: _Joint) -> Rotation:
    turns = [(i, name[0]) for i, name in enumerate(joint.channels) if name.endswith("rotation")]
    if not turns:
        return Rotation.identity(len(values))
    columns = [joint.first_channel + i for i, _ in turns]
    return Rotation.from_euler("".join(axis for _, axis in turns), values[:, columns], degrees=True)


def _position(values: np.ndarray, joint: _Joint) -> np.ndarray | None:
    """(n,3) where the joint has position channels; those that it lacks are 0."""
    columns = {name[0]: joint.first_channel + i for i, name in enumerate(joint.channels) if name.endswith("position")}
    if not columns:
        return None
    return np.stack([values[:, columns[axis]] if axis in columns else np.zeros(len(values)) for axis in "XYZ"], 1)
