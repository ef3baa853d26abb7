"""A run folder: ``config.json``, ``metrics.jsonl``, ``log.txt``, ``checkpoints/``, ``tensorboard/``, pictures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import load_latest, write_text_atomically
from .errors import fail
from .tensorboard import add_record, writer_class

if TYPE_CHECKING:
    import numpy as np


class RunFolder:
    """One training run on disk.

    ``RunFolder.start`` makes a new one and refuses to overwrite; ``RunFolder.resume`` opens an old one at its newest
    whole checkpoint and drops metrics logged after it, so that a resumed run writes each line once.
    """

    def __init__(self, path: Path, config: dict[str, Any], state: dict[str, Any] | None = None) -> None:
        self.path = path
        self.config = config
        self.state = state
        self._tensorboard: Any = None
        self._started = time.monotonic() - (float(state["seconds"]) if state and "seconds" in state else 0.0)

    @classmethod
    def start(cls, path: str | Path, config: dict[str, Any]) -> RunFolder:
        """Make ``path`` a run folder. Raises ``UserError`` if it already holds a run."""
        path = Path(path)
        if (path / "config.json").exists():
            raise fail(f"{path} already holds a run", next_step="Go on with --resume, or choose another --run folder")
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        run = cls(path, config)
        run.rewrite_config(config)
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The run at ``path`` with its newest whole checkpoint, for reading. Raises ``UserError`` without one."""
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
        """The run at ``path``, to go on from its newest whole checkpoint. Raises ``UserError`` if there is no run."""
        run = cls.open(path)
        step = run.state["step"] if run.state else -1
        kept = [record for record in run.metrics() if record.get("step", 0) <= step]
        write_text_atomically(run.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))
        return run

    def rewrite_config(self, config: dict[str, Any]) -> None:
        """Replace ``config.json``: for what training itself decides, such as the steps that fit a time budget."""
        write_text_atomically(self.path / "config.json", json.dumps(config, indent=2) + "\n")
        self.config = config

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
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
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
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole record of ``metrics.jsonl``, in order; a line cut by a kill is left out."""
        return read_metrics(self.path)


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
