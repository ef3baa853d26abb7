"""How a tokenizer does beyond the motion it was trained on: joints that mocap does not move, composed poses, hidden
limbs, compared with a nearest neighbour. One fixed protocol, so that figures can be compared."""

from __future__ import annotations

import torch
from torch import Tensor

from ..body.model import Body
from ..frozen import FrozenTokenizer
from ..mocap.composed import compose
from .reconstruction import evaluate_tokenizer
from .repair import NearestNeighbour, SeesParts, completion_errors, limb_completion_errors, turned_errors

TURNS = {"collar": 20.0, "spine3": 8.0, "foot": 12.0}
"""Root mean square angle in degrees by which joints of a kind turn; what mocap of two skeletons never moves."""
HIDDEN = 0.4
PROTOCOL = (
    "turned: MPJPE of the same poses with random rotations added (any axis, r.m.s. collars 20°, spine3 8°, feet 12°, "
    "seed 0); composed: MPJPE of 2,000 composed poses that no store holds; hidden: mean angle of 40 % of the joints, "
    "hidden at random (seed 0), and of the joints of one limb, mean of the four; neighbour: the same by the nearest of "
    "20,000 poses of the train split, in what is visible"
)
_COMPOSED, _SEED = 2000, 9_000_001
_POSES_AT_ONCE = 512


def robustness(tokenizer: FrozenTokenizer, poses: Tensor, known: Tensor, body: Body) -> dict[str, float]:
    """Return the figures of ``PROTOCOL`` for poses (N,21,3) axis-angle, in millimetres and degrees.

    ``known`` (M,21,3): poses that the nearest neighbour knows, those of mocap in the train split.
    """
    figures = {"turned_mpjpe_mm": turned_errors(tokenizer, poses, TURNS, body)}
    composed = torch.from_numpy(compose(_COMPOSED, _SEED)).to(poses.device)
    figures["composed_mpjpe_mm"] = evaluate_tokenizer(tokenizer, composed, body)["mpjpe_mm"]
    neighbour = NearestNeighbour(known)
    models: tuple[tuple[str, SeesParts], ...] = (("", tokenizer), ("_neighbour", neighbour))
    for name, model in models:
        figures[f"hidden_joints{name}_deg"] = completion_errors(model, poses, HIDDEN, batch=_POSES_AT_ONCE)
        limbs = limb_completion_errors(model, poses, batch=_POSES_AT_ONCE)
        figures[f"hidden_limb{name}_deg"] = sum(limbs.values()) / len(limbs)
    return figures
