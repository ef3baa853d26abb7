"""One self-contained page: style sheet and building blocks. Everything put in is escaped unless it says html."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

from ..errors import UserError

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #ffffff; --ink: #1d2328; --soft: #5d6870; --rule: #e2e0dc;
  --truth: #1f8289; --predicted: #d2691e; --shade: #f1efeb; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181b; --card: #1c2226; --ink: #e6e9eb; --soft: #9aa7b0;
  --rule: #303940; --truth: #4fb6bd; --predicted: #f09a52; --shade: #232a2f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 0 0 .3rem; }
p { margin: 0 0 .9rem; max-width: 46rem; }
.lead, .note { color: var(--soft); } .note { font-size: .88rem; }
.cards + .note, .scroll + .note, .cards + .scroll { margin-top: .7rem; }
section { margin-top: 2.75rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: .75rem; margin: 1.5rem 0 0; }
.tile, .card, .missing { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.tile { padding: .8rem 1rem; } .tile b { display: block; font-size: 1.55rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.cards { display: grid; gap: .75rem; } .cards + .cards { margin-top: .75rem; }
.cards.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.cards.four { grid-template-columns: repeat(auto-fill, minmax(min(100%, 220px), 1fr)); }
.cards.one { grid-template-columns: 1fr; }
.cards.three { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.card { padding: .8rem; margin: 0; } .card figcaption { font-size: .88rem; color: var(--soft); margin-top: .4rem; }
.card figcaption b { color: var(--ink); }
.strip { display: flex; gap: 4px; } .strip > div { flex: 1 1 0; min-width: 0; }
.strip.apart { gap: 14px; } .strip img { width: 100%; display: block; border-radius: 6px; }
.strip small { display: block; text-align: center; color: var(--soft); font-size: .75rem; }
.missing { padding: .9rem 1rem; color: var(--soft); border-style: dashed; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .9rem; text-align: right; border-top: 1px solid var(--rule); white-space: nowrap; }
thead th { border-top: 0; color: var(--soft); font-weight: 600; font-size: .85rem; }
th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
tr.strong td { font-weight: 650; background: var(--shade); } td small { color: var(--soft); font-weight: 400; }
code, pre { font: .83rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: .3rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 3px; margin: 0 .3em 0 .1em; }
.ramp { display: inline-block; width: 6em; height: .75em; border-radius: 3px; margin: 0 .4em;
  background: linear-gradient(90deg, rgb(209 209 204), rgb(232 128 51), rgb(143 13 31)); }
.key.truth { background: rgb(41 143 153); } .key.predicted { background: rgb(232 128 51); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg text.value { fill: var(--ink); font-weight: 650; } .grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .line.truth { stroke: var(--truth); }
.line.predicted { stroke: var(--predicted); } .dot.predicted { fill: var(--predicted); }
.dot.truth { fill: var(--truth); }
.cell { fill: var(--predicted); stroke: var(--rule); stroke-width: .5; } svg text.on { fill: #fff; font-weight: 650; }
.area.truth { fill: var(--truth); opacity: .18; } .reference { stroke: var(--soft); stroke-dasharray: 4 4; }
.wide img { width: 100%; border-radius: 6px; display: block; }
ol.steps { list-style: none; padding: 0; margin: 0; display: grid; gap: .6rem; }
ol.steps li { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .7rem 1rem; }
ol.steps span { float: right; color: var(--soft); font-size: .85rem; }
@media print { section { break-inside: avoid; } }
"""

TRUTH_KEY = '<span class="key truth"></span>'
RAMP_KEY = '<span class="ramp"></span>'
"""The colours of ``tokenizer.body.figures.heat_colours``, from nothing to full."""
PREDICTED_KEY = '<span class="key predicted"></span>'


def page(title: str, html: Iterable[str]) -> str:
    """A whole document around the parts ``html``; needs no network and no other file."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(html)
        + "\n</main></body></html>\n"
    )


def section(title: str, lead_html: str, html: str) -> str:
    """A titled part; the lead says what one sees."""
    return f'<section><h2>{escape(title)}</h2><p class="lead">{lead_html}</p>{html}</section>'


def missing(why: str) -> str:
    """What stands where a part could not be made."""
    return f'<div class="missing">{escape(why)}</div>'


def part(build: Callable[[], str]) -> str:
    """What ``build`` gives, or in its place the reason why not (its ``UserError``)."""
    try:
        return build()
    except UserError as error:
        return missing(str(error))


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Large figures, each with what it is."""
    html = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in figures)
    return f'<div class="tiles">{"".join(html)}</div>'


def cards(html: Iterable[str], columns: str = "three") -> str:
    """Cards side by side where there is room."""
    return f'<div class="cards {columns}">{"".join(html)}</div>'


def card(html: str, caption_html: str = "") -> str:
    """One picture or chart with its caption."""
    caption = f"<figcaption>{caption_html}</figcaption>" if caption_html else ""
    return f'<figure class="card">{html}{caption}</figure>'


def strip(pictures: Sequence[tuple[str, str]]) -> str:
    """Pictures (address, label) in one row."""
    return _row("strip", ((f'<img alt="{escape(label)}" src="{address}">', label) for address, label in pictures))


def strips(html: Iterable[tuple[str, str]]) -> str:
    """Strips (html, label) in one row, each set apart from the next."""
    return _row("strip apart", html)


def _row(kind: str, html: Iterable[tuple[str, str]]) -> str:
    inner = (f"<div>{one}{f'<small>{escape(label)}</small>' if label else ''}</div>" for one, label in html)
    return f'<div class="{kind}">{"".join(inner)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], strong: Iterable[int] = ()) -> str:
    """Cells are html; the rows numbered in ``strong`` stand out."""
    standing_out = set(strong)
    body = "".join(
        f"<tr{' class=strong' if number in standing_out else ''}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for number, row in enumerate(rows)
    )
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and plain values."""
    body = "".join(f'<tr><td>{escape(name)}</td><td class="text">{escape(value)}</td></tr>' for name, value in rows)
    return f'<div class="scroll"><table><tbody>{body}</tbody></table></div>'
