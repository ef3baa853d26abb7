"""Reads ASF/AMC, Acclaim's skeleton and motion files, in which CMU's database (mocap.cs.cmu.edu) is published.

The skeleton (.asf) is in the folder of the motion (.amc). A bone turns in a frame of its own, ``axis``: with C the
rotation of that frame and R the angles of a frame of motion, its local rotation is C R C⁻¹. Angles act in the order in
which they are listed, about fixed axes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..engine.errors import fail
from ..engine.files.text_files import read_text
from .clip import Clip
from .joint_maps import JointMap, find_map
from .skeleton_motion import SkeletonMotion, to_smpl

AMC_FPS = 120.0
"""CMU's rate. The files do not state one."""

_INCH_M = 0.0254
_Y_TO_Z_UP = Rotation.from_euler("x", 90, degrees=True)


@dataclass
class _Bone:
    """A bone as written; ``axis``: angles in degrees or radians and their order; ``offset`` from start to end."""

    axis: Rotation
    offset: np.ndarray
    channels: tuple[str, ...]


@dataclass
class _Skeleton:
    bones: dict[str, _Bone]
    parents: dict[str, str | None]
    position: np.ndarray
    metres_per_unit: float | None


def read_amc(path: str | Path, joint_map: JointMap | None = None, *, fps: float = AMC_FPS) -> Clip:
    """Read one clip, turned to z up as AMASS has it.

    Raise ``UserError`` where the skeleton file is not found, or either file is broken (with the line).
    """
    path = Path(path)
    asf = _skeleton_file(path)
    skeleton = _read_asf(asf)
    values = _read_amc(path, skeleton, asf)
    count = len(values["root"])
    motion = SkeletonMotion(
        parents=skeleton.parents,
        # A bone's joint is its start: the end of the bone above it.
        offsets={
            name: np.zeros(3) if above is None else skeleton.bones[above].offset
            for name, above in skeleton.parents.items()
        },
        rotations={name: _turn(bone, values.get(name), count) for name, bone in skeleton.bones.items()},
        root_positions=skeleton.position + _columns(skeleton.bones["root"], values["root"], "t"),
    )
    notes = [f"frame rate not stated: {fps:g} assumed"]
    style = ""
    if joint_map is None:
        mapping = find_map(skeleton.bones, asf)
        joint_map, style = mapping.joints, mapping.style
        if mapping.absent:
            notes.append(f"joints as in {mapping.style}; without {', '.join(mapping.absent)}, which rest")
    missing = sorted({bone for bones in joint_map.values() for bone in bones} - set(skeleton.bones))
    if missing:
        raise fail(
            f"{asf} lacks joints of the map", got=f"no {', '.join(missing)}", expected=", ".join(sorted(skeleton.bones))
        )
    smpl_motion = to_smpl(path, motion, joint_map, skeleton.metres_per_unit, style)
    root, place = Rotation.from_rotvec(smpl_motion.root), smpl_motion.translation
    if smpl_motion.up == "y":
        root, place = _Y_TO_Z_UP * root, _Y_TO_Z_UP.apply(place)
    return Clip(
        smpl_motion.body,
        root.as_rotvec().astype(np.float32),
        place.astype(np.float32),
        np.zeros(10, np.float32),
        fps,
        "neutral",
        "z",
        tuple(notes),
    )


def _skeleton_file(path: Path) -> Path:
    """The skeleton of a motion: of its own name, of its subject as in ``02_03.amc``, or the only one in its folder."""
    skeletons = sorted(skeleton for skeleton in path.parent.glob("*") if skeleton.suffix.lower() == ".asf")
    for stem in (path.stem, path.stem.split("_")[0]):
        same_name = [skeleton for skeleton in skeletons if skeleton.stem.lower() == stem.lower()]
        if same_name:
            return same_name[0]
    if len(skeletons) == 1:
        return skeletons[0]
    got = f"{len(skeletons)} .asf files in its folder" if skeletons else "no .asf in its folder"
    expected = f"{path.stem.split('_')[0]}.asf or {path.stem}.asf in {path.parent}"
    raise fail(f"{path} needs its skeleton", got=got, expected=expected)


