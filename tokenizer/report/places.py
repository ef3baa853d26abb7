"""How steady and how local tokens are, as heat maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..body.rotations import axis_angle_to_matrix
from ..body.skeleton import BODY_JOINT_NAMES
from ..engine.pages.charts import heat_map
from ..evaluation.locality import Watch, effective_number, joints_to_tokens, tokens_to_joints
from ..evaluation.reconstruction import Tokenizes, token_stability
from .meaning import layer_name
from .poses import Reconstruction

DEGREES = (1.0, 3.0, 5.0)
ROTATION_DEG = 10.0
_STABILITY_POSES = 2000
_DECODINGS = 8192
_PER_ROW = 16


@dataclass
class Places:
    """What was measured of T tokens in ``layers``, coarse ones first: ``rotations`` (T,21), degrees by which a token
    rotates each joint; ``changes`` (21,T), share of ids that change when a joint rotates by ``ROTATION_DEG``;
    ``stable`` (3,T), share of ids that stay under noise of ``DEGREES`` on every joint."""

    layers: int
    rotations: Tensor
    changes: Tensor
    stable: Tensor

    def largest_rotations(self) -> Tensor:
        """(layers,): the largest of ``rotations`` in each layer, degrees."""
        return self.rotations.unflatten(0, (self.layers, -1)).amax((1, 2))

    def stable_by_layer(self) -> Tensor:
        """(3, layers): the mean of ``stable`` over the tokens of each layer."""
        return self.stable.unflatten(1, (self.layers, -1)).mean(-1)


@torch.no_grad()
def measure_places(
    made: Reconstruction, tokenizer: Tokenizes, layers: int, device: torch.device, *, watch: Watch = iter
) -> Places:
    """Measure on evenly spaced poses of ``made``: 2,000 for stability, else as many as 8,000 decodings allow."""
    spaced = made.poses[:: -(-len(made.poses) // _STABILITY_POSES)].to(device)
    count = max(16, _DECODINGS // made.ids.shape[1])
    few = axis_angle_to_matrix(spaced[:: -(-len(spaced) // count)])
    rotations = tokens_to_joints(tokenizer, few, watch=watch)
    changes = joints_to_tokens(tokenizer, few, ROTATION_DEG, watch=watch)
    stable = torch.stack([token_stability(tokenizer, spaced, degrees) for degrees in DEGREES])
    return Places(layers, rotations, changes, stable)


def token_map(values: Tensor, layers: int, *, unit: str, full: float = 0.0) -> str:
    """A number a token (T,): a row a layer; where all are in one layer, 16 to a row (html)."""
    width = len(values) // layers if layers > 1 else _PER_ROW
    rows = [part.tolist() for part in values.split(width)]
    starts = [number * width for number in range(len(rows))]
    names = [
        f"{layer_name(number, layers)} ({start}–{start + len(row) - 1})" if layers > 1 else f"from {start}"
        for number, (start, row) in enumerate(zip(starts, rows, strict=True))
    ]
    return heat_map(rows, names, [str(number) for number in range(len(rows[0]))], unit=unit, full=full)


def rotations_map(places: Places) -> str:
    """Degrees by which tokens rotate joints: a row a joint, a column a token, shades of each layer's own (html)."""
    full = places.largest_rotations().repeat_interleave(len(places.rotations) // places.layers)
    return heat_map(places.rotations.T.tolist(), _joints(), _tokens(places), unit="°", full=full.tolist())


def changes_map(places: Places) -> str:
    """Share of ids that change with a joint, in percent: a row a joint, a column a token (html)."""
    return heat_map((100 * places.changes).tolist(), _joints(), _tokens(places), unit="% of ids changed")


def spread(places: Places) -> tuple[float, float]:
    """Over how many joints a token's effect spreads, and over how many tokens that of a joint: means of
    ``locality.effective_number``."""
    return float(effective_number(places.rotations).mean()), float(effective_number(places.changes).mean())


def _joints() -> list[str]:
    return [name.replace("_", " ") for name in BODY_JOINT_NAMES]


def _tokens(places: Places) -> list[str]:
    return [str(token) for token in range(len(places.rotations))]
