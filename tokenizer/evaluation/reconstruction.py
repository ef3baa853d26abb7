"""What a tokenizer loses: errors of poses after tokens, and how it uses its codes. Every pose counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from ..body.metrics import mpjpe, quantile
from ..body.model import Body
from ..body.rotations import axis_angle_to_matrix, geodesic_distance, perturb_rotations

PROTOCOL = (
    "MPJPE over joints 1-23 of the body, pelvis fixed, neutral shape; MPVPE over {vertices} vertices; "
    "p95 over poses; every pose of the split counted once"
)


class Tokenizes(Protocol):
    """What both ``PoseTokenizer`` and ``FrozenTokenizer`` offer."""

    @property
    def num_codes(self) -> int: ...
    def encode(self, rotations: Tensor) -> Tensor: ...
    def decode(self, ids: Tensor) -> Tensor: ...


@torch.no_grad()
def evaluate_tokenizer(
    tokenizer: Tokenizes,
    poses: Tensor,
    body: Body,
    *,
    vertices: Tensor | None = None,
    batch: int = 2048,
    progress: Callable[[Iterator[Tensor]], Iterator[Tensor]] | None = None,
) -> dict[str, float]:
    """Encode and decode poses (N,21,3) axis-angle; lengths in millimetres, angles in degrees.

    ``vertices`` (S,) chooses those of MPVPE (default: a fixed 256); ids of the whole split give ``codes_used`` (count),
    ``codes_used_share`` and ``perplexity`` = exp(entropy of the code histogram). Raises nothing on an empty split but
    returns an empty dictionary.
    """
    subset = body.subset(256) if vertices is None else vertices
    joint_mm, vertex_mm, angle, histogram = [], [], [], torch.zeros(tokenizer.num_codes, dtype=torch.int64)
    batches = iter(poses.split(batch))
    for chunk in progress(batches) if progress else batches:
        if not len(chunk):
            return {}
        rotations = axis_angle_to_matrix(chunk)
        ids = tokenizer.encode(rotations)
        rebuilt = tokenizer.decode(ids)
        joint_mm.append(1000 * mpjpe(body.joints(rebuilt)[:, 1:24], body.joints(rotations)[:, 1:24]))
        vertex_mm.append(1000 * mpjpe(body.vertices(rebuilt, subset=subset), body.vertices(rotations, subset=subset)))
        angle.append(geodesic_distance(rebuilt, rotations).mean(-1).rad2deg())
        histogram += torch.bincount(ids.flatten().cpu(), minlength=tokenizer.num_codes)
    joints, verts = torch.cat(joint_mm), torch.cat(vertex_mm)
    used_shares = histogram[histogram > 0] / histogram.sum()
    return {
        "poses": float(len(poses)),
        "mpjpe_mm": float(joints.mean()),
        "mpjpe_p95_mm": quantile(joints, 0.95),
        "mpvpe_mm": float(verts.mean()),
        "mpvpe_p95_mm": quantile(verts, 0.95),
        "rotation_deg": float(torch.cat(angle).mean()),
        "codes_used": float(len(used_shares)),
        "codes_used_share": len(used_shares) / tokenizer.num_codes,
        "perplexity": float(torch.exp(-(used_shares * used_shares.log()).sum())),
    }


@torch.no_grad()
def token_stability(tokenizer: Tokenizes, poses: Tensor, degrees: float, *, seed: int = 0, batch: int = 2048) -> Tensor:
    """Share of ids (T,) that stay when every joint of poses (N,21,3) turns at random by ``degrees`` (r.m.s.)."""
    generator = torch.Generator().manual_seed(seed)
    unchanged, count = torch.zeros(0), 0
    for chunk in poses.split(batch):
        rotations = axis_angle_to_matrix(chunk)
        unchanged_in_batch = (
            (tokenizer.encode(rotations) == tokenizer.encode(perturb_rotations(rotations, degrees, generator)))
            .sum(0)
            .cpu()
        )
        unchanged = unchanged_in_batch if not count else unchanged + unchanged_in_batch
        count += len(chunk)
    return unchanged / max(count, 1)
