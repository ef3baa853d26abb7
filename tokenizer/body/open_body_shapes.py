"""Random adults in T-pose from the MakeHuman assets: the population whose principal components are the betas."""

from __future__ import annotations

import math

import numpy as np

from .open_body_assets import Assets

_MIRROR = np.diag([-1.0, 1.0, 1.0])
_ANCHORS = {
    "muscle": {"minmuscle": 0.0, "averagemuscle": 0.5, "maxmuscle": 1.0},
    "weight": {"minweight": 0.0, "averageweight": 0.5, "maxweight": 1.0},
    "height": {"minheight": 0.0, "maxheight": 1.0},
    "proportions": {"uncommonproportions": 0.0, "idealproportions": 1.0},
    "cup": {"mincup": 0.0, "averagecup": 0.5, "maxcup": 1.0},
    "firmness": {"minfirmness": 0.0, "averagefirmness": 0.5, "maxfirmness": 1.0},
    "gender": {"female": 0.0, "male": 1.0},
}


def sample_phenotypes(count: int, seed: int) -> dict[str, np.ndarray]:
    """Weight (count,) of every phenotype word for ``count`` random adults, half of them women."""
    draw = np.random.default_rng(seed)
    male = np.arange(count) % 2 == 1
    stray = draw.uniform(0, 0.05, count)
    years = draw.uniform(18, 75, count)
    values = {
        "gender": np.where(male, 1 - stray, stray),
        "height": np.where(male, draw.beta(16.5, 25.7, count), draw.beta(13.7, 25.7, count)),
        "weight": draw.beta(1.5, 1.5, count),
        "muscle": draw.beta(1.5, 1.5, count),
        **{name: draw.uniform(0, 1, count) for name in ("proportions", "cup", "firmness")},
    }
    words = {"universal": np.ones(count)}
    for name, anchors in _ANCHORS.items():
        step = 1 / (len(anchors) - 1)
        for word, anchor in anchors.items():
            words[word] = np.clip(1 - np.abs(values[name] - anchor) / step, 0, None)
    age = np.interp(years, [16, 18, 64, 110], [0.67, 0.77, 0.83, 1.0])
    words["old"] = np.clip((age - 2 / 3) * 3, 0, 1)
    words["young"] = 1 - words["old"]
    races = draw.dirichlet([1, 1, 1], count)
    words.update({name: races[:, i] for i, name in enumerate(("african", "asian", "caucasian"))})
    return words


def sample_t_poses(assets: Assets, count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """``count`` adults: vertices (count, 19158, 3) float32 in T-pose, and bone heads by name, (count, 3) each."""
    words, offsets = assets.targets
    phenotypes = sample_phenotypes(count, seed)
    blend = np.stack([np.prod([phenotypes[word] for word in parts], axis=0) for parts in words], 1)
    vertices = assets.mesh[0].astype(np.float32) + (blend.astype(np.float32) @ offsets).reshape(count, -1, 3)
    vertices = (vertices + vertices[:, assets.mirror] * np.array([-1, 1, 1], dtype=np.float32)) / 2
    names, parents = assets.bones
    heads = np.stack([assets.heads @ shape for shape in vertices.astype(np.float64)], 1)
    opposite = [names.index(_other_side(name)) for name in names]
    heads = (heads + heads[opposite] * [-1, 1, 1]) / 2
    by_name = {name: heads[row] for row, name in enumerate(names)}
    rotations = np.stack([_bone_rotation(name, by_name) for name in names])
    t_pose_heads = np.empty_like(heads)
    for row, parent in enumerate(parents):
        if parent < 0:
            t_pose_heads[row] = heads[row]
        else:
            t_pose_heads[row] = t_pose_heads[parent] + np.einsum(
                "nij,nj->ni", rotations[parent], heads[row] - heads[parent]
            )
    shift = t_pose_heads - np.einsum("bnij,bnj->bni", rotations, heads)
    transforms = np.concatenate([rotations, shift[..., None]], -1).astype(np.float32)
    weights = assets.weights.astype(np.float32)
    t_poses = np.empty_like(vertices)
    for number in range(count):
        per_vertex = (weights @ transforms[:, number].reshape(len(names), 12)).reshape(-1, 3, 4)
        t_poses[number] = np.einsum("vij,vj->vi", per_vertex[..., :3], vertices[number]) + per_vertex[..., 3]
    return t_poses, {name: t_pose_heads[row] for row, name in enumerate(names)}


def _bone_rotation(bone: str, heads: dict[str, np.ndarray]) -> np.ndarray:
    """World rotation (count,3,3) that brings a bone from the rest pose of the asset to the T-pose."""
    if bone.endswith(".R"):
        return _MIRROR @ _bone_rotation(_other_side(bone), heads) @ _MIRROR
    base = bone.removesuffix(".L")
    x, y, z = np.eye(3)
    arm = heads["lowerarm01.L"] - heads["upperarm01.L"]
    forearm = heads["wrist.L"] - heads["lowerarm01.L"]
    hinge = np.cross(arm, forearm)
    if base.startswith("upperarm"):
        return _frame_rotation(arm, hinge, x, -y)
    if base.startswith("lowerarm"):
        return _frame_rotation(forearm, hinge, x, -y)
    if base.startswith(("wrist", "metacarpal", "finger")):
        across = heads["finger2-1.L"] - heads["finger5-1.L"]
        return _frame_rotation(heads["finger3-1.L"] - heads["wrist.L"], across, x, z)
    if base.startswith("upperleg"):
        goal = np.array([math.sin(math.radians(4.5)), -1, -math.sin(math.radians(0.5))])
        return _minimal_rotation(heads["lowerleg01.L"] - heads["upperleg01.L"], goal)
    if base.startswith("lowerleg"):
        goal = np.array([-math.sin(math.radians(2)), -1, -math.sin(math.radians(5))])
        return _minimal_rotation(heads["foot.L"] - heads["lowerleg01.L"], goal)
    raised = {"clavicle": 10.0, "shoulder01": 18.0}.get(base, 0.0)
    tilted = {"spine03": 2.0, "spine02": 4.0, "spine01": 6.0, "clavicle": 6.0, "shoulder01": 6.0}.get(base, 0.0)
    rotation = _about_z(math.radians(raised)) @ _about_x(-math.radians(tilted))
    return np.broadcast_to(rotation, (len(arm), 3, 3))


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first = first / np.linalg.norm(first, axis=-1, keepdims=True)
    second = second - (second * first).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], -1)


def _frame_rotation(first: np.ndarray, second: np.ndarray, to_first: np.ndarray, to_second: np.ndarray) -> np.ndarray:
    return _frame(to_first, to_second) @ np.swapaxes(_frame(first, second), -1, -2)


def _minimal_rotation(source: np.ndarray, goal: np.ndarray) -> np.ndarray:
    goal = np.broadcast_to(goal, source.shape)
    axis = np.cross(source, goal)
    return _frame(goal, axis) @ np.swapaxes(_frame(source, axis), -1, -2)


def _about_x(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_z(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _other_side(bone: str) -> str:
    side = {".L": ".R", ".R": ".L"}.get(bone[-2:])
    return bone[:-2] + side if side else bone
