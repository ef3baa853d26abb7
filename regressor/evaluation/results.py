"""Results of an evaluation: per-sample errors and what is printed and written of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from torch import Tensor

from .robustness import RULES, changes
from .statistics import bootstrap_interval, clusters, paired_test

FORMAT = "pose-token-hmr/evaluation"
FORMAT_VERSION = 2
REFERENCE_ROW = "mean pose, true orientation"
METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm")
_HEADS = {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "PA-MPJPE", "pve_mm": "PVE"}


def compact_json(plain: dict[str, Any]) -> str:
    """Plain values as text: a line each, lists of numbers in one."""
    text = json.dumps(plain, indent=2)
    return re.sub(r"\[[-\d.,\seE+]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text) + "\n"


@dataclass
class Report:
    """``about``: protocol, data, digests. ``rows``: name → per-sample errors in mm (N,), by ``METRICS`` (``pve_mm`` is
    absent where a row has no mesh). ``joints``: name → errors (N,J) in mm of ``joint_names``. ``regressors``: the rows
    that are regressors. ``sequences``: the name of each sample's sequence, where there are sequences.
    """

    about: dict[str, Any]
    rows: dict[str, dict[str, Tensor]]
    joints: dict[str, Tensor]
    joint_names: tuple[str, ...]
    regressors: list[str]
    sequences: Sequence[str] | None = None

    @cached_property
    def groups(self) -> np.ndarray | None:
        """(N,) int: samples that are drawn together."""
        return clusters(self.sequences)[0]

    def means(self) -> dict[str, dict[str, float]]:
        """Mean of every figure of every row."""
        return {row: {name: float(v.mean()) for name, v in errors.items()} for row, errors in self.rows.items()}

    @cached_property
    def intervals(self) -> dict[str, dict[str, list[float]]]:
        """95 % bootstrap intervals of those means."""
        by_row = {}
        for row, errors in self.rows.items():
            values = np.stack([values.numpy() for values in errors.values()], 1)
            by_row[row] = dict(zip(errors, bootstrap_interval(values, self.groups).tolist(), strict=True))
        return by_row

    def per_joint(self) -> dict[str, dict[str, float]]:
        """Mean error of every joint of every row, mm."""
        return {
            row: dict(zip(self.joint_names, errors.mean(0).tolist(), strict=True))
            for row, errors in self.joints.items()
        }

    def per_sequence(self) -> dict[str, dict[str, Any]]:
        """Of every sequence: how many samples, and the means of every regressor."""
        table: dict[str, dict[str, Any]] = {}
        names = np.array(list(self.sequences or ()))
        for sequence in dict.fromkeys(self.sequences or ()):
            in_sequence = names == sequence
            means = {
                row: {name: float(self.rows[row][name].numpy()[in_sequence].mean()) for name in self.rows[row]}
                for row in self.regressors
            }
            table[sequence] = {"samples": int(in_sequence.sum()), **means}
        return table

    def robustness(self) -> list[dict[str, Any]]:
        """What every change of the images costs every regressor: mean, difference to the unchanged, its interval."""
        table = []
        for row in self.regressors:
            for change in changes():
                changed = self.rows.get(f"{row}, {change}")
                for name, values in (changed or {}).items():
                    paired = paired_test(self.rows[row][name].numpy(), values.numpy(), self.groups, resamples=2000)
                    table.append(
                        {
                            "row": row,
                            "change": change,
                            "metric": name,
                            "mean": float(values.mean()),
                            "difference": paired.difference,
                            "interval": [paired.low, paired.high],
                        }
                    )
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; with ratios to the row ``REFERENCE_ROW`` where there is one."""
        means = self.means()
        plain = {"format": FORMAT, "format_version": FORMAT_VERSION, **self.about, "errors_mm": means}
        if base := means.get(REFERENCE_ROW):
            plain |= {
                "ratio_to": REFERENCE_ROW,
                "ratios": {
                    row: {name: value / base[name] for name, value in figures.items()} for row, figures in means.items()
                },
            }
        return plain | {
            "intervals_mm": self.intervals,
            "intervals": f"95 %, bootstrap over {clusters(self.sequences)[1]}",
            "per_joint_mm": self.per_joint(),
            "per_sequence_mm": self.per_sequence(),
            "robustness": self.robustness(),
            "robustness_rules": RULES,
            "published_not_ours": published_rows(self.about["protocol_name"]),
            "sequences": [[name, len(list(run))] for name, run in groupby(self.sequences or ())],
            "per_sample_mm": {
                row: {name: np.round(values.double().numpy(), 3).tolist() for name, values in errors.items()}
                for row, errors in self.rows.items()
            },
        }

    def to_json(self) -> str:
        """``to_dict`` as text."""
        return compact_json(self.to_dict())

    def to_markdown(self) -> str:
        """The tables: errors with intervals, what is published (marked as such), robustness, joints, sequences."""
        plain = self.to_dict()
        lines = ["| | MPJPE | PA-MPJPE | PVE |", "|---|---|---|---|"]
        changed = {f"{row}, {change}" for row in self.regressors for change in changes()}
        for row, figures in plain["errors_mm"].items():
            if row in changed:
                continue
            cells = []
            for name in METRICS:
                if name not in figures:
                    cells.append("–")
                    continue
                low, high = plain["intervals_mm"][row][name]
                ratio = f" ({plain['ratios'][row][name]:.2f})" if "ratios" in plain else ""
                cells.append(f"{figures[name]:.1f} [{low:.1f}, {high:.1f}]{ratio}")
            lines.append(f"| {row} | {' | '.join(cells)} |")
        for row, figures in plain["published_not_ours"].items():
            cells = [f"{figures[name]:.1f}" if name in figures else "–" for name in METRICS]
            data = DATA_SETS[plain["protocol_name"].removesuffix("-reference")]
            lines.append(f"| *published for {data}, not measured here: {row}* | {' | '.join(cells)} |")
        ratio = f"In brackets: ratio to “{REFERENCE_ROW}”. " if "ratios" in plain else ""
        boxes, bodies = plain.get("boxes", "those of the annotation"), plain.get("bodies")
        data = f" of {plain['data']}" if "data" in plain else ""
        lines += [
            "",
            f"Protocol `{plain['protocol_name']}`. {plain['protocol']} In square brackets: {plain['intervals']}. "
            f"{ratio}{plain['samples']:,} samples{data}. Boxes: {boxes}." + (f" Bodies: {bodies}." if bodies else ""),
        ]
        lines += self._robustness_lines(plain["robustness"])
        lines += ["", "| joint (mm) | " + " | ".join(self.regressors) + " |", "|---" * (len(self.regressors) + 1) + "|"]
        for joint in self.joint_names:
            cells = [f"{plain['per_joint_mm'][row][joint]:.1f}" for row in self.regressors]
            lines.append(f"| {joint} | {' | '.join(cells)} |")
        if plain["per_sequence_mm"]:
            columns = [(row, name) for row in self.regressors for name in METRICS]
            lines += [
                "",
                "| sequence | samples | " + " | ".join(f"{row}: {_HEADS[n]}" for row, n in columns) + " |",
                "|---" * (len(columns) + 2) + "|",
            ]
            for sequence, figures in plain["per_sequence_mm"].items():
                cells = [f"{figures[row][name]:.1f}" for row, name in columns]
                lines.append(f"| {sequence} | {figures['samples']:,} | {' | '.join(cells)} |")
        return "\n".join(lines)

    @staticmethod
    def _robustness_lines(rows: list[dict[str, Any]]) -> list[str]:
        if not rows:
            return []
        lines = ["", "| images changed | metric | mean (mm) | costs | 95 % |", "|---|---|---|---|---|"]
        for row in rows:
            low, high = row["interval"]
            lines.append(
                f"| {row['row']}, {row['change']} | {_HEADS[row['metric']]} | {row['mean']:.1f} | "
                f"{row['difference']:+.1f} | [{low:+.1f}, {high:+.1f}] |"
            )
        return [*lines, "", RULES[0].upper() + RULES[1:] + "."]


_ROWS: dict[str, dict[str, tuple[float, float, float | None]]] = {
    "3dpw": {
        "HMR2.0 retrained on TokenHMR's data (paper)": (77.4, 47.4, None),
        "TokenHMR (paper)": (71.0, 44.3, 84.6),
        "TokenHMR, released checkpoint": (70.9, 44.8, 84.3),
        "TokenHMR, released, BEDLAM only, no TALS": (71.6, 44.0, 85.7),
    },
    "emdb": {
        "HMR2.0 retrained on TokenHMR's data (paper)": (99.3, 62.8, None),
        "TokenHMR (paper)": (91.7, 55.6, 109.4),
        "TokenHMR, released checkpoint": (89.5, 55.6, 108.5),
        "TokenHMR, released, BEDLAM only, no TALS": (89.6, 49.8, 106.2),
    },
}
DATA_SETS = {"3dpw": "3DPW test", "emdb": "EMDB 1"}
"""What those rows are of, by protocol."""


def published_rows(protocol: str) -> dict[str, dict[str, float]]:
    """What is published on the data set that a protocol is of, by row and metric, mm; empty for synthetic data."""
    rows = _ROWS.get(protocol.removesuffix("-reference"), {})
    names = ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm")
    return {
        row: {name: value for name, value in zip(names, figures, strict=True) if value is not None}
        for row, figures in rows.items()
    }
