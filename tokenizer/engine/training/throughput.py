"""The pace of training: samples a second, and how much of the time the model waits for data."""

from __future__ import annotations

_SKIPPED = 5


class Throughput:
    """Of the steps of one session, validation and saving left out; the first few, slower than the rest, count only
    until there are others."""

    def __init__(self) -> None:
        self.steps = 0
        """How many steps were added."""
        self._samples, self._seconds, self._waiting = 0, 0.0, 0.0

    def add(self, samples: int, seconds: float, waiting: float) -> None:
        """One step on ``samples`` samples of all processes: its whole time, and what of it went by for the data."""
        if self.steps == _SKIPPED:
            self._samples, self._seconds, self._waiting = 0, 0.0, 0.0
        self.steps += 1
        self._samples += samples
        self._seconds += seconds
        self._waiting += waiting

    def figures(self) -> dict[str, float]:
        """``images_per_s`` and ``data_wait``, a share of the time; empty before the first step."""
        if not self._seconds:
            return {}
        return {
            "images_per_s": round(self._samples / self._seconds, 2),
            "data_wait": round(self._waiting / self._seconds, 4),
        }


def pace_described(figures: dict[str, float]) -> str | None:
    """What ``Throughput.figures`` found, in words; None where there is nothing."""
    if "images_per_s" not in figures:
        return None
    return f"{figures['images_per_s']:.1f} images/s; {figures['data_wait']:.0%} of the time waiting for data"
