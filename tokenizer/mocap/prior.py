"""The embedded pose source: a mixture of low-rank Gaussians over body poses, small enough to ship with the package.

A mixture of probabilistic principal component analysers (Tipping & Bishop, 1999), its clusters found by k-means on the
63 axis-angle numbers of a pose, fitted by ``pose-tokenizer fit-prior`` to motion of the CMU database:

    The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF
    EIA-0196217.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from ..body.skeleton import BODY_JOINT_NAMES, mirror_permutation
from ..engine.errors import fail
from ..engine.files.npz import read_npz, write_npz
from .clip import canonical
from .store import NUM_JOINTS

EMBEDDED = Path(__file__).with_name("prior.npz")
ACKNOWLEDGEMENT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
_LIMIT = 2.5
_DIMS = NUM_JOINTS * 3


@dataclass(frozen=True)
class Prior:
    """weights (K,) summing to 1; mean (K,63) radians; factors (K,R,63): principal directions times their deviation;
    noise (K,): deviation left in every other direction; lower, upper (63,): range of the poses it was fitted to."""

    weights: np.ndarray
    mean: np.ndarray
    factors: np.ndarray
    noise: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def fit(poses: np.ndarray, *, clusters: int = 256, rank: int = 16, seed: int = 0) -> Prior:
    """Fit to poses (N,21,3) axis-angle. Common poses count less than their share (its square root), so that rare
    movements stay. Raise ``UserError`` when there are fewer than ten poses a cluster."""
    flat = np.asarray(poses, dtype=np.float64).reshape(len(poses), -1)
    if len(flat) < 10 * clusters:
        raise fail(f"Too few poses for {clusters} clusters", got=len(flat), expected=f"at least {10 * clusters}")
    centres, _ = kmeans2(flat, clusters, minit="++", iter=20, rng=np.random.default_rng(seed), missing="warn")
    owner, _ = vq(flat, centres)
    parts = [flat[owner == number] for number in range(clusters)]
    parts = [part for part in parts if len(part) > rank]
    means, factors, noises, shares = [], [], [], []
    for part in parts:
        mean = part.mean(0)
        _, singular, directions = np.linalg.svd(part - mean, full_matrices=False)
        variance = singular**2 / len(part)
        means.append(mean)
        factors.append(directions[:rank] * np.sqrt(variance[:rank])[:, None])
        noises.append(np.sqrt(variance[rank:].sum() / (_DIMS - rank)))
        shares.append(np.sqrt(len(part)))
    weights = np.array(shares) / np.sum(shares)
    return Prior(weights, np.array(means), np.array(factors), np.array(noises), flat.min(0), flat.max(0))


def sample(n: int, seed: int, prior: Prior | None = None) -> np.ndarray:
    """Draw (n,21,3) float32 axis-angle poses; half of them mirrored. The same seed gives the same poses anywhere."""
    prior = prior or embedded()
    draw = np.random.default_rng(seed)
    cluster = draw.choice(len(prior.weights), n, p=prior.weights)
    poses = np.empty((n, _DIMS), dtype=np.float32)
    order = np.argsort(cluster, kind="stable")
    ends = np.cumsum(np.bincount(cluster, minlength=len(prior.weights)))
    for number, rows in enumerate(np.split(order, ends[:-1])):
        scores = draw.standard_normal((len(rows), prior.factors.shape[1])).clip(-_LIMIT, _LIMIT)
        residual = draw.standard_normal((len(rows), _DIMS)).clip(-_LIMIT, _LIMIT) * prior.noise[number]
        poses[rows] = prior.mean[number] + scores @ prior.factors[number] + residual
    drawn = poses.clip(prior.lower, prior.upper).reshape(n, NUM_JOINTS, 3)
    mirrored = drawn[:, list(mirror_permutation(BODY_JOINT_NAMES))] * np.array([1, -1, -1])
    return canonical(np.where((draw.random(n) < 0.5)[:, None, None], mirrored, drawn)).astype(np.float32)


def save(prior: Prior, path: str | Path) -> None:
    """Write a prior as npz: float16 where that is enough, with the acknowledgement of its source."""
    exact = ("weights", "lower", "upper")
    arrays = {name: value.astype(np.float32 if name in exact else np.float16) for name, value in vars(prior).items()}
    write_npz(path, {"acknowledgement": np.array(ACKNOWLEDGEMENT), **arrays})


def load(path: str | Path) -> Prior:
    """Read a prior. Raise ``UserError`` for a file that is not one."""
    fields = tuple(Prior.__dataclass_fields__)
    arrays = {name: value.astype(np.float64) for name, value in read_npz(path, "prior", fields).items()}
    if len(arrays) < len(fields):
        raise fail(
            f"{path} is no prior",
            got=f"no {', '.join(name for name in fields if name not in arrays)}",
            expected="a file of `pose-tokenizer fit-prior`",
        )
    arrays["weights"] /= arrays["weights"].sum()
    return Prior(**arrays)


@lru_cache(maxsize=1)
def embedded() -> Prior:
    """The prior that ships with the package."""
    return load(EMBEDDED)
