"""The picture of the drift experiment: a standalone SVG, light or dark as its reader prefers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tokenizer.engine.pages.charts import nice_ticks

from .descent import Curve

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 800, 430, 60, 240, 44, 52
_DASHES = {"plain": "", "TALS, weight 0.05": "7 4", "TALS, weight 0": "2 3"}
_STYLE = """svg { background: #fbfaf8; color: #1d2328; font: 13px system-ui, sans-serif; } text { fill: currentColor; }
.grid { stroke: #e2e0dc; } .free { stroke: #d2691e; fill: #d2691e; } .tokens { stroke: #1f8289; fill: #1f8289; }
polyline { fill: none !important; stroke-width: 2.2; }
@media (prefers-color-scheme: dark) { svg { background: #14181b; color: #e6e9eb; } .grid { stroke: #303940; }
.free { stroke: #f09a52; fill: #f09a52; } .tokens { stroke: #4fb6bd; fill: #4fb6bd; } }"""


def drift_chart(curves: Sequence[Curve]) -> str:
    """MPJPE (up) against 2D error (across, falling to the left): open dots at the start, full ones at the end."""
    right = 1.05 * max(max(curve.error_2d_px) for curve in curves)
    top = 1.08 * max(max(*curve.mpjpe_mm, 1e-3) for curve in curves)

    def x(value: float) -> float:
        return _LEFT + value / right * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="{_LEFT}" y="24" font-weight="600">Exact bodies leave the truth when 2D alone is fitted</text>']
    for value in nice_ticks(0.0, top):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in nice_ticks(0.0, right):
        parts.append(f'<text x="{x(value):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">2D error (pixels of a 256 px crop)</text>'
    )
    aside = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text transform="translate(18 {aside}) rotate(-90)" text-anchor="middle">3D error, MPJPE (mm)</text>'
    )
    for number, curve in enumerate(curves):
        kind = "free" if curve.pose == "free 6D" else "tokens"
        points = [(x(a), y(b)) for a, b in zip(curve.error_2d_px, curve.mpjpe_mm, strict=True)]
        dash = f' stroke-dasharray="{_DASHES[curve.loss]}"' if _DASHES.get(curve.loss) else ""
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline class="{kind}" points="{path}"{dash}/>')
        (ax, ay), (bx, by) = points[0], points[-1]
        parts.append(f'<circle class="{kind}" cx="{ax:.1f}" cy="{ay:.1f}" r="5" style="fill:none" stroke-width="2"/>')
        parts.append(f'<circle class="{kind}" cx="{bx:.1f}" cy="{by:.1f}" r="4"/>')
        key_x, key_y = _WIDTH - _RIGHT + 16, _TOP + 20 + 24 * number
        parts.append(f'<polyline class="{kind}" points="{key_x},{key_y} {key_x + 30},{key_y}"{dash}/>')
        parts.append(f'<text x="{key_x + 38}" y="{key_y + 4}">{escape(f"{curve.pose}, {curve.loss}")}</text>')
    note_y = _TOP + 20 + 24 * len(curves)
    parts.append(f'<text x="{_WIDTH - _RIGHT + 16}" y="{note_y + 4}">○ start   ● end</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img"><title>3D error against 2D error</title><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )
