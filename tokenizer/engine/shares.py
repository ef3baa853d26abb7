"""Shares by name, as users write them."""

from __future__ import annotations

import math
from collections.abc import Callable

from .errors import fail


def folded(name: str) -> str:
    """A name without what spellings differ in: case, hyphens, underscores."""
    return name.lower().replace("-", "").replace("_", "")


def parse_shares(
    text: str, canonical: Callable[[str], str] = str, *, named: dict[str, dict[str, float]] | None = None
) -> dict[str, float]:
    """``cmu=.12,moyo=.16`` → weights by ``canonical`` name, relative, above 0.

    An item without a weight is one of ``named``, whose weights it stands for. Raises ``UserError`` for another form,
    and for a name given twice.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        for name, weight in (named or {}).get(part, {}).items() or [_item(part, named or {})]:
            if canonical(name) in weights:
                raise fail("A mixture names a data set twice", got=name)
            weights[canonical(name)] = weight
    return weights


def _item(part: str, named: dict[str, dict[str, float]]) -> tuple[str, float]:
    name, sign, number = (piece.strip() for piece in part.rpartition("="))
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not sign or not name or not 0 < weight < math.inf:
        known = "".join(f", or {other}" for other in named)
        raise fail("A mixture is not of the form name=weight,name=weight", got=repr(part),
                   expected=f"e.g. cmu=.12,moyo=.16 with weights above 0{known}")  # fmt: skip
    return name, weight
