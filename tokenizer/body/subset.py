"""A small set of vertices that stands for the whole mesh."""

from __future__ import annotations

import numpy as np

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
