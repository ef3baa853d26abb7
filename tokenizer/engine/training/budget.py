"""How far a training is, and how many steps are left of it: a fixed number, or as many as fit a time budget.

1. A training is a function of its configuration, data, seed and decisions. A decision says after which step how many
   more there will be; without a time budget there is none.
2. Time counts at decision points alone, every fiftieth of the budget and more often near its end; the first process
   reads it and tells the others. A decision is on disk, in ``decisions.jsonl``, before the first step that uses it.
3. ``progress`` grows with each step by (1 − progress) / (steps left). Learning rate, consistency, validations and
   checkpoints follow it alone.
4. A resumed training takes its place on the way from the checkpoint and repeats the decisions on disk; the clock goes
   on from the last of them, so that time between sessions and steps done twice do not count.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..distributed import from_rank_0, rank, run_on_all_ranks
from ..errors import fail
from ..files.atomic import append_line, write_bytes_atomically
from .run import DECISIONS

_INTERVAL = 0.02
"""Of the budget, from one decision to the next."""
_INTERVAL_OF_REST = 0.25
"""And no more than this of what is left, so that the end is met to a step."""
_APART_S = 60.0
"""Under a budget, validations and checkpoints are at least so many planned seconds from each other."""
_SHORT_S = 120.0
_KEPT_FOR_END = 0.5
"""At most this share of the budget is kept free for what comes after the last step."""

Event = Literal["validation", "checkpoint"]
monotonic = time.monotonic


@dataclass(frozen=True)
class Decision:
    """Made after ``step`` steps and ``seconds`` of training, at ``pace`` seconds a step (None: not yet known): ``left``
    more steps; the next decision after ``next`` of all steps."""

    step: int
    left: int
    next: int
    seconds: float
    pace: float | None


@dataclass(frozen=True)
class Plan:
    """What is known before a training starts. ``steps``: how many, under a time budget at most; ``budget_s``: seconds
    for all of it, 0 for no limit; ``validate_every``, ``checkpoint_every``: of ``steps``; ``validation_steps``: how
    many steps' time a validation may take, until it has been measured."""

    steps: int
    budget_s: float
    validate_every: int
    checkpoint_every: int
    validation_steps: int = 0

    def share(self, event: Event) -> float:
        """What of the way lies between two validations, or two checkpoints."""
        share = (self.validate_every if event == "validation" else self.checkpoint_every) / self.steps
        return max(share, _APART_S / self.budget_s) if self.budget_s else share


def num_validation_samples(count: int, budget_s: float, *, least: int = 16) -> int:
    """How many of ``count`` samples to validate on (or people to paint): under a time budget of less than two minutes
    as much fewer, so that most of it is left to train, but ``least`` of them."""
    return max(min(count, least), int(count * min(1.0, budget_s / _SHORT_S))) if budget_s else count


class StepBudget:
    """How many steps a training has done and has left, under a time budget or not; ``state`` is the checkpoint that it
    resumes from, if any.

    All processes call the same methods in the same order; rank 0 writes ``decisions.jsonl`` in ``folder``. Raise
    ``UserError`` for a file that holds no decisions.
    """

    def __init__(self, folder: Path, plan: Plan, state: Mapping[str, Any] | None = None) -> None:
        self._plan = plan
        self.step = 0 if state is None else int(state["step"])
        """How many steps are done."""
        saved = (state or {}).get("schedule") or _of_older_checkpoint(plan, self.step, state)
        self._since, self._base, self._planned = saved["since"], saved["base"], saved["planned"]
        self._next, self._pace = saved["next"], saved["pace"]
        self.steps_left = self._planned - (self.step - self._since)
        """How many steps are left, as decided so far."""
        self._before = self.progress
        self._file = folder / DECISIONS
        self._first = rank() == 0 and plan.budget_s > 0
        self._recorded = run_on_all_ranks(lambda: _read(self._file) if self._first else {})
        self._watch = _Watch(saved["seconds"], dict(saved["costs"]))

    @property
    def progress(self) -> float:
        """From 0 to 1, how much of the way is done."""
        if not self.steps_left:
            return 1.0
        return self._base + (1 - self._base) * ((self.step - self._since) / self._planned)

    @property
    def progress_per_step(self) -> float:
        """What the next step adds to ``progress``."""
        return (1 - self.progress) / max(1, self.steps_left)

    @property
    def max_steps(self) -> int:
        """How many steps there can be in all."""
        return self._plan.steps if self.steps_left else self.step

    def start(self) -> None:
        """Let the clock run from here; what was done before, this time, is no time of training."""
        self._watch.set_seconds(self._watch.decided_at)

    def advance(self) -> int:
        """Note that a step is done, and decide anew where that is due; how many are done now."""
        self._before = self.progress
        self.step, self.steps_left = self.step + 1, self.steps_left - 1
        if self._plan.budget_s and self.steps_left and self.step == self._next:
            decision = Decision(**from_rank_0(self._decide))
            self._base, self._since = self.progress, self.step
            self.steps_left = self._planned = min(decision.left, self._plan.steps - self.step)
            self._next = decision.next
        if self._first and self._watch.marked_at is None:
            self._watch.mark(self.step)  # a session's first step is slower than those after it
        return self.step

    def due(self, event: Event) -> bool:
        """Whether the last step was one after which there is a validation, or a checkpoint: the ``event``."""
        share = self._plan.share(event)
        return not self.steps_left or math.floor(self.progress / share + 1e-9) > math.floor(self._before / share + 1e-9)

    @contextmanager
    def timed(self, event: Event) -> Iterator[None]:
        """Within, time is that of a validation or checkpoint: inside the budget, but no step's."""
        began = self._watch.seconds() if self._first else 0.0
        yield
        if self._first:
            self._watch.add(event, self._watch.seconds() - began)

    def figures(self) -> dict[str, float]:
        """``seconds_left`` of the budget, as of the last decision; empty without one."""
        budget = self._plan.budget_s
        return {"seconds_left": max(0.0, budget - self._watch.decided_at)} if budget else {}

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            "progress": self.progress,
            "since": self._since,
            "base": self._base,
            "planned": self._planned,
            "next": self._next,
            "pace": self._pace,
            "seconds": self._watch.seconds() if self._first else 0.0,
            "costs": dict(self._watch.costs),
        }

    def _decide(self) -> dict[str, Any]:
        decision = self._recorded.get(self.step)
        if decision is not None:
            self._watch.set_seconds(decision.seconds)
        else:
            decision = self._new_decision()
            append_line(self._file, json.dumps(asdict(decision)), sync=True)
        self._watch.decided_at, self._pace = decision.seconds, decision.pace
        if self._watch.marked_at is not None:
            self._watch.mark(self.step)
        return asdict(decision)

    def _new_decision(self) -> Decision:
        seconds = self._watch.seconds()
        pace = self._pace = self._watch.pace(self.step, self._pace)
        budget, most = self._plan.budget_s, self._plan.steps - self.step
        # Before a pace is known, that of the first step serves to guess what comes after the last.
        guess = self._plan.validation_steps * (seconds / self.step if pace is None else pace)
        at_end = self._watch.costs.get("validation", guess) + self._watch.costs.get("checkpoint", 0.0)
        rest = budget - seconds - min(at_end, _KEPT_FOR_END * budget)
        if rest <= 0:
            left, interval = 0, 0  # time is up
        elif pace is None:
            left, interval = most, 1
        else:
            still_to_spend = sum(
                cost * (math.ceil((1 - self.progress) / self._plan.share(event)) - 1)
                for event, cost in self._watch.costs.items()
            )
            left = min(most, int((rest - min(still_to_spend, rest / 2)) / pace))
            interval = max(1, int(min(_INTERVAL * budget, _INTERVAL_OF_REST * rest) / pace))
        return Decision(self.step, left, self.step + interval, seconds, pace)


class _Watch:
    """Seconds of training, as of the first process; what validations and checkpoints took of them, at most."""

    def __init__(self, seconds: float, costs: dict[Event, float]) -> None:
        self.costs = costs
        self.decided_at = seconds
        self.marked_at: int | None = None
        self._began = monotonic() - seconds
        self._marked, self._aside = seconds, 0.0

    def seconds(self) -> float:
        """Since the training began, over all sessions."""
        return monotonic() - self._began

    def set_seconds(self, seconds: float) -> None:
        """Let the clock show ``seconds`` now: those of a decision that is repeated."""
        self._began = monotonic() - seconds

    def add(self, event: Event, took: float) -> None:
        """Note what a validation or checkpoint took."""
        self.costs[event] = max(took, self.costs.get(event, 0.0))
        self._aside += took

    def mark(self, step: int) -> None:
        """Measure the pace from here, after ``step`` steps."""
        self.marked_at, self._marked, self._aside = step, self.seconds(), 0.0

    def pace(self, step: int, otherwise: float | None) -> float | None:
        """Seconds a step since the mark; ``otherwise`` where there was none."""
        if self.marked_at is None or step == self.marked_at:
            return otherwise
        return max(1e-9, (self.seconds() - self._marked - self._aside) / (step - self.marked_at))


def _of_older_checkpoint(plan: Plan, step: int, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The place of a new training, or of one whose checkpoint, ``state``, knows its step and time alone."""
    seconds = float((state or {}).get("seconds", 0.0))
    since = step if plan.budget_s else 0
    return {
        "since": since,
        "base": 0.0,
        "planned": plan.steps - since,
        "next": step + 1,
        "pace": None,
        "costs": {},
        "seconds": seconds,
    }


def _read(path: Path) -> dict[int, Decision]:
    """The decisions in ``path`` by their step; one that was cut off while written, which no step has used, is dropped
    from the file. Raises ``UserError`` for other contents."""
    text = path.read_bytes() if path.exists() else b""
    complete = text[: text.rfind(b"\n") + 1]
    if complete != text:
        write_bytes_atomically(path, complete)
    decisions: dict[int, Decision] = {}
    for number, line in enumerate(complete.splitlines(), 1):
        try:
            decision = Decision(**json.loads(line))
            possible = _is_possible(decision)
        except (TypeError, ValueError):
            possible = False
        if not possible:
            raise fail(
                f"{path} does not hold what a training has decided",
                got=f"another text in line {number}",
                expected="one decision a line",
                next_step="Restore the file; or remove it: training then resumes from the latest checkpoint and "
                "decides anew by the clock",
            )
        decisions[decision.step] = decision
    return decisions


def _is_possible(decision: Decision) -> bool:
    """Whether a training can have decided that; numbers of another type are none."""
    times = (decision.seconds, decision.pace or 0.0)
    if not all(type(value) is int for value in (decision.step, decision.left, decision.next)):
        return False
    if not all(type(value) in (int, float) and 0 <= value < math.inf for value in times):
        return False
    return decision.step >= 1 and decision.left >= 0 and (decision.next > decision.step or not decision.left)
