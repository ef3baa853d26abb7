"""Which clips are one take: by their names, and by motion that is nearly equal.

The same take comes in several files: at another rate, mirrored, saved again, cut by a frame, as BVH and as npz. On both
sides of a split they would make validation praise what was learnt by heart.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from ..body.skeleton import BODY_JOINT_NAMES, mirror_permutation

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
_NEAR = 0.035
"""Of 118 clips of CMU no two takes are nearer than 0.047; every second frame of each is within 0.018, every fourth of
30 a second within 0.041, a frame less within 0.008."""
_CELL_DEG = 0.02
_CHECKED_AT_ONCE = 100_000

_FORM = re.compile(
    r"poses?|stagei{1,2}|smpl[hx]?|neutral|male|female|mirror(ed)?|flip(ped)?|copy|resampled|clean(ed)?|\d+(fps|hz)|"
    r"fps\d+|amass|bvh|npz|final|result(s)?|output(s)?|param(s)?|motion(s)?|hmr4d|wham|clip|data|seq(uence)?"
)
"""Words about a file's form, not its take."""


def take_of(name: str) -> str:
    """Return the take in a clip's name: ``cmu/02/02_03_poses.npz`` and ``02_03_mirrored_60fps.bvh`` → ``2 3``.

    Where the name has none, as ``params.npz``, its folder's name is joined with it.
    """
    path = PurePosixPath(name)
    own = _words(path.stem)
    return " ".join(own if own else [*_words(path.parent.name), path.stem.lower()])


def _words(text: str) -> list[str]:
    text = re.sub(r"^[mM](?=\d{5,6}$)", "", text)  # HumanML3D's mirrored clips
    text = re.sub(r"\(\d+\)|(?<=[a-z])(?=[A-Z])", " ", text).lower()
    text = re.sub(r"(\d+)\s*[_-]?\s*(fps|hz)\b", r"\1\2", text)
    words = [word for word in re.split(r"[^a-z0-9]+", text) if word and not _FORM.fullmatch(word)]
    return [word.lstrip("0") or "0" if word.isdigit() else word for word in words]


def draw_of(take: str) -> float:
    """A number in [0, 1) that depends on the take's name alone."""
    return int(hashlib.sha256(f"take {take}".encode()).hexdigest()[:12], 16) / 2**48


def fingerprint(pose_body: np.ndarray) -> str:
    """(n,21,3) axis-angle → a short text of how far each joint turns in a clip, in quantiles over its frames.

    Only the difference of left and right enters, not their order, so that a mirrored clip has the same.
    """
    angles = np.degrees(np.linalg.norm(pose_body.astype(np.float64), axis=-1))
    spread = np.quantile(angles, _SHARES, axis=0)
    other = spread[:, list(mirror_permutation(BODY_JOINT_NAMES))]
    paired = np.stack([(spread + other) / 2, np.abs(spread - other) / 2])
    return base64.b85encode(paired.astype("<f2").tobytes()).decode()


def near_equal(fingerprints: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of clips, by their places, whose motion is nearly equal; enough of them to join all that are.

    The earlier one comes first.
    """
    if not fingerprints:
        return []
    from scipy.spatial import cKDTree

    values = np.stack([np.frombuffer(base64.b85decode(text), "<f2") for text in fingerprints]).astype(np.float32)
    cells = np.round(values / _CELL_DEG).astype(np.int32)
    _, first, inverse = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    pairs = [(int(first[cell]), number) for number, cell in enumerate(inverse) if first[cell] != number]
    prints = values[first]
    size = np.maximum(np.abs(prints).mean(1), _CELL_DEG)
    # Means over the joints are no farther apart than the joints are; their logarithms make nearness relative.
    means = prints.reshape(len(prints), 2, len(_SHARES), -1)[:, 0].mean(-1)
    tree = cKDTree(means / size[:, None])
    candidates = tree.query_pairs(4 * _NEAR * means.shape[1], p=1, output_type="ndarray")
    for start in range(0, len(candidates), _CHECKED_AT_ONCE):
        a, b = candidates[start : start + _CHECKED_AT_ONCE].T
        apart = np.abs(prints[a] - prints[b]).mean(1)
        close = apart <= _NEAR * np.minimum(size[a], size[b])
        pairs += [(int(first[i]), int(first[j])) for i, j in zip(a[close], b[close], strict=True)]
    return [(min(pair), max(pair)) for pair in pairs]


def groups_of(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """For each of ``count`` things the lowest number among those that pairs join it to, itself included."""
    lowest = list(range(count))

    def root(number: int) -> int:
        while lowest[number] != number:
            lowest[number] = lowest[lowest[number]]
            number = lowest[number]
        return number

    for a, b in pairs:
        lower, higher = sorted((root(a), root(b)))
        lowest[higher] = lower
    return [root(number) for number in range(count)]
