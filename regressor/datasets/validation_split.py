"""Which photographs are held out of training: whole sequences, decided by a hash of their names.

The same at every run, with any number of workers, in any order; of many, a name falls on its side whatever stands
beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tokenizer.engine.errors import fail

from .annotation import ListedPart, Part, Photo

_BITS = 53
"""Of a hash: as many as a float64 holds exactly."""
_FEW = 200
"""Sequences or photographs, below which chance alone would hold out far too many, or none."""


def place(photo: Photo) -> float:
    """Where a photograph falls between 0 and 1: by its sequence, else by its name."""
    name = f"sequence {photo.sequence}" if photo.sequence else f"photo {photo.name}"
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> (64 - _BITS)) / 2**_BITS


def held_out_below(parts: Sequence[Part], share: float) -> tuple[float, str]:
    """The place below which photographs of the split ``train`` are held out as ``val``, and what is to be said of it.

    That is ``share``; of few, where the parts are listed already, it is the place that holds out that share of them to
    the nearest one, and leaves neither side empty. What is a single sequence (or photograph) stays in train. Raises
    ``UserError`` for a share that is none, or without a split ``train``.
    """
    if not 0 <= share < 1:
        raise fail("That is no share to hold out", got=f"{share:g}", expected="0 or more, and less than 1")
    if not share:
        return 0.0, ""
    training = [part for part in parts if part.split == "train"]
    if not training:
        raise fail(
            "There is no split 'train' to hold out of",
            got=", ".join(sorted({part.split for part in parts})),
            next_step="Give --split train",
        )
    said = f"{share:.3g} of the sequences, or of the photographs without one, by a hash of their names"
    if not all(isinstance(part, ListedPart) for part in training):
        return share, said
    photos = [item for part in training if isinstance(part, ListedPart) for item in part.items]
    places = sorted({place(photo) for photo in photos if isinstance(photo, Photo) and photo.people})
    if len(places) < 2:
        what = "one sequence" if any(isinstance(item, Photo) and item.sequence for item in photos) else "one photograph"
        return 0.0, f"nothing: all of it is {what}, which stays in train"
    if len(places) >= _FEW:
        return share, said
    return places[min(max(round(share * len(places)), 1), len(places) - 1)], said