def _lines(path: Path, expected: str) -> list[tuple[int, list[str]]]:
    """(line number, words) of every line that is not empty or a comment."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"Cannot read {path}", got=error, expected=expected) from None
    rows = [(number, line.split("#")[0].split()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, words) for number, words in rows if words]


def _read_asf(path: Path) -> _Skeleton:
    sections: dict[str, list[tuple[int, list[str]]]] = {}
    section = ""
    for number, words in _lines(path, "an ASF skeleton"):
        if words[0].startswith(":"):
            section = words[0][1:].lower()
            sections[section] = []
        elif section:
            sections[section].append((number, words))
    lacking = [name for name in ("root", "bonedata", "hierarchy") if name not in sections]
    if lacking:
        raise fail(
            f"{path} is no ASF skeleton",
            got=f"no section :{', :'.join(lacking)}",
            expected=":root, :bonedata and :hierarchy",
        )
    units = {words[0].lower(): words[1:] for _, words in sections.get("units", []) if len(words) > 1}
    degrees = units.get("angle", ["deg"])[0].lower().startswith("deg")
    length = _numbers(units.get("length", ["1"])[:1], 1, path, 0)[0]
    root = {words[0].lower(): (number, words[1:]) for number, words in sections["root"]}
    number, order = root.get("axis", (0, ["XYZ"]))
    turned = _numbers(root.get("orientation", (0, ["0"] * 3))[1], 3, path, number)
    bones = {
        "root": _Bone(
            _fixed_axes(order[0] if order else "XYZ", turned, degrees, path, number),
            np.zeros(3),
            _channels(root.get("order", (0, ["TX", "TY", "TZ", "RX", "RY", "RZ"]))[1], path, number),
        )
    }
    bones |= _bones(sections["bonedata"], degrees, path)
    parents: dict[str, str | None] = {"root": None}
    for number, words in sections["hierarchy"]:
        for name in words[1:] if words[0] not in ("begin", "end") else []:
            if words[0] not in parents or name in parents or name not in bones:
                raise fail(
                    f"{path} line {number} is broken",
                    got=" ".join(words),
                    expected="bones of :bonedata, each under one that is in the hierarchy already",
                )
            parents[name] = words[0]
    bones = {name: bones[name] for name in parents}
    position = _numbers(root.get("position", (0, ["0"] * 3))[1], 3, path, number)
    unit = _INCH_M / length if 0 < length != 1 else None
    return _Skeleton(bones, parents, position, unit)


def _bones(rows: list[tuple[int, list[str]]], degrees: bool, path: Path) -> dict[str, _Bone]:
    bones: dict[str, _Bone] = {}
    sections: dict[str, tuple[int, list[str]]] = {}
    for number, words in rows:
        key = words[0].lower()
        if key == "begin":
            sections = {}
        elif key == "end":
            lacking = [name for name in ("name", "direction", "length") if name not in sections]
            if lacking or not sections["name"][1]:
                raise fail(
                    f"{path} has a bone, which ends in line {number}, that is incomplete",
                    got=f"no {', '.join(lacking) or 'name'}",
                    expected="name, direction and length",
                )
            direction = _numbers(sections["direction"][1], 3, path, sections["direction"][0])
            size = _numbers(sections["length"][1][:1], 1, path, sections["length"][0])[0]
            at, axis = sections.get("axis", (number, ["0", "0", "0", "XYZ"]))
            angles = _numbers(axis[:3], 3, path, at)
            turned = _fixed_axes(axis[3] if len(axis) > 3 else "XYZ", angles, degrees, path, at)
            at, dof = sections.get("dof", (number, []))
            norm = max(float(np.linalg.norm(direction)), 1e-12)
            bones[sections["name"][1][0]] = _Bone(turned, direction / norm * size, _channels(dof, path, at))
        elif not key.startswith("("):
            sections[key] = (number, words[1:])
    return bones


def _numbers(words: list[str], count: int, path: Path, line: int) -> np.ndarray:
    try:
        values = np.array(words, np.float64)
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise fail(f"{path} line {line} is broken", got=" ".join(words) or "nothing", expected=f"{count} numbers")
    return values


def _channels(words: list[str], path: Path, line: int) -> tuple[str, ...]:
    names = tuple(word.lower() for word in words)
    if not {*names} <= {"tx", "ty", "tz", "rx", "ry", "rz", "l"} or len({*names}) < len(names):
        raise fail(f"{path} line {line} is broken", got=" ".join(words), expected="some of tx ty tz rx ry rz l")
    return names


def _fixed_axes(order: str, angles: np.ndarray, degrees: bool, path: Path, line: int) -> Rotation:
    if not re.fullmatch(r"[xyz]{3}", order.lower()) or len({*order.lower()}) < 3:
        raise fail(f"{path} line {line} is broken", got=order, expected="an order of axes such as XYZ")
    return Rotation.from_euler(order.lower(), angles, degrees=degrees)


def _read_amc(path: Path, skeleton: _Skeleton, asf: Path) -> dict[str, np.ndarray]:
    """Bone → (n, channels): angles in radians, lengths in the file's unit."""
    rows = _lines(path, "AMC motion")
    degrees = not any(words[0].upper() == ":RADIANS" for _, words in rows)
    frames = _frames(rows, path, skeleton, asf)
    values = {}
    for name, bone in skeleton.bones.items():
        lacking = next((i for i, frame in enumerate(frames) if name not in frame), None) if bone.channels else None
        if lacking is not None and (name == "root" or any(name in frame for frame in frames)):
            raise fail(f"{path} is incomplete", got=f"no {name} in frame {lacking + 1}", expected="every bone a frame")
        if lacking is None and bone.channels:
            values[name] = _channel_values(bone, [frame[name] for frame in frames], degrees, name, path)
    return values


