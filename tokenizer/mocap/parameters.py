"""Motion as parameters of SMPL, SMPL-H or SMPL-X under any of the names that people give them.

AMASS (Mahmood et al., ICCV 2019), BEDLAM, MoSh++ and MOYO, AIST++, smplx, and what estimators write: GVHMR, WHAM, ROMP,
4D-Humans, TokenHMR, our own ``predict``. Rotations are axis-angle or matrices, all joints in one array or the root and
the body apart. Only what is needed is read of a file; assumptions are listed in the clip's notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from ..engine.errors import fail
from .clip import RATE_KEYS, Clip, checked_clip, checked_rate, shape_in_joints
from .content import Content

MOYO_FPS = 60.0
"""MOYO's motion capture; its SMPL fits do not state it, the MoSh++ files of the same clips do."""
AIST_FPS = 60.0
VIDEO_FPS = 30.0

_NAMES = {
    "poses": ("poses", "pose", "fullpose", "fullposes", "full_pose", "thetas", "theta", "rotmat", "rotmats"),
    "body": ("body_pose", "pose_body", "poses_body", "body_poses", "body_rotmat"),
    "root": ("global_orient", "root_orient", "root_pose", "poses_root", "global_orientation", "root_rotmat"),
    "trans": ("trans", "transl", "translation", "root_trans", "cam_trans", "cam_t"),
    "betas": ("betas", "shape", "shapes", "beta"),
    "scaling": ("scaling",),
    "gender": ("gender",),
    "rate": (*RATE_KEYS, "fps", "frame_rate", "framerate"),
    "model": ("surface_model_type",),
}
_MEANS = {word: meaning for meaning, words in _NAMES.items() for word in words}
_PREFIX = re.compile(r"^(smpl[hx]?|pred|pose_est|shape_est|est|optimized|opt)_(?=.)")
_SUFFIX = re.compile(r"(?<=.)_(world|global|w|cam|camera|incam|c|aa|axis_angle|params)$")
_WORLD, _CAMERA = re.compile(r"(^|_)(world|global|w)(_|$)"), re.compile(r"(^|_)(cam|camera|incam|c)(_|$)")

_WIDTHS = {156: "smplh", 165: "smplx", 72: "smpl", 66: ""}
_MODEL_WIDTHS = {"smplh": 156, "smplx": 165, "smpl": 72}
_CAPTURED = (156, 165)
"""Widths of motion capture: such files state their rate."""
_FLAT_MATRICES = (9, 189, 198, 207, 216, 468, 495)
"""Widths of 9 numbers a joint that no axis-angle layout has."""
_MOTION_X = 322

_EXPECTED = "poses (N, 72, 156 or 165), or global_orient (N, 3) and body_pose (N, 63 or 69)"


@dataclass
class _Person:
    """What a file has of one person in one frame of reference: meaning → name; ``where``: the dictionary it is in."""

    where: str
    view: Literal["world", "", "camera"]
    names: dict[str, str] = field(default_factory=dict)

    @property
    def has_pose(self) -> bool:
        return "poses" in self.names or "body" in self.names


def read_parameters(path: Path, content: Content) -> Clip:
    """The clip in a file's content.

    Of several people the one with most frames is read, of several frames of reference the world. Raise ``UserError``
    where there are no poses, they have another layout, numbers are not finite, rotations are none, or the frame rate is
    stated but of no use, or absent in a file of motion capture.
    """
    people = _people(content)
    if not people:
        refused = content.unpack()
        people = _people(content)
        if not people and refused is not None:
            raise refused
    if not people:
        return _without_names(path, content)
    views = [person.view for person in people]
    best = next(view for view in ("world", "", "camera") if view in views)
    people = [person for person in people if person.view == best]
    rates = [name for name in content.names if _plain_name(name.rpartition("/")[2]) in _NAMES["rate"]]
    if len(people) > 1:
        clips = [_clip(path, content, person, rates) for person in people]
        if all(len(clip.root) == 1 for clip in clips):
            _refuse_people_in_frames(path, people)
            return _stacked(path, clips)
        longest = max(range(len(clips)), key=lambda number: len(clips[number].root))
        other_people = ", ".join(person.where for person in people if person is not people[longest])
        note = f"{len(people)} people: {people[longest].where}, with most frames, is read; not {other_people[:100]}"
        return replace(clips[longest], notes=(*clips[longest].notes, note))
    return _clip(path, content, people[0], rates)


