"""Shares by name, as users write them."""

from __future__ import annotations

import math
from collections.abc import Callable

from .errors import fail


def folded(name: str) -> str:
    """A name without what spellings differ in: case, hyphens, underscores."""
    return name.lower().replace("-", "").replace("_", "")


def parse_shares(
    text: str,
    canonical: Callable[[str], str] = str,
    *,
    named: dict[str, dict[str, float]] | None = None,
    what: str = "A mixture",
    most: float = math.inf,
) -> dict[str, float]:
    """``cmu=.12,moyo=.16`` → a finite number above 0, up to ``most``, by ``canonical`` name.

    An item without a number is one of ``named``, whose numbers it stands for; ``what`` messages call the text. Raises
    ``UserError`` for another form, and for a name given twice.
    """
    known = "".join(f", or {name}" for name in named or {})
    bounds = "above 0" if most == math.inf else f"above 0, at most {most:g}"
    expected = f"e.g. cmu=.12,moyo=.16 with numbers {bounds}{known}"
    numbers: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        if named and part in named:
            items = list(named[part].items())
        else:
            name, sign, written = (piece.strip() for piece in part.rpartition("="))
            number = _number(written)
            if not sign or not name or not 0 < number <= most or number == math.inf:
                raise fail(f"{what} is not of the form name=number,name=number", got=repr(part), expected=expected)
            items = [(name, number)]
        for name, number in items:
            if canonical(name) in numbers:
                raise fail(f"{what} names a data set twice", got=name)
            numbers[canonical(name)] = number
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
