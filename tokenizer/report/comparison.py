"""The table of a benchmark next to the run: tokenizers compared on the same poses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from ..engine.errors import fail
from ..engine.pages.charts import scatter_chart
from ..engine.pages.page import card, cards, note, table

_PATTERN = "bench*tokenizer*.json"


def find_benchmark(run: Path) -> Path:
    """The newest ``bench*tokenizer*.json`` in the run folder, else around it. Raise ``UserError`` for none."""
    for folder in (run, run.resolve().parent):
        files = sorted(folder.glob(_PATTERN), key=lambda path: path.stat().st_mtime)
        if files:
            return files[-1]
    raise fail(
        f"There is no {_PATTERN} in {run} or its parent folder", next_step="Make one with `make bench-tokenizer`"
    )


def comparison(file: Path) -> str:
    """Table and plot (html) of a benchmark: a JSON object whose ``rows`` are objects with the same plain values each.

    Its other plain values are listed below the table. Rows with ``bits`` and ``mpjpe_mm`` are plotted, too. The first
    text of a row names it. Raise ``UserError`` for a file that is something else.
    """
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise fail(f"Cannot read benchmark {file}", got=error, expected="JSON") from None
    rows = about.get("rows") if isinstance(about, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and row for row in rows):
        raise fail(f"{file} is no benchmark", expected="a JSON object with a list of rows")
    head = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[escape(_text(row.get(name))) for name in head] for row in rows]
    points = [
        (_name(row), float(row["bits"]), float(row["mpjpe_mm"]))
        for row in rows
        if all(isinstance(row.get(key), int | float) for key in ("bits", "mpjpe_mm"))
    ]
    plot = scatter_chart(points, x_label="bits a pose", y_label="MPJPE (mm)")
    settings = [f"{name}: {_text(value)}" for name, value in about.items() if isinstance(value, str | int | float)]
    chart = cards([card(plot, "Lower left is better.")], "two") if plot else ""
    return chart + table([name.replace("_", " ") for name in head], cells) + note("; ".join([file.name, *settings]))


def _name(row: Mapping[str, Any]) -> str:
    return next((value for value in row.values() if isinstance(value, str)), "")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
