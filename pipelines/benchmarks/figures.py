"""Measured figures of a benchmark, their goals, and the verdict."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

_RULES = {"below": operator.lt, "at most": operator.le, "at least": operator.ge}


@dataclass(frozen=True)
class Goal:
    """What the project asks of a figure: that it be ``below``, ``at most`` or ``at least`` ``value``."""

    rule: Literal["below", "at most", "at least"]
    value: float


@dataclass(frozen=True)
class Figure:
    """One line of the table: ``form`` writes the measured number with its unit, such as ``{:.2f} mm``.

    ``measured`` is None where the system does not report it; ``goal`` is None where nothing is asked; ``commands`` give
    the figure.
    """

    what: str
    measured: float | None
    form: str
    goal: Goal | None = None
    commands: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        """What was measured, with its unit."""
        return "not measured" if self.measured is None else self.form.format(self.measured)

    @property
    def asked(self) -> str:
        """What was asked, with the unit; empty where nothing was."""
        return "" if self.goal is None else f"{self.goal.rule} {self.form.format(self.goal.value)}"

    @property
    def met(self) -> bool | None:
        """Whether it is as asked; None where nothing was asked or measured."""
        if self.goal is None or self.measured is None:
            return None
        return bool(_RULES[self.goal.rule](self.measured, self.goal.value))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``what``, ``measured``, ``value``, ``asked``, ``met``, ``commands``."""
        return {
            "what": self.what,
            "measured": self.measured,
            "value": self.value,
            "asked": self.asked,
            "met": self.met,
            "commands": list(self.commands),
        }


def table(figures: Sequence[Figure]) -> str:
    """Figures as text: asked, measured and whether that is met, a line each, and beneath it the commands."""
    words = {True: "met", False: "NOT MET", None: ""}
    rows = [("", "asked", "measured", "")]
    rows += [(figure.what, figure.asked, figure.value, words[figure.met]) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row, commands in zip(rows, [(), *(figure.commands for figure in figures)], strict=True):
        cells = (row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3])
        lines.append("  ".join(cells).rstrip())
        lines += [f"    $ {command}" for command in commands]
    return "\n".join(lines)


def verdict(figures: Sequence[Figure]) -> str:
    """One sentence: how many goals are met, and which are not."""
    judged = [figure for figure in figures if figure.met is not None]
    missed = [figure for figure in judged if not figure.met]
    sentence = f"Verdict: {len(judged) - len(missed)} of {len(judged)} goals are met"
    if not missed:
        return f"{sentence}."
    return f"{sentence}; not met: {'; '.join(f'{miss.what} ({miss.value}, asked {miss.asked})' for miss in missed)}."
