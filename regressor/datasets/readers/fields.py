"""Values of annotation files, checked: one clear message for each that is not what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.errors import fail
from tokenizer.engine.files.safe_pickle import as_array

_GENDERS = {
    "m": "male",
    "male": "male",
    "f": "female",
    "female": "female",
    "n": "neutral",
    "neutral": "neutral",
    "unknown": "neutral",
    "none": "neutral",
    "": "neutral",
}


def field(content: Mapping[str, Any], name: str, where: str) -> Any:
    """``content[name]``. Raises ``UserError`` naming what there is instead."""
    if not isinstance(content, Mapping):
        raise fail(f"{where} is no dictionary", got=type(content).__name__, expected=f"one with {name}")
    if name not in content:
        got = f"keys {', '.join(map(str, content))}"[:200]
        raise fail(f"{where} is incomplete", got=got, expected=name)
    return content[name]


def numbers(value: Any, shape: tuple[int | None, ...], where: str) -> np.ndarray:
    """``value`` as float64 of ``shape``, None standing for any size.

    Raises ``UserError`` for anything else than such an array of finite numbers.
    """
    expected = "(" + ", ".join("N" if size is None else str(size) for size in shape) + ")"
    array = _real(value, where, expected)
    fits = array.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, array.shape, strict=True))
    if not fits:
        raise fail(f"{where} has another shape", got=array.shape, expected=expected)
    return _finite(array, where)


def flat_numbers(value: Any, where: str) -> np.ndarray:
    """``value`` of any shape as float64 (N,). Raises ``UserError`` for anything else than finite numbers."""
    return _finite(_real(value, where, "numbers").reshape(-1), where)


def flag(value: Any, where: str) -> bool:
    """A 0-d, one-element or plain yes or no, as any of the data sets write it; ``UserError`` for anything else."""
    return bool(flat_numbers(value, where)[:1].any())


def shown(value: Any) -> str:
    """The beginning of what ``value`` looks like, in one line."""
    return " ".join(repr(value).split())[:60]


def text(value: Any) -> str:
    """A name as text, also where it is given as bytes."""
    value = value.item() if isinstance(value, np.ndarray | np.generic) and np.size(value) == 1 else value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else shown(value)


def gender_of(value: Any, where: str) -> str:
    """female, male, or neutral, also where it is unknown. Raises ``UserError`` for another word."""
    word = text(value).strip().lower()
    if word not in _GENDERS:
        raise fail(f"{where} has an unknown gender", got=shown(word), expected="male, female or neutral")
    return _GENDERS[word]


def box_around(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The box (4,) of ``size`` (1,) or (2,) pixels about ``centre`` (2,). Raises ``UserError`` for another size."""
    if len(size) not in (1, 2):
        raise fail("The size of a box is none", got=f"{len(size)} numbers", expected="its side, or width and height")
    return np.concatenate([centre - size / 2, centre + size / 2])


def turned_rotations(turn: np.ndarray, axis_angle: np.ndarray) -> np.ndarray:
    """``turn`` (N,3,3) times the rotations ``axis_angle`` (N,3) → axis-angle (N,3), in float64."""
    return (Rotation.from_matrix(turn) * Rotation.from_rotvec(axis_angle)).as_rotvec()


def keypoints_by_name(points: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Points (J,D) of ``names`` (J; '' where it is none of the 44) in the order of the 44; zeros for those that none
    are of."""
    out = np.zeros((len(KEYPOINT_NAMES), points.shape[1]))
    for row, name in enumerate(names):
        if name:
            out[KEYPOINT_NAMES.index(name)] = points[row]
    return out


def box_of_points(points: np.ndarray, margin: float = 1.2) -> np.ndarray:
    """The box (4,) around the points (J,3) that have confidence, ``margin`` times as large.

    Raises ``UserError`` where there are fewer than two.
    """
    visible = points[points[:, 2] > 0, :2]
    if len(visible) < 2:
        raise fail("Too few keypoints for a box", got=len(visible), expected="at least 2")
    low, high = visible.min(0), visible.max(0)
    return box_around((low + high) / 2, (high - low) * margin)


def _real(value: Any, where: str, expected: str) -> np.ndarray:
    try:
        array = as_array(value)
        if array.dtype.kind == "c":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise fail(f"{where} holds no numbers", got=shown(value), expected=expected) from None


def _finite(array: np.ndarray, where: str) -> np.ndarray:
    if not np.isfinite(array).all():
        raise fail(f"{where} is not finite", got=f"{int((~np.isfinite(array)).sum())} of {array.size} numbers")
    return array
