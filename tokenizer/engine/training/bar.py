"""The bar of a training on the command line."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

_EVERY = 20
"""Figures are shown anew after so many steps: to write them takes time."""


class TrainingBar:
    """Steps done, of those there will be, and the time that is left; call it with (step, steps, figures).

    It is drawn after the first step of a session, which is slower than the rest, and counts time from there: what is
    refused before draws none. Under a time budget (``seconds_left`` among the figures) the time left is what remains of
    that, and no guess.
    """

    def __init__(self, name: str, *, shown: bool = True) -> None:
        self._name, self._shown = name, shown
        self._bar: tqdm | None = None

    def __call__(self, step: int, steps: int, figures: dict[str, float]) -> None:
        """Show that ``step`` of ``steps`` are done."""
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(desc=self._name, unit="step", total=steps, initial=step, disable=not self._shown)
        bar, left = self._bar, figures.get("seconds_left")
        bar.total = steps
        if left is not None:
            clock = tqdm.format_interval(left)
            bar.bar_format = f"{{l_bar}}{{bar}}| {{n_fmt}}/{{total_fmt}} [{{elapsed}}<{clock}, {{rate_fmt}}{{postfix}}]"
        if step % _EVERY == 0 or any(name.startswith("val_") for name in figures):
            shown = {name: f"{value:.3g}" for name, value in figures.items() if name != "seconds_left"}
            bar.set_postfix(shown, refresh=False)
        bar.update(step - bar.n)

    def close(self) -> None:
        """Leave the bar, where there is one, as it stands."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