def _frames(
    rows: list[tuple[int, list[str]]], path: Path, skeleton: _Skeleton, asf: Path
) -> list[dict[str, list[str]]]:
    """Return for each frame the words of each bone. Raise ``UserError`` for a line that does not fit the skeleton."""
    frames: list[dict[str, list[str]]] = []
    for number, words in rows:
        if words[0].startswith(":"):
            continue
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
            continue
        bone = skeleton.bones.get(words[0])
        if bone is None or not frames or len(words) - 1 != len(bone.channels):
            expected = "a frame number" if not frames else f"a bone of {asf.name} and its numbers"
            if bone is not None and frames:
                expected = f"{words[0]} and {len(bone.channels)} numbers"
            raise fail(f"{path} line {number} does not fit {asf.name}", got=" ".join(words)[:60], expected=expected)
        frames[-1][words[0]] = words[1:]
    if not frames:
        raise fail(f"{path} holds no frames", expected="AMC motion: a frame number, then a line a bone")
    return frames


def _channel_values(bone: _Bone, words: list[list[str]], degrees: bool, name: str, path: Path) -> np.ndarray:
    """(n, channels) of one bone, angles in radians. Raise ``UserError`` for what is not a finite number."""
    try:
        values = np.array(words, np.float64)
    except ValueError as error:
        raise fail(f"{path} holds a value that is not a number", got=error) from None
    if not np.isfinite(values).all():
        raise fail(f"{path} holds numbers that are not finite", got=f"in {name}")
    if degrees:
        rotations = [i for i, channel in enumerate(bone.channels) if channel[0] == "r"]
        values[:, rotations] = np.radians(values[:, rotations])
    return values


def _turn(bone: _Bone, values: np.ndarray | None, count: int) -> Rotation:
    order = "".join(channel[1] for channel in bone.channels if channel[0] == "r")
    if values is None or not order:
        return Rotation.identity(count)
    angles = values[:, [i for i, channel in enumerate(bone.channels) if channel[0] == "r"]]
    return bone.axis * Rotation.from_euler(order, angles) * bone.axis.inv()


def _columns(bone: _Bone, values: np.ndarray, kind: str) -> np.ndarray:
    """(n,3): the channels of a kind by axis, 0 where there is none."""
    where = {channel[1]: i for i, channel in enumerate(bone.channels) if channel[0] == kind}
    return np.stack([values[:, where[axis]] if axis in where else np.zeros(len(values)) for axis in "xyz"], 1)
