"""A run folder: ``config.json``, ``metrics.jsonl``, ``decisions.jsonl``, ``log.txt``, ``checkpoints/``,
``tensorboard/``, pictures."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import fail
from ..files.atomic import append_line, write_text_atomically
from .checkpoint import load_latest
from .tensorboard import add_record, writer_class

if TYPE_CHECKING:
    import numpy as np

DECISIONS = "decisions.jsonl"
"""How many steps a time budget allows, decision after decision; see ``budget``."""
_WORTH_KEEPING = ("metrics.jsonl", "checkpoints/*.pt", "*.pt")
_MADE_EARLY = ("config.json", "log.txt", DECISIONS)


Export = Literal["best", "last"]
"""Averaged weights of the best validation so far, or of the last step."""


@dataclass(frozen=True)
class RunOptions:
    """How a training starts and ends, in addition to its configuration.

    ``resume``: continue from the latest valid checkpoint, with the configuration of the run. ``export``: which weights.
    ``tensorboard``: also write metrics to ``tensorboard/``. Of the regressor alone, for a new run: ``start``, an
    exported regressor to start from; ``backbone``, a file of imported backbone weights.
    """

    resume: bool = False
    export: Export = "best"
    tensorboard: bool = False
    start: str | Path | None = None
    backbone: str | Path | None = None


NEW_RUN = RunOptions()
"""A new run that exports its best weights."""


class RunFolder:
    """One training run on disk.

    ``RunFolder.start`` makes a new one and refuses to overwrite; ``RunFolder.resume`` opens an old one at its newest
    whole checkpoint and drops metrics logged after it, so that a resumed run writes each line once.
    """

    def __init__(
        self, path: Path, config: dict[str, Any], state: dict[str, Any] | None = None, made: Sequence[Path] = ()
    ) -> None:
        self.path = path
        self.config = config
        self.state = state
        self.made = made
        """The folders that a new run has made, the deepest first; empty for a resumed one."""
        self._tensorboard: Any = None
        self._started = time.monotonic() - (float(state["seconds"]) if state and "seconds" in state else 0.0)

    @classmethod
    def start(cls, path: str | Path, config: dict[str, Any]) -> RunFolder:
        """Make ``path`` a run folder. Raises ``UserError`` if it already holds a run."""
        path = Path(path)
        if (path / "config.json").exists():
            raise fail(
                f"{path} already holds a run", next_step="Resume it with --resume, or choose another --run folder"
            )
        made = [path / "checkpoints", *missing_folders(path)]
        run = cls(path, config, made=made)
        try:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            (path / DECISIONS).unlink(missing_ok=True)
            write_text_atomically(path / "config.json", json.dumps(config, indent=2) + "\n")
        except OSError:
            remove_empty(made)
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open the run at ``path`` with its latest valid checkpoint, for reading. Raise ``UserError`` without a run."""
        path = Path(path)
        return cls(path, cls.settings(path), load_latest(path / "checkpoints"))

    @staticmethod
    def settings(path: Path) -> dict[str, Any]:
        """The configuration of the run at ``path``. Raises ``UserError`` if there is no run."""
        try:
            config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise fail(f"No run at {path}", got=error, next_step="Start one with `train`, without --resume") from None
        return config

    @classmethod
    def resume(cls, path: str | Path) -> RunFolder:
        """Resume the run at ``path`` from its latest valid checkpoint. Raise ``UserError`` if there is no run."""
        run = cls.open(path)
        step = run.state["step"] if run.state else -1
        earlier_records = [record for record in run.metrics() if record.get("step", 0) <= step]
        write_text_atomically(
            run.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in earlier_records)
        )
        return run

    @contextmanager
    def removed_if_it_fails_early(self) -> Iterator[None]:
        """Within, an error before there is anything to look at or to resume (figures, a checkpoint, a batch that was
        saved) removes what this new run has made; a kill or Ctrl-C does not. Of several processes the first removes."""
        from ..distributed import rank  # brings torch

        try:
            yield
        except Exception:
            worth_keeping = [path for pattern in _WORTH_KEEPING for path in self.path.glob(pattern)]
            if self.made and not worth_keeping and rank() == 0:
                for name in _MADE_EARLY:
                    (self.path / name).unlink(missing_ok=True)
                shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
                remove_empty(self.made)
            raise

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def seconds(self) -> float:
        """Wall-clock seconds spent in this run, over all its sessions up to the last checkpoint of each."""
        return time.monotonic() - self._started

    def log(self, record: dict[str, Any]) -> None:
        """Append one record (it should hold ``step``) to ``metrics.jsonl``, and show it in TensorBoard if asked to."""
        append_line(self.path / "metrics.jsonl", json.dumps(record))
        if self._tensorboard is not None:
            add_record(self._tensorboard, record)

    def open_tensorboard(self) -> None:
        """From now on write what is logged to ``tensorboard/``, too; what a resumed run does again is purged there.

        Raises ``UserError`` where TensorBoard is not installed.
        """
        step = self.state["step"] if self.state else 0
        self._tensorboard = writer_class()(str(self.path / "tensorboard"), purge_step=step + 1)

    def show(self, tag: str, step: int, image: np.ndarray) -> None:
        """Show an image (H,W,3) uint8 RGB in TensorBoard, if asked to."""
        if self._tensorboard is not None:
            self._tensorboard.add_image(tag, image, step, dataformats="HWC")

    def note(self, text: str) -> None:
        """Append one dated line to ``log.txt``."""
        append_line(self.path / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole record of ``metrics.jsonl``, in order; a line cut by a kill is left out."""
        return read_metrics(self.path)


def missing_folders(path: Path) -> list[Path]:
    """Those of ``path`` and its parents that are not there, the deepest first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


@contextmanager
def removed_on_error(folder: Path, *, unless: Path) -> Iterator[None]:
    """Within, an error removes ``folder`` and the parents made for it, if it was not there before and ``unless`` is not
    there by then; a kill or Ctrl-C does not."""
    made = missing_folders(folder)
    try:
        yield
    except Exception:
        if made and not unless.exists():
            shutil.rmtree(folder, ignore_errors=True)
            remove_empty(made)
        raise


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of ``folders`` that are there and empty, in order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of ``path/metrics.jsonl``; empty when there are none."""
    file = Path(path) / "metrics.jsonl"
    records = []
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return records
