"""Which photographs are held out of training: whole sequences, decided by a hash of their names.

A name falls on one side whatever stands beside it: at every run, with any number of workers, in any order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from tokenizer.engine.errors import fail

from .photo import ListedPart, Part, Photo

_BITS = 53
"""Of a hash: as many as a float64 holds exactly."""


def place(photo: Photo) -> float:
    """Where a photograph falls between 0 and 1: by its sequence, else by its name."""
    name = f"sequence {photo.sequence}" if photo.sequence else f"photo {photo.name}"
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> (64 - _BITS)) / 2**_BITS


def held_out_below(parts: Sequence[Part], share: float) -> tuple[float, str]:
    """The place below which photographs of the split ``train`` are held out as ``val``, and what is to be said of it.

    That is ``share``, but where the parts are listed already neither side is left empty: the lowest place is held out
    at least, and the highest trained on. What is a single sequence (or photograph) stays whole. Raises ``UserError``
    for a share that is none, or without a split ``train``.
    """
    if not 0 <= share < 1:
        raise fail("That is no share to hold out", got=f"{share:g}", expected="0 or more, and less than 1")
    if not share:
        return 0.0, ""
    training = [part for part in parts if part.split == "train"]
    if not training:
        raise fail("There is no split 'train' to hold out of", got=", ".join(sorted({part.split for part in parts})),
                   next_step="Give --split train")  # fmt: skip
    said = f"{share:.3g} of the sequences, or of the photographs without one, by a hash of their names"
    if not all(isinstance(part, ListedPart) for part in training):
        return share, said
    photos = [item for part in training if isinstance(part, ListedPart) for item in part.items]
    places = {place(photo) for photo in photos if isinstance(photo, Photo) and photo.people}
    if len(places) < 2:
        what = "one sequence" if any(isinstance(item, Photo) and item.sequence for item in photos) else "one photograph"
        return 0.0, f"nothing: all of it is {what}, which stays in train"
    lowest, highest = min(places), max(places)
    return min(max(share, math.nextafter(lowest, 1)), highest), said