def _people(content: Content) -> list[_Person]:
    by_place: dict[tuple[str, str], _Person] = {}
    for name in content.names:
        where, _, leaf = name.rpartition("/")
        plain, view = _plain_name(leaf), _view(where, leaf)
        if plain in _MEANS:
            person = by_place.setdefault((where, view), _Person(where, view))
            person.names.setdefault(_MEANS[plain], name)
    people = [candidate for candidate in by_place.values() if candidate.has_pose]
    in_dictionary: dict[str, list[_Person]] = {}
    for candidate in by_place.values():
        in_dictionary.setdefault(candidate.where, []).append(candidate)
    for person in people:  # what does not depend on the view may be in a dictionary around it
        parts = person.where.split("/")
        for where in ["/".join(parts[:length]) for length in range(len(parts), 0, -1)] + [""] * bool(person.where):
            for source in in_dictionary.get(where, []):
                for meaning in ("betas", "gender", "rate") if where == person.where or not source.has_pose else ():
                    if meaning in source.names:
                        person.names.setdefault(meaning, source.names[meaning])
    return people


def _without_prefix(leaf: str) -> str:
    name = leaf.lower()
    while name not in _MEANS and (shorter := _PREFIX.sub("", name)) != name:
        name = shorter
    return name


def _plain_name(leaf: str) -> str:
    """``smpl_poses``, ``pred_body_pose`` and ``trans_world`` → ``poses``, ``body_pose`` and ``trans``."""
    name = _without_prefix(leaf)
    return name if name in _MEANS else _SUFFIX.sub("", name)


def _view(where: str, leaf: str) -> Literal["world", "", "camera"]:
    """Return the frame of reference that the names imply; ``global_orient`` and ``cam_t`` are names of their own."""
    own = _without_prefix(leaf)
    names = [*where.lower().split("/"), "" if own in _MEANS else own]
    if any(_WORLD.search(name) for name in names):
        return "world"
    return "camera" if any(_CAMERA.search(name) for name in names) else ""


def _clip(path: Path, content: Content, person: _Person, rates: list[str]) -> Clip:
    """``rates``: all names in the file that state frames a second."""
    names = person.names
    poses, single, width = _poses(path, content, person)
    count = len(poses)
    notes = []
    trans = np.zeros((count, 3))
    if "trans" in names:
        trans = content.array(names["trans"])
        if trans.shape[-1:] == (3,) and trans.size == 3 * count:
            trans = trans.reshape(count, 3)
    else:
        notes.append("no translation: 0 taken")
    aist = "scaling" in names
    if aist:
        scale = content.array(names["scaling"])
        trans = trans / float(scale.reshape(-1)[0]) if scale.size == 1 and scale.dtype.kind in "iuf" else trans
    betas = content.array(names["betas"]) if "betas" in names else np.zeros(10)
    betas = betas.reshape(-1, betas.shape[-1]) if betas.ndim == 3 and 1 in betas.shape[:2] else betas
    betas = betas.reshape(-1) if (betas.ndim == 2 and len(betas) == 1) or betas.ndim == 0 else betas
    fps = _rate(path, content, person, rates, single, width, notes)
    up: Literal["y", "z", "unknown"] = "unknown"
    if path.suffix.lower() == ".npz" and width in (*_CAPTURED, 66) and not person.where:
        up = _up(content, names)
    elif aist or (person.view == "world" and not person.where.endswith("incam")):
        up = "y"
    return checked_clip(path, poses, trans, betas, fps, _gender(content, names), up, tuple(notes))


def _poses(path: Path, content: Content, person: _Person) -> tuple[np.ndarray, bool, int]:
    """(n,66) axis-angle of root and body, whether it is one pose alone, and the numbers a frame of the file."""
    names = person.names
    if "poses" in names:
        name = names["poses"]
        stored = _one_person(path, name, content.array(name))
        model = str(content.array(names["model"])).lower()[:5] if "model" in names else ""
        expected = _MODEL_WIDTHS.get(model)
        single = stored.ndim == 1 or stored.shape[1:] in ((3,), (3, 3))
        values = _axis_angle(stored[None] if single else stored, name, path)
        width = 3 * values.shape[1]
        if width in _WIDTHS and expected in (None, width):
            return values[:, :22].reshape(len(values), 66), single, width
        if "body" not in names or expected is not None:
            layouts = f"(N, {expected}) for {model}" if expected else " or ".join(f"(N, {w})" for w in sorted(_WIDTHS))
            raise fail(f"{path} has poses of an unknown layout", got=shape_in_joints(stored), expected=layouts)
    stored = _one_person(path, names["body"], content.array(names["body"]))
    root = content.array(names["root"]) if "root" in names else None
    joints = stored.shape[:1] in ((21,), (22,), (23,), (24,))
    single = stored.ndim == 1 or (joints and stored.shape[1:] in ((3,), (3, 3)))
    values = _axis_angle(stored[None] if single else stored, names["body"], path)
    count = len(values)
    first = np.zeros((count, 1, 3)) if root is None else _root(path, names["root"], root, count)
    if values.shape[1] in (22, 24):  # the root comes before the body, as 4D-Humans' and 3DPW's labels have it
        own, values = values[:, :1], values[:, 1:]
        if root is not None and not np.allclose(own, first, atol=1e-3, equal_nan=True):
            raise fail(
                f"{path} has two roots",
                got=f"{names['body']} {shape_in_joints(stored)} and {names['root']}",
                expected="body_pose (N, 63 or 69) with a root",
            )
        first = own
    if values.shape[1] not in (21, 23):
        shown = f"{names['body']} {shape_in_joints(stored)}"
        raise fail(
            f"{path} has poses of an unknown layout",
            got=shown,
            expected="body_pose (N, 63) or (N, 69), or (N, 66) or (N, 72) with the root in front",
        )
    joined = np.concatenate([first, values[:, :21]], 1)
    return joined.reshape(count, 66), single, 3 * (values.shape[1] + 1)


