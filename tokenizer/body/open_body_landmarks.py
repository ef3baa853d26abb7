"""Landmark vertices of the open body, picked by rule: extreme vertices of a region on the left, and their mirror."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .open_body_assets import Assets, smpl_joint_of
from .skeleton import index

HEAD = index("head")
Score = Callable[[np.ndarray], np.ndarray]


def landmark_vertices(
    assets: Assets, template: np.ndarray, kept: np.ndarray, mirror: np.ndarray
) -> tuple[list[str], list[int]]:
    """Names and indices, among the ``kept`` vertices, of nose, crown, chin, eyes, ears, toes and heels.

    ``template`` (V,3) is the rest shape of the kept vertices, ``mirror`` (V,) their mirror images.
    """
    strongest = np.array(assets.bones[0])[assets.weights[kept].argmax(1)]
    central = np.abs(template[:, 0]) < 2e-3
    left = template[:, 0] > 2e-3
    eyes = kept >= 13380
    facial = np.array([smpl_joint_of(str(bone)) == HEAD for bone in strongest])

    def foot(prefix: str) -> np.ndarray:
        return left & np.char.startswith(strongest, prefix)

    rules: dict[str, tuple[np.ndarray, Score]] = {
        "nose": (central & facial & ~eyes, lambda v: v[:, 2]),
        "crown": (central & facial, lambda v: v[:, 1]),
        "chin": (central & (strongest == "jaw"), lambda v: v[:, 2] - 2 * v[:, 1]),
        "left_eye": (left & eyes, lambda v: v[:, 2]),
        "left_ear": (left & facial & ~eyes & (strongest == "head"), lambda v: v[:, 0]),
        "left_big_toe": (foot("toe1-"), lambda v: v[:, 2]),
        "left_small_toe": (foot("toe5-"), lambda v: v[:, 2]),
        "left_heel": (foot("foot"), lambda v: -v[:, 2] - v[:, 1]),
    }
    names, vertices = [], []
    for name, (region, score) in rules.items():
        candidates = np.flatnonzero(region)
        best = int(candidates[score(template[candidates]).argmax()])
        names.append(name)
        vertices.append(best)
        if name.startswith("left_"):
            names.append(name.replace("left_", "right_"))
            vertices.append(int(mirror[best]))
    return names, vertices
