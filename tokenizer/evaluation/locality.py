"""Which joints a token moves, and which tokens a joint moves: how far a vocabulary's words have places of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..body.rotations import geodesic_distance, perturb_rotations
from ..body.skeleton import NUM_BODY_JOINTS
from .reconstruction import Tokenizes

Watch = Callable[[Iterable[int]], Iterable[int]]
"""Passes numbers on, as tqdm does, to show how far the work is."""


@torch.no_grad()
def tokens_to_joints(
    tokenizer: Tokenizes, rotations: Tensor, *, seed: int = 0, batch: int = 2048, watch: Watch = iter
) -> Tensor:
    """How far each token turns each joint: (T,21), degrees.

    In every pose (N,21,3,3) one token at a time takes the id it has in another of the poses; the mean angle between the
    joints' rotations decoded before and after, over the poses where the id is then another (0 where it never is).
    """
    ids = torch.cat([tokenizer.encode(part) for part in rotations.split(batch)])
    decoded = torch.cat([tokenizer.decode(part) for part in ids.split(batch)])
    donor = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).to(ids.device)
    effects = []
    for token in watch(range(ids.shape[1])):
        differs = (ids[:, token] != ids[donor, token]).nonzero()[:, 0]
        changed = ids[differs]
        changed[:, token] = ids[donor[differs], token]
        total = rotations.new_zeros(NUM_BODY_JOINTS)
        for rows, part in zip(differs.split(batch), changed.split(batch), strict=True):
            total = total + geodesic_distance(tokenizer.decode(part), decoded[rows]).sum(0)
        effects.append(torch.rad2deg(total / max(len(differs), 1)))
    return torch.stack(effects).cpu()


@torch.no_grad()
def joints_to_tokens(
    tokenizer: Tokenizes,
    rotations: Tensor,
    degrees: float = 10.0,
    *,
    seed: int = 0,
    batch: int = 2048,
    watch: Watch = iter,
) -> Tensor:
    """Share of poses (N,21,3,3) in which each token changes its id when one joint alone turns at random: (21,T).

    ``degrees``: the r.m.s. angle of the turn, about a random axis, as in ``perturb_rotations``.
    """
    ids = torch.cat([tokenizer.encode(part) for part in rotations.split(batch)])
    turned = perturb_rotations(rotations, degrees, torch.Generator().manual_seed(seed))
    shares = []
    for joint in watch(range(NUM_BODY_JOINTS)):
        perturbed = rotations.clone()
        perturbed[:, joint] = turned[:, joint]
        after = torch.cat([tokenizer.encode(part) for part in perturbed.split(batch)])
        shares.append((after != ids).float().mean(0))
    return torch.stack(shares).cpu()


def effective_number(effects: Tensor) -> Tensor:
    """Non-negative effects (...,J) → over how many of the J they spread, (...): exp of the entropy of their shares.

    1 where all lies in one, J where all are equal, 0 where there is none at all.
    """
    total = effects.sum(-1)
    shares = effects / total.clamp_min(1e-12)[..., None]
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum(-1)
    return torch.where(total > 0, entropy.exp(), 0.0)
