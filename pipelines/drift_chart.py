"""The picture of the drift experiment: a standalone SVG, light or dark as its reader prefers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tokenizer.engine.pages.charts import Area, Frame, plain_ticks

from .descent import Curve

_AREA = Area(width=800, height=430, left=60, right=240, top=44, bottom=52)
_DASHES = {"plain": "", "TALS, weight 0.05": "7 4", "TALS, weight 0": "2 3"}
_STYLE = """svg { background: #fbfaf8; color: #1d2328; font: 13px system-ui, sans-serif; } text { fill: currentColor; }
.grid { stroke: #e2e0dc; } .free { stroke: #d2691e; fill: #d2691e; } .tokens { stroke: #1f8289; fill: #1f8289; }
polyline { fill: none !important; stroke-width: 2.2; }
@media (prefers-color-scheme: dark) { svg { background: #14181b; color: #e6e9eb; } .grid { stroke: #303940; }
.free { stroke: #f09a52; fill: #f09a52; } .tokens { stroke: #4fb6bd; fill: #4fb6bd; } }"""


def drift_chart(curves: Sequence[Curve]) -> str:
    """MPJPE (up) against 2D error (across, falling to the left): open dots at the start, full ones at the end."""
    right = 1.05 * max(max(curve.error_2d_px) for curve in curves)
    top = 1.02 * max(max(*curve.mpjpe_mm, 1e-3) for curve in curves)
    frame = Frame(0.0, right, 0.0, top, _AREA)
    x_label, y_label = "2D error (pixels of a 256 px crop)", "3D error, MPJPE (mm)"
    title = "Exact bodies leave the truth when 2D alone is fitted"
    parts = [
        f'<text x="{_AREA.left}" y="24" font-weight="600">{title}</text>',
        frame.grid(plain_ticks(0.0, right), plain_ticks(0.0, frame.y1), x_label, y_label),
    ]
    edge = _AREA.width - _AREA.right
    for number, curve in enumerate(curves):
        kind = "free" if curve.pose == "free 6D" else "tokens"
        points = [(frame.x(a), frame.y(b)) for a, b in zip(curve.error_2d_px, curve.mpjpe_mm, strict=True)]
        dash = f' stroke-dasharray="{_DASHES[curve.loss]}"' if _DASHES.get(curve.loss) else ""
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline class="{kind}" points="{path}"{dash}/>')
        (ax, ay), (bx, by) = points[0], points[-1]
        parts.append(f'<circle class="{kind}" cx="{ax:.1f}" cy="{ay:.1f}" r="5" style="fill:none" stroke-width="2"/>')
        parts.append(f'<circle class="{kind}" cx="{bx:.1f}" cy="{by:.1f}" r="4"/>')
        key_x, key_y = edge + 16, _AREA.top + 20 + 24 * number
        parts.append(f'<polyline class="{kind}" points="{key_x},{key_y} {key_x + 30},{key_y}"{dash}/>')
        parts.append(f'<text x="{key_x + 38}" y="{key_y + 4}">{escape(f"{curve.pose}, {curve.loss}")}</text>')
    note_y = _AREA.top + 20 + 24 * len(curves)
    parts.append(f'<text x="{edge + 16}" y="{note_y + 4}">○ start   ● end</text>')
    size = f'viewBox="0 0 {_AREA.width} {_AREA.height}" width="{_AREA.width}" height="{_AREA.height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
        f'role="img"><title>3D error against 2D error</title><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )
