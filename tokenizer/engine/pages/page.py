"""One self-contained page: a template, a style sheet and building blocks.

Jinja2 escapes every value. A parameter whose name says html takes markup, and every block returns markup: blocks may
be added to each other, but a plain string that is added to one is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from ..errors import UserError

TRUTH_KEY = '<span class="key truth"></span>'
RAMP_KEY = '<span class="ramp"></span>'
"""The colours of ``tokenizer.body.figures.heat_colours``, from nothing to full."""
PREDICTED_KEY = '<span class="key predicted"></span>'


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("tokenizer.engine.pages")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def _block(name: str, *values: Any) -> str:
    blocks: Any = _environment().get_template("blocks.html").module
    return Markup(getattr(blocks, name)(*values))


def page(title: str, html: Iterable[str]) -> str:
    """Return a whole document around the parts ``html``; it needs no network and no other file."""
    return _environment().get_template("page.html").render(title=title, parts=map(Markup, html))


def section(title: str, lead_html: str, html: str) -> str:
    """Return a titled part; the lead explains what is shown."""
    return _block("section", title, Markup(lead_html), Markup(html))


def missing(why: str) -> str:
    """Return a note in place of a part that could not be made."""
    return _block("missing", why)


def part(build: Callable[[], str]) -> str:
    """Return what ``build`` returns, or a note with its ``UserError``."""
    try:
        return build()
    except UserError as error:
        return missing(str(error))


def note(text: str) -> str:
    """Return a remark in small print."""
    return _block("note", text)


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return _block("paragraph", text)


def listing(text: str) -> str:
    """Return lines of text as they are, in a card."""
    return _block("listing", text)


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Return large figures (value, description)."""
    return _block("tiles", list(figures))


def cards(html: Iterable[str], columns: str = "three") -> str:
    """Return cards side by side where there is room."""
    return _block("cards", list(map(Markup, html)), columns)


def card(html: str, caption_html: str = "") -> str:
    """Return one picture or chart with its caption."""
    return _block("card", Markup(html), Markup(caption_html))


def strip(pictures: Sequence[tuple[str, str]]) -> str:
    """Return pictures (address, label) in one row."""
    return _block("row", "strip", [(_block("picture", address, label), label) for address, label in pictures])


def strips(html: Iterable[tuple[str, str]]) -> str:
    """Return strips (html, label) in one row, each set apart from the next."""
    return _block("row", "strip apart", [(Markup(content), label) for content, label in html])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], strong: Iterable[int] = ()) -> str:
    """Return a table whose cells are html; the rows numbered in ``strong`` are emphasised."""
    return _block("table", head, [[Markup(cell) for cell in row] for row in rows], set(strong))


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and plain values."""
    return _block("facts", list(rows))