def _root(path: Path, name: str, root: np.ndarray, count: int) -> np.ndarray:
    """(n,1,3) axis-angle of the root, whatever axes of length 1 it has."""
    if root.shape[-2:] == (3, 3) and root.size == 9 * count:
        root = root.reshape(count, 1, 3, 3)
    elif root.shape[-1:] == (3,) and root.size == 3 * count:
        root = root.reshape(count, 1, 3)
    first = _axis_angle(root, name, path) if root.ndim > 1 else np.zeros((0, 1, 3))
    if first.shape != (count, 1, 3):
        raise fail(f"{path} has a root of another length", got=f"{name} {root.shape}", expected=(count, 3))
    return first


def _one_person(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """The array without an axis of length 1 for a batch or the people in it: (1, N, 63), (N, 1, 72), (1, N, 24, 3).

    Raise ``UserError`` where there are several people, or videos, in one array.
    """
    flat = values.ndim == 3 and values.shape[-1] in (*_WIDTHS, 63, 69, *_FLAT_MATRICES)
    if flat and 1 in values.shape[:2]:
        return values.reshape(-1, values.shape[-1])
    by_joint = (values.ndim == 4 and values.shape[-2:] != (3, 3) and values.shape[-1] == 3) or (
        values.ndim == 5 and values.shape[-2:] == (3, 3)
    )
    if by_joint and values.shape[0] == 1:
        return values[0]
    if flat or by_joint:
        raise fail(
            f"{path} has several people, or videos, in one array",
            got=f"{name} {values.shape}",
            expected=_EXPECTED,
            next_step="Save each by itself",
        )
    return values


def _axis_angle(values: np.ndarray, name: str, path: Path) -> np.ndarray:
    """Rotations of any known shape, (n, …) → (n,J,3) axis-angle."""
    if values.dtype.kind not in "iuf":
        raise fail(f"{path} has poses that are not numbers", got=f"{name} of {values.dtype}", expected=_EXPECTED)
    shape = values.shape
    if not values.ndim or values.ndim < 2:
        raise fail(f"{path} has poses of an unknown layout", got=f"{name} {shape}", expected=_EXPECTED)
    if shape[-2:] == (3, 3) and values.ndim in (3, 4):
        return _of_matrices(values.reshape(shape[0], 1 if values.ndim == 3 else shape[1], 3, 3), name, path)
    if values.ndim == 2 and shape[1] in _FLAT_MATRICES:
        return _of_matrices(values.reshape(shape[0], shape[1] // 9, 3, 3), name, path)
    if (values.ndim == 2 and shape[1] in (126, 132, 138, 144)) or (values.ndim == 3 and shape[-1] == 6):
        message = f"{path} has rotations by 6 numbers, which may be rows or columns of a matrix"
        raise fail(message, got=f"{name} {shape}", expected=_EXPECTED)
    if values.ndim == 3 and shape[-1] == 3:
        return values
    if values.ndim == 2 and shape[1] % 3 == 0 and shape[1]:
        return values.reshape(shape[0], shape[1] // 3, 3)
    raise fail(f"{path} has poses of an unknown layout", got=f"{name} {shape_in_joints(values)}", expected=_EXPECTED)


def _of_matrices(matrices: np.ndarray, name: str, path: Path) -> np.ndarray:
    flat = matrices.reshape(-1, 3, 3).astype(np.float64)
    finite = np.asarray(np.isfinite(flat).all((1, 2)))
    filled = np.where(finite[:, None, None], flat, 0)
    off = np.abs(filled @ filled.transpose(0, 2, 1) - np.eye(3)).max((1, 2), initial=0)
    wrong: np.ndarray = np.logical_or.reduce([~finite, off > 0.02, np.linalg.det(filled) < 0])
    if wrong.any():
        frame = int(wrong.argmax()) // matrices.shape[1]
        raise fail(
            f"{path} has poses that are not finite, or no rotations",
            got=f"{name}, first in frame {frame}",
            expected="rotation matrices, or axis-angle",
        )
    rotations = Rotation.from_matrix(flat).as_rotvec() if len(flat) else np.zeros((0, 3))
    return rotations.reshape(*matrices.shape[:2], 3)


def _rate(
    path: Path, content: Content, person: _Person, rates: list[str], single: bool, width: int, notes: list[str]
) -> float:
    if single:
        return 0.0
    own = [person.names["rate"]] if person.names.get("rate") else rates
    stated: list[object] = [content.array(name) for name in own]
    captured = width in _CAPTURED or person.names.get("body") == "pose_body"
    if stated or captured:
        return checked_rate(path, stated)
    if "scaling" in person.names:
        fps = AIST_FPS
    else:
        fps = MOYO_FPS if "moyo" in str(path).lower() or "stageii" in path.stem.lower() else VIDEO_FPS
    notes.append(f"frame rate not stated: {fps:g} taken")
    return fps


def _gender(content: Content, names: dict[str, str]) -> str:
    """Text or bytes, as different releases have it; neutral where it is not said."""
    if "gender" not in names:
        return "neutral"
    values = content.array(names["gender"]).reshape(-1)
    word = values[0] if len(values) else "neutral"
    word = (word.decode(errors="replace") if isinstance(word, bytes) else str(word)).lower()
    return {"m": "male", "f": "female"}.get(word, word if word in ("male", "female") else "neutral")


def _up(content: Content, names: dict[str, str]) -> Literal["y", "z"]:
    """AMASS is z-up. BEDLAM's y-up files have the same keys; an integer rate and float32 betas tell them apart."""
    if names.get("rate", "") != "mocap_frame_rate" or "betas" not in names:
        return "z"
    rate, betas = content.array(names["rate"]), content.array(names["betas"])
    return "y" if np.issubdtype(rate.dtype, np.integer) and betas.dtype == np.float32 else "z"


def _refuse_people_in_frames(path: Path, people: list[_Person]) -> None:
    """Raise ``UserError`` where some of many dictionaries, the frames of a video, hold several people each."""
    frames: dict[str, list[str]] = {}
    for person in people:
        frames.setdefault(person.where.rpartition("/")[0], []).append(person.where)
    crowd = next((wheres for wheres in frames.values() if len(wheres) > 1), None)
    if crowd is not None and len(frames) > 1:
        raise fail(
            f"{path} has several people a frame",
            got=", ".join(crowd)[:100],
            expected="one person a file",
            next_step="Save the frames of each person by themselves",
        )


def _stacked(path: Path, clips: list[Clip]) -> Clip:
    """Single poses, one a dictionary, as the frames of one person."""
    poses = np.concatenate([np.concatenate([clip.root[:, None], clip.pose_body], 1) for clip in clips]).reshape(-1, 66)
    note = f"{len(clips)} single poses, taken as the frames of one person at {VIDEO_FPS:g} a second"
    trans = np.concatenate([clip.translation for clip in clips])
    return checked_clip(path, poses, trans, clips[0].betas.reshape(-1), VIDEO_FPS, clips[0].gender, notes=(note,))


def _without_names(path: Path, content: Content) -> Clip:
    """A single array without names, where its shape leaves no doubt: Motion-X's 322 numbers, or rotations by joint."""
    names = content.names
    if names in ([""], ["arr_0"]):
        values = content.array(names[0])
        if values.ndim == 2 and values.shape[1] == _MOTION_X and values.dtype.kind in "iuf":
            note = f"an array without names, read as Motion-X's; frame rate not stated: {VIDEO_FPS:g} taken"
            betas = values[0, -10:] if len(values) else np.zeros(10)
            return checked_clip(path, values[:, :66], values[:, 309:312], betas, VIDEO_FPS, notes=(note,))
        raise fail(
            f"{path} holds an array without names",
            got=f"{values.shape} {values.dtype}",
            expected=f"named arrays: {_EXPECTED}",
            next_step="Save it with np.savez and these names",
        )
    shown = ", ".join(names)[:200] or "nothing"
    raise fail(f"{path} holds no poses known here", got=f"keys {shown}", expected=_EXPECTED)
