"""Training tars of 4D-Humans (HMR2.0) and TokenHMR: pictures with bodies fitted to 2D keypoints.

Goel et al., Humans in 4D (ICCV 2023). Boxes are in units of 200 pixels; bodies are pseudo labels, but
for those of Human3.6M, which were measured: no loss of TokenHMR loosens them.

HMR2.0 trains on a part of what these files hold, see ``FitRules``: keypoints that the detector was sure of, people with
enough of them whose fit is good, and pose and shape where both are known. The rest is left out, and listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.shares import folded

from ..annotation import FitRules, Person, Reading, ReadOptions
from .fields import box_around, field, flag, flat_numbers, numbers
from .tars import tar_parts

_UNIT = 200.0


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read tars, or folders of them; a shard each."""
    rules = options.fits
    parts = [
        replace(
            part,
            key=f"{part.key} {rules}",
            corrupt=rules.corrupt,
            person=partial(_person, rules=rules, true_3d=_measured(part.path)),
        )
        for part in tar_parts(sources, options.split, partial(_person, rules=rules))
    ]
    note = (
        f"2D keypoints below confidence {rules.confidence:g} count as unknown; people with fewer than "
        f"{rules.keypoints} keypoints, or fitted with a loss above {rules.loss:.0f}, are left out, and so are "
        f"{len(rules.corrupt)} pictures given as corrupt; pose and shape count only together"
    )
    return Reading(parts, {"boxes": "those of the annotation, square by their longer side", "note": note})


def _measured(tar: Path) -> bool:
    """Whether it is of Human3.6M, by the name of its folder (``h36m-train``) or its own."""
    place = tar.resolve()
    return any(folded(name).startswith("h36m") for name in (place.parent.name, place.name))


def _person(content: Any, where: str, *, rules: FitRules, true_3d: bool = False) -> Person:
    def known(name: str, size: int) -> np.ndarray | None:
        if not flag(content.get(f"has_{name}", name in content), f"{where}: has_{name}"):
            return None
        return numbers(field(content, name, where), (size,), f"{where}: {name}")

    centre = numbers(field(content, "center", where), (2,), f"{where}: center")
    scale = flat_numbers(field(content, "scale", where), f"{where}: scale")
    points_2d = numbers(field(content, "keypoints_2d", where), (44, 3), f"{where}: keypoints_2d")
    points_2d[(points_2d[:, 2] >= 0) & (points_2d[:, 2] < rules.confidence), 2] = 0
    confident = int((points_2d[:, 2] > 0).sum())
    if confident < rules.keypoints:
        raise fail(
            f"{where} has too few 2D keypoints",
            got=f"{confident} from confidence {rules.confidence:g}",
            expected=f"{rules.keypoints} or more",
        )
    loss = _fitting_loss(content, where)
    if loss is not None and loss > rules.loss:
        raise fail(
            f"{where} was fitted badly", got=f"a reprojection loss of {loss:.0f}", expected=f"up to {rules.loss:.0f}"
        )
    pose, betas = known("body_pose", 72), known("betas", 10)
    if pose is None or betas is None:
        pose = betas = None
    points_3d = content.get("keypoints_3d")
    return Person(
        box_around(centre, _UNIT * scale[:2]),
        keypoints_2d=points_2d,
        keypoints_3d=None if points_3d is None else numbers(points_3d, (44, 4), f"{where}: keypoints_3d"),
        global_orient=None if pose is None else pose[:3],
        body_pose=None if pose is None else pose[3:],
        betas=betas,
        true_3d=true_3d,
    )


def _fitting_loss(content: Any, where: str) -> float | None:
    """How far the fitted body fell from the 2D keypoints, in the annotation's own unit; None where it does not say."""
    about = content.get("extra_info")
    if not isinstance(about, Mapping) or about.get("fitting_loss") is None:
        return None
    values = flat_numbers(about["fitting_loss"], f"{where}: fitting_loss")
    return float(values.max()) if len(values) else None
