"""Two result files on the same samples: is the one really better?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.files.contents import check_version
from tokenizer.engine.files.text_files import read_json

from .evaluate_2d import FORMAT as FORMAT_2D
from .results import FORMAT, FORMAT_VERSION, METRICS
from .statistics import Paired, clusters, paired_test

_SAME = ("protocol_name", "crops", "split", "samples", "sequences", "bodies")


@dataclass(frozen=True)
class Comparison:
    """By metric: means of A and B in mm, and the paired test of B − A, for which ``drawn`` were drawn."""

    name_a: str
    name_b: str
    protocol: str
    samples: int
    drawn: str
    means: dict[str, tuple[float, float]]
    tests: dict[str, Paired]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        figures = {name: {"a_mm": a, "b_mm": b, **vars(self.tests[name])} for name, (a, b) in self.means.items()}
        return {
            "a": self.name_a,
            "b": self.name_b,
            "protocol_name": self.protocol,
            "samples": self.samples,
            "drawn": self.drawn,
            "metrics": figures,
        }

    def to_markdown(self) -> str:
        """One line a metric, and what was done."""
        lines = [
            f"A: {self.name_a}",
            f"B: {self.name_b}",
            "",
            "| metric (mm) | A | B | B − A | 95 % | p |",
            "|---|---|---|---|---|---|",
        ]
        for name, (a, b) in self.means.items():
            test = self.tests[name]
            lines.append(
                f"| {name.removesuffix('_mm')} | {a:.2f} | {b:.2f} | {test.difference:+.2f} | "
                f"[{test.low:+.2f}, {test.high:+.2f}] | {test.p_value:.2g} |"
            )
        lines += [
            "",
            f"Protocol `{self.protocol}`, {self.samples:,} samples, paired: bootstrap interval of the mean "
            f"difference over {self.drawn}, p-value of a two-sided sign-flip permutation test.",
        ]
        return "\n".join(lines)


def read_result(path: str | Path) -> dict[str, Any]:
    """A result file of ``pose-regressor evaluate --json``. Raises ``UserError`` for any other file."""
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise fail(f"Cannot read result {path}", got=error, expected="JSON of `pose-regressor evaluate`") from None
    if isinstance(values, dict) and values.get("format") == FORMAT_2D:
        raise fail(
            f"{path} holds errors of 2D keypoints, which are not compared",
            expected="errors of bodies in mm",
            next_step="See its `means` and `intervals`, or evaluate both by rules other than --protocol 2d",
        )
    if (
        not isinstance(values, dict)
        or values.get("format") != FORMAT
        or not isinstance(values.get("per_sample_mm"), dict)
    ):
        raise fail(
            f"{path} is no result with per-sample errors",
            expected="JSON of `pose-regressor evaluate`",
            next_step="Evaluate again with this version",
        )
    check_version(values.get("format_version", 1), FORMAT_VERSION, path)
    return values


def compare_files(a: str | Path, b: str | Path, *, row_a: str | None = None, row_b: str | None = None) -> Comparison:
    """Paired test of a row of file ``a`` and a row of file ``b`` (default: the first of each).

    Raises ``UserError`` for files that are no results, results on different samples or by different rules, and rows
    that are not there.
    """
    results = [read_result(path) for path in (a, b)]
    differing = [name for name in _SAME if results[0].get(name) != results[1].get(name)]
    if differing:
        got = "; ".join(
            f"{name} {_short(results[0].get(name))} and {_short(results[1].get(name))}" for name in differing
        )
        raise fail(f"{a} and {b} cannot be compared", got=got, expected="the same samples by the same protocol")
    (name_a, errors_a), (name_b, errors_b) = _row(results[0], row_a, a), _row(results[1], row_b, b)
    runs = results[0]["sequences"]
    groups, drawn = clusters([name for name, count in runs for _ in range(count)] if runs else None)
    means, tests = {}, {}
    for name in METRICS:
        if name in errors_a and name in errors_b:
            x, y = np.array(errors_a[name]), np.array(errors_b[name])
            if x.shape != y.shape or not len(x) or (groups is not None and len(groups) != len(x)):
                raise fail(f"{a} or {b} is damaged", got=f"{len(x)} and {len(y)} errors of {name}")
            means[name], tests[name] = (float(x.mean()), float(y.mean())), paired_test(x, y, groups)
    return Comparison(
        f"{name_a} ({a})", f"{name_b} ({b})", results[0]["protocol_name"], results[0]["samples"], drawn, means, tests
    )


def _row(result: dict[str, Any], row: str | None, path: str | Path) -> tuple[str, dict[str, list[float]]]:
    rows = result["per_sample_mm"]
    row = next(iter(rows)) if row is None else row
    if row not in rows:
        raise fail(f"{path} has no row {row!r}", expected=f"one of {', '.join(rows)}")
    return row, rows[row]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}…"
