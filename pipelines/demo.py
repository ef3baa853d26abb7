"""Runs stages: says what is made and where, goes on with a training that was cut off, notes down how it was done."""

from __future__ import annotations

import datetime
import importlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizer import __version__
from tokenizer.engine.checkpoint import write_text_atomically
from tokenizer.engine.errors import fail
from tokenizer.engine.processes import available_cores

from .stages import Settings, Stage, stages

PROGRAMS = {
    "pose-tokenizer": "tokenizer.cli",
    "pose-regressor": "regressor.cli",
    "pose-pipeline": "pipelines.cli",
}
Say = Callable[[str], None]


def run_demo(settings: Settings, say: Say) -> Path:
    """Make every stage that is missing, older than what it reads, or was made by other commands; the report's path."""
    chain = stages(settings)
    for stage in chain:
        if is_current(stage, settings.runs):
            say(f"{stage.makes} is up to date")
        else:
            run_stage(stage, settings.runs, say)
    return chain[-1].makes


def run_one(settings: Settings, target: str, say: Say) -> Path:
    """Make the stage called ``target`` (or whose product is), whatever its state.

    Raises ``UserError`` for an unknown name or a missing input.
    """
    chain = stages(settings)
    for stage in chain:
        if target in (stage.name, stage.makes.name):
            missing = [str(path) for path in stage.needs if not path.exists()]
            if missing:
                raise fail(f"Stage {stage.name} lacks its input", got=f"no {', '.join(missing)}",
                           next_step="Make the stages before it first")  # fmt: skip
            run_stage(stage, settings.runs, say)
            return stage.makes
    raise fail(f"Unknown stage {target!r}", expected=f"one of {', '.join(stage.name for stage in chain)}")


def is_current(stage: Stage, runs: Path) -> bool:
    """Whether the stage's product is there, not older than its inputs, and made by these very commands."""
    if not all(path.exists() for path in (stage.makes, *stage.needs)):
        return False
    made = stage.makes.stat().st_mtime
    done = last_runs(runs).get(stage.name, {})
    return all(path.stat().st_mtime <= made for path in stage.needs) and done.get("commands") == stage.command_lines()


def run_stage(stage: Stage, runs: Path, say: Say) -> None:
    """Run the stage's commands in this process and note them down in ``runs/history.jsonl``.

    A command that fails says why and raises ``SystemExit``, which leaves the stage to be made again.
    """
    runs.mkdir(parents=True, exist_ok=True)
    say(f"\n== {stage.name}: {stage.purpose} → {stage.makes}")
    resumed = stage.run is not None and _prepare_run(stage, stage.run, say)
    began = time.monotonic()
    for command, line in zip(stage.commands, stage.command_lines(), strict=True):
        extra = ("--resume",) if resumed else ()
        say(f"$ {line}{' --resume' if resumed else ''}")
        run_command((*command, *extra))
    record = {"stage": stage.name, "commands": stage.command_lines(), "resumed": resumed,
              "seconds": round(time.monotonic() - began, 1), **surroundings()}  # fmt: skip
    with (runs / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def run_command(command: tuple[str, ...]) -> None:
    """Run one of our console commands in this process: whoever ends the process has ended the training, too."""
    program = importlib.import_module(PROGRAMS[command[0]]).main
    program(args=list(command[1:]), prog_name=command[0], standalone_mode=False)


def last_runs(runs: Path) -> dict[str, dict[str, Any]]:
    """The newest record of every stage in ``runs/history.jsonl``, by stage name."""
    file = runs / "history.jsonl"
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    return {record["stage"]: record for record in records}


def surroundings() -> dict[str, Any]:
    """When, by which version, on what hardware."""
    import torch

    from tokenizer.artifact import source_commit

    return {
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "package": f"pose-token-hmr {__version__}",
        "commit": source_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{_processor()}, {available_cores()} cores",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _prepare_run(stage: Stage, run: Path, say: Say) -> bool:
    """Whether ``run`` was begun by the same commands on the same data, so that it can go on.

    A run of other commands or data makes room: it is kept as ``<run>.previous``, in place of an earlier one.
    """
    about = {"commands": stage.command_lines(), "data": [content_digest(path) for path in stage.needs]}
    note = run / "stage.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) == about:
        return (run / "config.json").exists()
    if run.exists():
        previous = run.with_name(f"{run.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        run.rename(previous)
        say(f"{run} was made otherwise; it is kept as {previous}")
    run.mkdir(parents=True)
    write_text_atomically(note, json.dumps(about, indent=2) + "\n")
    return False


def content_digest(path: Path) -> str:
    """The digest that our HDF5 file ``path`` carries: the same data give the same, whenever written."""
    import h5py

    with h5py.File(path, "r") as file:
        return str(file.attrs.get("digest") or file.attrs["sha256"])
