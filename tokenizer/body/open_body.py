"""The open body: an SMPL-layout body (24 joints, 10 betas, T-pose, y-up, facing +z) from CC0 assets, built once.

Principal components of 1,000 random adults in T-pose give the betas (unit variance, + means larger volume); skinning
weights are the asset's, summed over the bones of each SMPL joint; joints are regressed from vertices as in SMPL
(Loper et al., SIGGRAPH Asia 2015). The result is cached as one npz whose name carries the version of the recipe.

Landmark vertices are picked by rule: extreme vertices of a region on the left, and their mirror.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from ..engine.errors import UserError, fail
from ..engine.files.atomic import write_atomically
from ..engine.files.cache import cache_folder, locked
from ..engine.files.npz import read_npz
from .open_body_assets import Assets, smpl_joint_of
from .open_body_shapes import sample_t_poses
from .skeleton import JOINT_NAMES, NUM_JOINTS, index, mirror_permutation

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


VERSION = 1
NUM_BETAS = 10
_PELVIS = np.array([0.0, -0.22, 0.03])
_DROPPED = ((1778, 1794), (8450, 8466))
_BODY_GROUPS = ("body", "helper-l-eye", "helper-r-eye")
GARMENTS = {"bodysuit": "helper-tights", "skirt": "helper-skirt", "hair": "helper-hair"}


def open_body_arrays() -> dict[str, np.ndarray]:
    """The arrays of the open body, from the cache or built (about 15 s); two processes build once.

    ``v_template`` (V,3), ``shapedirs`` (V,3,10), ``weights`` (V,24), ``J_regressor`` (24,V), ``faces`` (F,3),
    ``eyes`` (V,) bool, ``landmark_names`` and ``landmark_vertices``; for each garment of ``GARMENTS`` the same under
    ``bodysuit/v_template`` and so on. Raise ``UserError`` if it must be built and the assets are missing, or the
    cache folder cannot be written to.
    """
    path = cache_folder() / f"open_body_v{VERSION}.npz"
    arrays = _read(path)
    if arrays is None:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(path.with_suffix(".lock")))
            except OSError as error:
                raise _unwritable(path, error) from None
            arrays = _read(path)  # another process may have built it while this one waited
            if arrays is None:
                arrays = build_open_body()
                _write(path, arrays)
    return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in arrays.items()}


def build_open_body(count: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """Build the arrays from the assets, with ``count`` random adults."""
    assets = Assets.find()
    shapes, heads = sample_t_poses(assets, count, seed)
    joints = _joint_positions(heads)
    shift = _PELVIS - joints[:, 0]
    joints += shift[:, None]
    shapes += shift[:, None].astype(np.float32)

    # Surface of the body, without the geometry that the cut removes.
    kept, faces = _surface(assets)
    areas = _vertex_areas(shapes[:, kept].mean(0), faces)

    # Principal components of the body's vertices, weighted by area; everything else follows their scores.
    mean = shapes.mean(0, dtype=np.float64)
    centred = shapes - mean.astype(np.float32)
    weighted = (centred[:, kept] * np.sqrt(areas / areas.sum()).astype(np.float32)[:, None]).reshape(count, -1)
    _, vectors = np.linalg.eigh((weighted @ weighted.T).astype(np.float64))
    scores = vectors[:, ::-1][:, :NUM_BETAS] * np.sqrt(count)
    directions = np.tensordot(centred, scores.astype(np.float32), axes=(0, 0)) / count
    volume = [_volume(mean[kept] + directions[kept, :, i], faces) for i in range(NUM_BETAS)]
    signs = np.where(np.array(volume) >= _volume(mean[kept], faces), 1, -1)
    directions, scores = directions * signs, scores * signs
    joint_mean = joints.mean(0)
    joint_directions = np.einsum("njc,nb->jcb", joints - joint_mean, scores) / count

    # What is symmetric by construction is made so to the last bit.
    side = np.array([-1.0, 1.0, 1.0])
    mean = (mean + mean[assets.mirror] * side) / 2
    directions = (directions + directions[assets.mirror] * side[:, None]) / 2
    weights = _joint_weights(assets)

    def part(vertices: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "v_template": mean[vertices].astype(np.float32),
            "shapedirs": directions[vertices].astype(np.float16),
            "weights": weights[vertices].astype(np.float32),
        }

    arrays = part(kept)
    mirror = np.searchsorted(kept, assets.mirror[kept])
    rounded = arrays["shapedirs"].astype(np.float64)
    names, chosen = landmark_vertices(assets, arrays["v_template"], kept, mirror)
    arrays |= {
        "faces": faces.astype(np.int32),
        "J_regressor": _joint_regressor(mean[kept], rounded, joint_mean, joint_directions, mirror),
        "mirror": mirror.astype(np.int32),
        "eyes": kept >= 13380,
        "landmark_names": np.array(names),
        "landmark_vertices": np.array(chosen, dtype=np.int32),
    }
    for name, group in GARMENTS.items():
        quads = assets.mesh[1][group]
        own = np.unique(quads)
        arrays |= {f"{name}/{key}": value for key, value in part(own).items()}
        arrays[f"{name}/faces"] = np.searchsorted(own, _triangles(quads)).astype(np.int32)
    return arrays


def _joint_positions(heads: dict[str, np.ndarray]) -> np.ndarray:
    """Rest positions of the 24 SMPL joints, (count,24,3), from bone heads."""
    hips = (heads["upperleg01.L"] + heads["upperleg01.R"]) / 2
    pelvis = (hips + heads["spine04"]) / 2
    pelvis[:, 2] = hips[:, 2] - 0.007
    single = {
        "hip": "upperleg01",
        "knee": "lowerleg01",
        "ankle": "foot",
        "shoulder": "upperarm01",
        "elbow": "lowerarm01",
        "wrist": "wrist",
    }
    several = {
        "foot": [f"toe{i}-1" for i in range(1, 6)],
        "hand": [f"finger{i}-1" for i in range(2, 6)],
        "collar": ["clavicle", "shoulder01"],
    }
    central = {"spine1": "spine03", "spine2": "spine02", "spine3": "spine01", "neck": "neck01", "head": "head"}
    positions = {"pelvis": pelvis} | {joint: heads[bone] for joint, bone in central.items()}
    for side, suffix in (("left_", ".L"), ("right_", ".R")):
        positions |= {side + joint: heads[bone + suffix] for joint, bone in single.items()}
        positions |= {
            side + joint: np.mean([heads[bone + suffix] for bone in bones], axis=0) for joint, bones in several.items()
        }
    return np.stack([positions[name] for name in JOINT_NAMES], 1)


def _surface(assets: Assets) -> tuple[np.ndarray, np.ndarray]:
    """Kept vertices (V,), sorted, and triangles (F,3) in their numbering, holes capped."""
    quads = np.concatenate([assets.mesh[1][group] for group in _BODY_GROUPS])
    caps = []
    cut = np.zeros(len(quads), dtype=bool)
    for first, last in _DROPPED:
        touching = ((quads >= first) & (quads < last)).any(1)
        cut |= touching
        caps.append(_cap(quads[touching], first, last))
    quads = np.concatenate([quads[~cut], *caps])
    kept = np.unique(quads)
    return kept, np.searchsorted(kept, _triangles(quads))


def _cap(removed: np.ndarray, first: int, last: int) -> np.ndarray:
    """Seven quads over the 16-sided hole that removing ``removed`` leaves, facing as they did."""
    following = {}
    for quad in removed:
        for a, b in zip(quad, np.roll(quad, -1), strict=True):
            if not first <= a < last and not first <= b < last:
                following[int(a)] = int(b)
    ring = [min(following)]
    while following[ring[-1]] != ring[0]:
        ring.append(following[ring[-1]])
    return np.array([[ring[i], ring[i + 1], ring[-i - 2], ring[-i - 1]] for i in range(len(ring) // 2 - 1)])


def _triangles(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(areas, 3), minlength=len(vertices))


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _joint_weights(assets: Assets) -> np.ndarray:
    """Skinning weights (19158,24): summed per SMPL joint, symmetric, the four largest kept."""
    summed = np.zeros((len(assets.weights), NUM_JOINTS))
    for column, bone in enumerate(assets.bones[0]):
        summed[:, smpl_joint_of(bone)] += assets.weights[:, column]
    summed = (summed + summed[assets.mirror][:, list(mirror_permutation(JOINT_NAMES))]) / 2
    fourth = np.sort(summed, axis=1)[:, -4][:, None]
    summed[summed < fourth] = 0
    return summed / summed.sum(1, keepdims=True)


def _joint_regressor(
    mean: np.ndarray, directions: np.ndarray, joint_mean: np.ndarray, joint_directions: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """Non-negative, sum-to-one weights (24,V) that reproduce the joints of the mean and of ±1.5 of each beta."""
    from scipy.optimize import nnls  # half a second, and only the recipe needs it

    offsets = [np.zeros(NUM_BETAS), *(1.5 * np.eye(NUM_BETAS)), *(-1.5 * np.eye(NUM_BETAS))]
    opposite = mirror_permutation(JOINT_NAMES)
    regressor = np.zeros((NUM_JOINTS, len(mean)))
    for joint, name in enumerate(JOINT_NAMES):
        if name.startswith("right_"):
            continue
        distance = np.linalg.norm(mean - joint_mean[joint], axis=1)
        order = np.argsort(distance, kind="stable")
        near = order[: min(400, np.count_nonzero(distance < max(0.06, 2.2 * distance[order[39]])))]
        rows = [(mean[near] + directions[near] @ beta).T for beta in offsets]
        goals = [joint_mean[joint] + joint_directions[joint] @ beta for beta in offsets]
        system = np.concatenate([*rows, 10 * np.ones((1, len(near))), 2e-3 * np.eye(len(near))])
        weights, _ = nnls(system, np.concatenate([*goals, [10.0], np.zeros(len(near))]))
        weights[weights < 1e-3] = 0
        regressor[joint, near] = weights / weights.sum()
        if name.startswith("left_"):
            regressor[opposite[joint], mirror[near]] = regressor[joint, near]
        else:
            regressor[joint] = (regressor[joint] + regressor[joint][mirror]) / 2
    return regressor.astype(np.float32)


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The cached arrays, or None where there are none of this version that are whole."""
    try:
        arrays = read_npz(path)
    except UserError:
        return None
    version = arrays.pop("version", np.zeros(0))
    return arrays if version.shape == () and int(version) == VERSION else None


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    def save(file: IO[bytes]) -> None:
        np.savez_compressed(file, version=np.int64(VERSION), **arrays)  # type: ignore[arg-type]

    try:
        write_atomically(path, save)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UserError:
    return fail(
        f"The open body cannot be cached in {path.parent}",
        got=error.strerror,
        expected="a folder to write to",
        next_step="Set POSE_TOKEN_HMR_CACHE to one with 2 MB of space",
    )
