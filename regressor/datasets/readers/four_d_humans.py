"""Training tars of 4D-Humans (HMR2.0) and TokenHMR: pictures with bodies fitted to 2D keypoints.

Goel et al., Humans in 4D (ICCV 2023). Boxes are in units of 200 pixels; bodies are pseudo labels, but
for those of Human3.6M, which were measured: no loss of TokenHMR loosens them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.shares import folded

from ..photo import Person, Reading, ReadOptions
from .fields import box_around, field, flag, flat_numbers, numbers
from .tars import tar_parts

_UNIT = 200.0


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read tars, or folders of them; a shard each."""
    parts = [
        replace(part, person=partial(_person, true_3d=True)) if _measured(part.path) else part
        for part in tar_parts(sources, options.split, _person)
    ]
    return Reading(parts, {"boxes": "those of the annotation, square by their longer side"})


def _measured(tar: Path) -> bool:
    """Whether it is of Human3.6M, by the name of its folder (``h36m-train``) or its own."""
    place = tar.resolve()
    return any(folded(name).startswith("h36m") for name in (place.parent.name, place.name))


def _person(content: Any, where: str, true_3d: bool = False) -> Person:
    def known(name: str, size: int) -> np.ndarray | None:
        if not flag(content.get(f"has_{name}", name in content), f"{where}: has_{name}"):
            return None
        return numbers(field(content, name, where), (size,), f"{where}: {name}")

    centre = numbers(field(content, "center", where), (2,), f"{where}: center")
    scale = flat_numbers(field(content, "scale", where), f"{where}: scale")
    pose = known("body_pose", 72)
    points_3d = content.get("keypoints_3d")
    return Person(
        box_around(centre, _UNIT * scale[:2]),
        keypoints_2d=numbers(field(content, "keypoints_2d", where), (44, 3), f"{where}: keypoints_2d"),
        keypoints_3d=None if points_3d is None else numbers(points_3d, (44, 4), f"{where}: keypoints_3d"),
        global_orient=None if pose is None else pose[:3],
        body_pose=None if pose is None else pose[3:],
        betas=known("betas", 10),
        true_3d=true_3d,
    )
