"""What single tokens mean: bodies with one token changed, coarse to fine."""

from __future__ import annotations

import torch
from torch import Tensor

from ..body.figures import figures, heat_colours
from ..body.metrics import quantile
from ..body.model import Body
from ..body.rotations import axis_angle_to_matrix
from ..body.skeleton import BODY_JOINT_NAMES
from ..engine.pages.page import card, cards, note, strip, strips
from ..engine.pages.pictures import data_uri
from ..evaluation.reconstruction import Tokenizes
from .poses import Reconstruction

_CANDIDATES = 64
_FIGURE = (220, 150)
_LAYERS_SHOWN = 3
_SHOWN = 24


@torch.no_grad()
def changed_bodies(made: Reconstruction, turns: Tensor, layers: int, tokenizer: Tokenizes, body: Body) -> str:
    """The pose nearest to the mean with one token changed, twice: to those two of its usual ids that lie farthest apart
    (html). ``turns`` (T,21): degrees by which tokens turn joints, of T tokens in ``layers``, coarse ones first.

    A card has the tokens of one place in all layers (the first, middle and last of more than three), coarse to fine;
    those that turn joints most come first. Colours show how far vertices move, on a scale of each layer's own.
    """
    groups = len(turns) // layers
    reference = made.ids[middle_pose(made, body)].to(body.v_template.device)
    still = body.vertices(tokenizer.decode(reference[None]))
    first = turns[:groups].sum(-1).argsort(descending=True)[:_SHOWN].tolist()
    pictures: dict[int, str] = {}
    scales = []
    for layer in _shown_layers(layers):
        tokens = [layer * groups + group for group in first]
        ids = torch.cat([farthest_changes(made, token, reference, tokenizer, body) for token in tokens])
        rotations = tokenizer.decode(ids)
        distance = (body.vertices(rotations) - still).norm(dim=-1)
        full = max(quantile(distance.amax(-1), 0.9), 1e-4)
        scales.append(f"{layer_name(layer, layers)} {1000 * full:.0f} mm".strip())
        images = figures(body, rotations, _FIGURE, heat_colours(distance, full))
        for number, token in enumerate(tokens):
            pair = images[2 * number : 2 * number + 2]
            pictures[token] = strip([(data_uri(image), "") for image in pair])
    items = []
    for group in first:
        tokens = [layer * groups + group for layer in _shown_layers(layers)]
        html = strips([(pictures[token], f"token {token}") for token in tokens])
        items.append(card(html, f"turns {strongest_joints(turns[group])}"))
    return note(f"Dark red means {', '.join(scales)} and more.") + cards(items, "two" if layers > 1 else "four")


def middle_pose(made: Reconstruction, body: Body) -> int:
    """Number of the pose whose joints lie nearest to the mean of all poses' joints (of 4,000 evenly spaced ones)."""
    step = -(-len(made.poses) // 4000)
    joints = body.joints(axis_angle_to_matrix(made.poses[::step].to(body.v_template.device)))
    return step * int((joints - joints.mean(0)).norm(dim=-1).mean(-1).argmin())


@torch.no_grad()
def farthest_changes(made: Reconstruction, token: int, reference: Tensor, tokenizer: Tokenizes, body: Body) -> Tensor:
    """``reference`` (T,) with ``token`` changed to two of its usual ids: (2,T), those whose joints lie farthest apart.

    Usual are its 64 most frequent ids in ``made``. With a single one, both rows are the same.
    """
    used_codes, count = made.ids[:, token].unique(return_counts=True)
    usual = used_codes[count.argsort(descending=True)[:_CANDIDATES]].sort().values.to(reference.device)
    ids = reference.repeat(len(usual), 1)
    ids[:, token] = usual
    points = body.joints(tokenizer.decode(ids)).flatten(1)
    pair = int(torch.cdist(points, points).argmax())
    return ids[[pair // len(usual), pair % len(usual)]]


def layer_name(layer: int, layers: int) -> str:
    """What to call a layer: coarse, middle, fine where there are three; nothing where there is one, its number
    where there are more."""
    names = {1: ("",), 2: ("coarse", "fine"), 3: ("coarse", "middle", "fine")}
    return names[layers][layer] if layers in names else f"layer {layer + 1}"


def strongest_joints(degrees: Tensor, count: int = 3) -> str:
    """The joints that angles (21,), degrees, turn most, with the angle of each."""
    order = degrees.argsort(descending=True)[:count].tolist()
    return ", ".join(f"{BODY_JOINT_NAMES[joint].replace('_', ' ')} {degrees[joint]:.0f}°" for joint in order)


def _shown_layers(layers: int) -> list[int]:
    return sorted({round(i * (layers - 1) / (_LAYERS_SHOWN - 1)) for i in range(_LAYERS_SHOWN)})
