"""Poses before and after tokens: errors of a whole split, sheets of pictures of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from ..body.figures import TRUE_COLOUR, figures, heat_colours, suit_colours
from ..body.model import Body
from ..body.rotations import axis_angle_to_matrix
from ..body.skeleton import JOINT_NAMES
from ..engine.errors import fail
from ..engine.pages.page import card, cards, strip
from ..engine.pages.pictures import data_uri
from ..evaluation.locality import Watch
from ..evaluation.reconstruction import Tokenizes
from ..mocap.store import PoseStore

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_FIGURE = (300, 264)
FULL_MM = 100.0
"""Error from which on a picture is dark red."""


@dataclass
class Reconstruction:
    """A split before and after tokens, on the CPU: axis-angle ``poses`` (N,21,3), ``ids`` (N,T), ``error_mm`` (N,),
    the MPJPE over joints 1-23 of the average person, and ``num_codes``."""

    poses: Tensor
    ids: Tensor
    error_mm: Tensor
    num_codes: int

    def code_counts(self, tokens: slice = slice(None)) -> Tensor:
        """How often each code occurs in all tokens, or in some, (K,) int64."""
        return torch.bincount(self.ids[:, tokens].flatten(), minlength=self.num_codes)

    def token_perplexity(self) -> Tensor:
        """For each token exp(entropy of its ids), (T,): how many codes it really chooses from."""
        values = []
        for column in self.ids.unbind(1):
            frequencies = torch.bincount(column).double() / len(column)
            values.append(torch.exp(-torch.special.xlogy(frequencies, frequencies).sum()))
        return torch.stack(values).float()


@torch.no_grad()
def reconstruct(
    store: PoseStore,
    tokenizer: Tokenizes,
    body: Body,
    *,
    split: str = "val",
    batch: int = 2048,
    watch: Watch = iter,
) -> Reconstruction:
    """Encode and decode all poses of a split. Works on the device of ``body``, where the tokenizer must be too.

    Raise ``UserError`` for an empty split.
    """
    poses = torch.from_numpy(store.poses(split))
    if not len(poses):
        raise fail(f"{store.path} has no poses in split {split!r}")
    ids, errors = [], []
    for start in watch(range(0, len(poses), batch)):
        before = axis_angle_to_matrix(poses[start : start + batch].to(body.v_template.device))
        tokens = tokenizer.encode(before)
        distance = (body.joints(tokenizer.decode(tokens)) - body.joints(before)).norm(dim=-1)
        ids.append(tokens.cpu())
        errors.append(1000 * distance[:, 1:].mean(-1).cpu())
    return Reconstruction(poses, torch.cat(ids), torch.cat(errors), tokenizer.num_codes)


def typical_poses(made: Reconstruction, tokenizer: Tokenizes, body: Body) -> str:
    """Poses at fixed quantiles of the error, before and after tokens (html)."""
    order = made.error_mm.argsort()
    chosen = order[[round(q * (len(order) - 1)) for q in _QUANTILES]]
    return _sheet(
        made, chosen, tokenizer, body, [f"larger than in {100 * q:.0f} % of poses" for q in _QUANTILES], "three"
    )


def worst_poses(
    made: Reconstruction, tokenizer: Tokenizes, body: Body, names: Sequence[str], count: int = 20, apart_mm: float = 30
) -> str:
    """The ``count`` poses with the largest error, before and after tokens (html); ``names`` (N,) say where they are
    from. Of poses nearer to each other than ``apart_mm``, as neighbouring frames are, only the worst is shown."""
    order = made.error_mm.argsort(descending=True)
    chosen: list[int] = []
    shown = torch.zeros(0, len(JOINT_NAMES), 3)
    for part in order.split(512):
        joints = body.joints(axis_angle_to_matrix(made.poses[part].to(body.v_template.device))).cpu()
        for number, own in zip(part.tolist(), joints, strict=True):
            if len(chosen) < count and bool((1000 * (shown - own).norm(dim=-1).mean(-1) >= apart_mm).all()):
                chosen.append(number)
                shown = torch.cat([shown, own[None]])
        if len(chosen) == count:
            break
    return _sheet(made, torch.tensor(chosen), tokenizer, body, [names[number] for number in chosen], "four")


def frame_names(store: PoseStore, split: str = "val") -> list[str]:
    """For every pose of a split its clip and its frame in it, counted from 0 at the store's frame rate."""
    chosen = [source for source in store.sources if source.split == split]
    return [f"{source.name}, frame\u00a0{frame}" for source in chosen for frame in range(source.frames)]


@torch.no_grad()
def _sheet(
    made: Reconstruction, chosen: Tensor, tokenizer: Tokenizes, body: Body, captions: Sequence[str], columns: str
) -> str:
    """Cards of chosen (n,) poses: before, and after with every vertex in the colour of its error."""
    device = body.v_template.device
    before = axis_angle_to_matrix(made.poses[chosen].to(device))
    after = tokenizer.decode(made.ids[chosen].to(device))
    off = 1000 * (body.joints(after) - body.joints(before)).norm(dim=-1).cpu()
    distance_mm = 1000 * (body.vertices(after) - body.vertices(before)).norm(dim=-1)
    pictures = zip(
        figures(body, before, _FIGURE, suit_colours(body, TRUE_COLOUR)),
        figures(body, after, _FIGURE, heat_colours(distance_mm, FULL_MM)),
        strict=True,
    )
    items = []
    for number, own, (a, b), caption in zip(chosen.tolist(), off, pictures, captions, strict=True):
        far = int(own.argmax())
        text = (
            f"<b>{made.error_mm[number]:.1f} mm</b>; {JOINT_NAMES[far].replace('_', ' ')} {own[far]:.0f} mm"
            f"<br>{escape(caption)}"
        )
        items.append(card(strip([(data_uri(a), "before"), (data_uri(b), "after")]), text))
    return cards(items, columns)
