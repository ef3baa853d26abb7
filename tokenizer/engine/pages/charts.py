"""Small charts as inline SVG. Colours come from the page's style sheet, so that they follow its light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDE = 1000


@dataclass(frozen=True)
class Area:
    """The size of a picture and the margins around its plot, in units of the SVG."""

    width: float = 460
    height: float = 230
    left: float = 52
    right: float = 12
    top: float = 14
    bottom: float = 38


SMALL = Area()


def line_chart(
    x: Sequence[float], y: Sequence[float], *, x_label: str, y_label: str, log_y: bool = False, series: str = "truth"
) -> str:
    """One curve through the points x, y, with the last value written at its end; ``series`` is its CSS class.

    Points that are not finite, and for ``log_y`` not positive, are left out. No points: an empty string.
    """
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a + b) and (b > 0 or not log_y)]
    if not points:
        return ""
    values = [math.log10(b) if log_y else b for _, b in points]
    low, high = (min(values), max(values)) if log_y else (0.0, max(values))
    frame = Frame(0.0, max(a for a, _ in points) or 1.0, low, high if high > low else low + 1.0)
    path = " ".join(f"{frame.x(a):.1f},{frame.y(value):.1f}" for (a, _), value in zip(points, values, strict=True))
    ticks = _log_ticks(low, frame.y1) if log_y else plain_ticks(low, frame.y1)
    end_x, end_y, end = frame.x(points[-1][0]), frame.y(values[-1]), short(points[-1][1])
    return _svg(
        f"{y_label} against {x_label}",
        frame.grid(plain_ticks(0.0, frame.x1), ticks, x_label, y_label)
        + f'<polyline class="line {series}" points="{path}"/>'
        + f'<circle class="dot {series}" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3.5"/>'
        + f'<text class="value end" x="{end_x - 6:.1f}" y="{end_y - 9:.1f}" text-anchor="end">{end}</text>',
    )


def rank_chart(shares: Sequence[float], *, x_label: str, y_label: str) -> str:
    """Values sorted from largest to smallest as a filled profile, with a dashed line at 1."""
    ranked = sorted(shares, reverse=True)
    if not ranked:
        return ""
    frame = Frame(0.0, float(len(ranked)), 0.0, max(1.25, ranked[min(len(ranked) - 1, len(ranked) // 200)]))
    step = max(1, len(ranked) // 400)
    corners = [(i, min(ranked[i], frame.y1)) for i in range(0, len(ranked), step)] + [(len(ranked), ranked[-1])]
    path = " ".join(f"{frame.x(i):.1f},{frame.y(value):.1f}" for i, value in corners)
    left, right, base = frame.x(0), frame.x(frame.x1), frame.y(0.0)
    across = f'x1="{SMALL.left}" x2="{SMALL.width - SMALL.right}"'
    return _svg(
        f"{y_label} by {x_label}",
        frame.grid(plain_ticks(0.0, frame.x1), plain_ticks(0.0, frame.y1), x_label, y_label)
        + f'<polygon class="area truth" points="{left:.1f},{base:.1f} {path} {right:.1f},{base:.1f}"/>'
        + f'<polyline class="line truth" points="{path}"/>'
        + f'<line class="reference" {across} y1="{frame.y(1):.1f}" y2="{frame.y(1):.1f}"/>',
    )


def scatter_chart(points: Sequence[tuple[str, float, float]], *, x_label: str, y_label: str) -> str:
    """Named points (name, x, y) on logarithmic axes; those that are not finite and positive are left out."""
    drawable = [(name, math.log10(x), math.log10(y)) for name, x, y in points if 0 < x < math.inf and 0 < y < math.inf]
    if not drawable:
        return ""
    xs, ys = [x for _, x, _ in drawable], [y for _, _, y in drawable]
    frame = Frame(min(xs) - 0.05, max(xs) + 0.25, min(ys) - 0.05, max(ys) + 0.05)
    across, up = _log_ticks(frame.x0, frame.x1), _log_ticks(frame.y0, frame.y1)
    marks = "".join(
        f'<circle class="dot truth" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4"/>'
        f'<text class="value" x="{frame.x(x) + 7:.1f}" y="{frame.y(y) + 4:.1f}">{escape(name)}</text>'
        for name, x, y in drawable
    )
    return _svg(f"{y_label} against {x_label}", frame.grid(across, up, x_label, y_label) + marks)


def heat_map(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    unit: str,
    full: float | Sequence[float] = 0.0,
) -> str:
    """A table of numbers as shades, from nothing at 0 to the darkest at ``full`` (0: the largest of them), which may be
    given for each column.

    Hovering over a cell shows its row, column and value in ``unit``. If there are few cells, values are written inside.
    No numbers: an empty string.
    """
    if not values or not values[0]:
        return ""
    scale = full if isinstance(full, Sequence) else [full or max(max(row) for row in values)] * len(columns)
    left = 14 + 6.2 * max(len(name) for name in rows)
    height, width = 16 if len(rows) > 6 else 30, (_WIDE - left) / len(columns)
    step, filled = math.ceil(22 / width), width - min(1, width / 10)
    parts = [
        f'<text x="{left - 6:.0f}" y="{height * (i + 0.5) + 4:.0f}" text-anchor="end">{escape(name)}</text>'
        for i, name in enumerate(rows)
    ]
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            share = min(max(value / (scale[j] or 1.0), 0.0), 1.0)
            x, tooltip = left + j * width, f"{rows[i]}, {columns[j]}: {short(value)} {unit}"
            parts.append(
                f'<rect class="cell" x="{x:.1f}" y="{i * height}" width="{filled:.1f}" height="{height - 1}" '
                f'fill-opacity="{share:.2f}"><title>{escape(tooltip)}</title></rect>'
            )
            if width > 38 and height > 20:
                parts.append(
                    f'<text class="{"on" if share > 0.6 else "value"}" x="{x + width / 2:.1f}" '
                    f'y="{(i + 0.5) * height + 4:.0f}" text-anchor="middle">{short(value)}</text>'
                )
    below = len(rows) * height + 14
    parts += [
        f'<text x="{left + (j + 0.5) * width:.1f}" y="{below}" text-anchor="middle">{escape(name)}</text>'
        for j, name in enumerate(columns)
        if j % step == 0
    ]
    return _svg(f"{', '.join(rows[:3])} … by {', '.join(columns[:3])} …", "".join(parts), (_WIDE, below + 5))


def short(value: float) -> str:
    """Three digits, without an exponent for large numbers: 1,413; 16.1; 0.00606."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Frame:
    """Maps data, x0 to x1 and y0 to a little above y1, to a picture, and draws its axes."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float, area: Area = SMALL) -> None:
        self.x0, self.x1, self.y0, self.y1, self.area = x0, x1, y0, y1 + 0.06 * (y1 - y0), area

    def x(self, value: float) -> float:
        """Return where a value lies across."""
        area = self.area
        return area.left + (value - self.x0) / (self.x1 - self.x0) * (area.width - area.left - area.right)

    def y(self, value: float) -> float:
        """Return where a value lies down the picture."""
        area = self.area
        return (
            area.height - area.bottom - (value - self.y0) / (self.y1 - self.y0) * (area.height - area.top - area.bottom)
        )

    def grid(self, xs: Sequence[tuple[float, str]], ys: Sequence[tuple[float, str]], x_label: str, y_label: str) -> str:
        """Return lines at ``ys``, texts at ``xs`` and ``ys``, and the names of both axes."""
        area, parts = self.area, []
        for position, text in ys:
            y = self.y(position)
            across = f'x1="{area.left}" x2="{area.width - area.right}"'
            parts.append(f'<line class="grid" {across} y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{area.left - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        parts += [
            f'<text x="{self.x(value):.1f}" y="{area.height - area.bottom + 17}" text-anchor="middle">{text}</text>'
            for value, text in xs
        ]
        middle, aside = (area.left + area.width - area.right) / 2, (area.top + area.height - area.bottom) / 2
        parts.append(f'<text x="{middle}" y="{area.height - 4}" text-anchor="middle">{escape(x_label)}</text>')
        rotated = f'transform="translate({area.left - 40} {aside:.0f}) rotate(-90)"'
        parts.append(f'<text {rotated} text-anchor="middle">{escape(y_label)}</text>')
        return "".join(parts)


def plain_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return round values from ``low`` to ``high`` with their texts."""
    return [(value, f"{value:g}") for value in nice_ticks(low, high)]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    values = [m * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    if high - low < 0.7:
        values = nice_ticks(10**low, 10**high)
    inside = [v for v in values if v > 0 and low - 1e-9 <= math.log10(v) <= high + 1e-9]
    return [(math.log10(v), f"{v:g}") for v in inside]


def _svg(title: str, body: str, size: tuple[float, float] = (SMALL.width, SMALL.height)) -> str:
    return (
        f'<svg viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )
