"""The pace of training: samples a second, and how much of the time the model waits for data."""

from __future__ import annotations

_SKIPPED = 5


class Throughput:
    """Of the steps of one session, validation and saving left out; the first few, slower than the rest, count only
    until there are others."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, float, float]] = []

    def add(self, samples: int, seconds: float, waiting: float) -> None:
        """One step on ``samples`` samples of all processes: its whole time, and what of it went by for the data."""
        self._steps.append((samples, seconds, waiting))

    @property
    def steps(self) -> int:
        """How many steps were added."""
        return len(self._steps)

    def seconds_per_step(self) -> float:
        """Mean time of a step."""
        counted = self._counted()
        return sum(seconds for _, seconds, _ in counted) / len(counted)

    def figures(self) -> dict[str, float]:
        """``images_per_s`` and ``data_wait``, a share of the time; empty before the first step."""
        samples, seconds, waiting = (sum(part) for part in zip(*self._counted())) if self._steps else (0, 0, 0)
        return (
            {"images_per_s": round(samples / seconds, 2), "data_wait": round(waiting / seconds, 4)} if seconds else {}
        )

    def _counted(self) -> list[tuple[int, float, float]]:
        return self._steps[_SKIPPED:] or self._steps
