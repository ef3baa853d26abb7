"""Sets of vertices: which part of the body each belongs to, and a few that represent the whole mesh."""

from __future__ import annotations

import numpy as np

from .skeleton import BODY_JOINT_NAMES, JOINT_NAMES, index

REGION_NAMES: tuple[str, ...] = (*JOINT_NAMES, "face", "eyes")
"""Names of ``Body.vertex_region``: first what each of the 24 SMPL joints moves, in their order."""


def moving_joints(weights: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """The SMPL joint (of 24) that moves each vertex most, (V,) int64, from skinning weights (V,J).

    Fingers of SMPL-H and SMPL-X count as hands, jaw and eyes as head.
    """
    named = len(BODY_JOINT_NAMES) + 1
    hands = {index("left_wrist"): index("left_hand"), index("right_wrist"): index("right_hand")}
    joint_of = list(range(named))
    for parent in parents[named:]:
        joint_of.append(hands.get(joint_of[parent], joint_of[parent]))
    return np.array(joint_of, dtype=np.int64)[weights.argmax(1)]


def vertex_regions(
    moving: np.ndarray, template: np.ndarray, landmarks: dict[str, int], eyes: np.ndarray | None
) -> np.ndarray:
    """Index into ``REGION_NAMES`` for each vertex, (V,) int64.

    ``moving`` (V,) as ``moving_joints`` gives it; ``template`` (V,3) the rest shape, facing +z; ``landmarks`` name some
    of its vertices; ``eyes`` (V,) bool, where the mesh has eyes of their own. The face is what the head has before the
    ears, from the chin to above the eyes by half their distance.
    """
    at = {name: template[vertex] for name, vertex in landmarks.items()}
    depth, height = at["nose"][2] - at["left_ear"][2], at["left_eye"][1] - at["chin"][1]
    face = moving == index("head")
    face &= template[:, 2] > at["left_ear"][2] + depth / 3
    face &= (template[:, 1] > at["chin"][1] - height / 10) & (template[:, 1] < at["left_eye"][1] + height / 2)
    regions = np.where(face, REGION_NAMES.index("face"), moving)
    return regions if eyes is None else np.where(eyes, REGION_NAMES.index("eyes"), regions)


_SIDE = np.array([-1.0, 1.0, 1.0])


def well_spread_vertices(template: np.ndarray, count: int) -> np.ndarray:
    """``count`` indices (count,), sorted, of a rest shape (V,3) with x to its left, by farthest-point sampling.

    Each vertex comes with its mirror image, so that the set favours no side; a last single place goes to a vertex
    that is its own image, if there is one left. Always the same for the same shape.
    """
    from scipy.spatial import cKDTree

    points = template.astype(np.float64)
    nearest = np.asarray(cKDTree(points).query(points * _SIDE)[1])
    own = np.arange(len(points))
    mirror = np.where(nearest[nearest] == own, nearest, own)  # a mesh that is not symmetric has vertices without
    distance = np.full(len(points), np.inf)
    chosen: list[int] = []
    following = int(points[:, 1].argmax())
    while len(chosen) < count:
        for vertex in dict.fromkeys((following, int(mirror[following]))):
            if len(chosen) < count:
                chosen.append(vertex)
                distance = np.minimum(distance, ((points - points[vertex]) ** 2).sum(1))
        central = distance * (mirror == own)
        following = int((central if count - len(chosen) == 1 and central.any() else distance).argmax())
    return np.sort(np.array(chosen, dtype=np.int64))
