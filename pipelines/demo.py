"""Run the stages that are not up to date, resume interrupted trainings, and record how everything was made."""

from __future__ import annotations

import datetime
import hashlib
import importlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tokenizer import __version__
from tokenizer.engine.errors import fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.files.cache import locked
from tokenizer.engine.processes import available_cores

from .history import attempt, last_finished, take_over
from .stages import Settings, Stage, stages

PROGRAMS = {
    "pose-tokenizer": "tokenizer.commands.cli",
    "pose-regressor": "regressor.commands.cli",
    "pose-pipeline": "pipelines.cli",
}
Say = Callable[[str], None]


def run_demo(settings: Settings, say: Say, until: str | None = None) -> Path:
    """Make every stage, up to the one called ``until``, that is missing or was made from other data or by other
    commands; the path of what the last one makes.

    What the caller gives is checked first. While another process is at work in the same folder this one waits. Raises
    ``UserError`` for what cannot be used, and for an unknown stage.
    """
    chain = stages(settings)
    last = chain[-1] if until is None else stage_called(until, chain)
    check_given(settings)
    return run_chain(chain, last, settings.runs, say)


def run_chain(chain: list[Stage], last: Stage, runs: Path, say: Say) -> Path:
    """Make every stage of ``chain`` up to ``last`` that is not current; return the path of what ``last`` makes."""
    with _alone(runs, say):
        for stage in chain[: chain.index(last) + 1]:
            if is_current(stage, runs):
                say(f"{stage.makes} is up to date")
            else:
                run_stage(stage, runs, say)
    return last.makes


def run_one(settings: Settings, target: str, say: Say) -> Path:
    """Make the stage called ``target`` (or whose product is), whatever its state.

    Raises ``UserError`` for an unknown name or a missing input.
    """
    stage = stage_called(target, stages(settings))
    check_given(settings)
    missing = [str(path) for path in stage.needs if not path.exists()]
    if missing:
        raise fail(
            f"Stage {stage.name} lacks its input",
            got=f"no {', '.join(missing)}",
            next_step=f"Make the stages before it, too: --until {stage.name}",
        )
    with _alone(settings.runs, say):
        run_stage(stage, settings.runs, say)
    return stage.makes


def check_given(settings: Settings) -> None:
    """Raise ``UserError`` unless mocap, photo and box are what the last stage, minutes from now, can use."""
    from regressor.datasets.image_files import read_image
    from regressor.geometry.boxes import check_box, parse_box
    from tokenizer.mocap.files import find_files

    if settings.mocap and not find_files([Path(settings.mocap)]):
        raise fail(
            f"There is no motion to learn from in {settings.mocap}",
            expected="mocap files as `pose-tokenizer prepare` reads them, archives unpacked",
        )
    box = parse_box(settings.box) if settings.box else None
    if box and not settings.photo:
        raise fail(
            "A box was given, but no photo that it belongs to",
            got=f"the box {settings.box}",
            next_step="Give the photo, too: --photo FILE, or make demo PHOTO=FILE BOX=…",
        )
    if settings.photo:
        height, width = read_image(settings.photo).shape[:2]
        if box:
            check_box(box, width, height, settings.photo)


def is_current(stage: Stage, runs: Path) -> bool:
    """Whether the stage's product is there, as it was made, by these very settings from inputs of this content.

    Digests decide, no times: a copy of the folder is as current as the folder.
    """
    done = last_finished(runs).get(stage.name)
    if done is None or not all(path.exists() for path in (stage.makes, *stage.needs)):
        return False
    if "made" not in done:  # noted down by an earlier version, without digests
        made = stage.makes.stat().st_mtime
        return all(path.stat().st_mtime <= made for path in stage.needs) and done["commands"] == stage.command_lines()
    # `drift` writes the page anew.
    unchanged = stage.makes.suffix == ".html" or done["made"] == file_digest(stage.makes)
    return unchanged and done["recipe"] == stage.recipe(runs) and done["inputs"] == _inputs(stage)


def run_stage(stage: Stage, runs: Path, say: Say) -> None:
    """Run the stage's commands in this process and note them down in the history of ``runs``.

    A command that fails prints the reason and raises ``SystemExit``; the stage is then made again.
    """
    runs.mkdir(parents=True, exist_ok=True)
    say(f"\n== {stage.name}: {stage.purpose} → {stage.makes}")
    resumed = stage.run is not None and _prepare_run(stage, stage.run, runs, say)
    about = {
        "stage": stage.name,
        "commands": stage.command_lines(),
        "recipe": stage.recipe(runs),
        "inputs": _inputs(stage),
        "resumed": resumed,
    }
    with attempt(runs, about) as record:
        for command, line in zip(stage.commands, stage.command_lines(), strict=True):
            extra = ("--resume",) if resumed else ()
            say(f"$ {line}{' --resume' if resumed else ''}")
            run_command((*command, *extra))
        record |= {"made": file_digest(stage.makes), **surroundings()}


def run_command(command: tuple[str, ...]) -> None:
    """Run one of our console commands in this process: whoever ends the process has ended the training, too."""
    program = importlib.import_module(PROGRAMS[command[0]]).main
    program(args=list(command[1:]), prog_name=command[0], standalone_mode=False)


def surroundings() -> dict[str, Any]:
    """When, by which version, on what hardware."""
    import torch

    from tokenizer.artifact import source_commit
    from tokenizer.engine.training.processor import processor_described

    return {
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "package": f"pose-token-hmr {__version__}",
        "commit": source_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{processor_described()}, {available_cores()} cores",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def stage_called(name: str, chain: list[Stage]) -> Stage:
    """Return the stage of that name, or that makes the file of that name. Raise ``UserError`` where there is none."""
    for stage in chain:
        if name in (stage.name, stage.makes.name):
            return stage
    raise fail(f"Unknown stage {name!r}", expected=f"one of {', '.join(stage.name for stage in chain)}")


@contextmanager
def _alone(runs: Path, say: Say) -> Iterator[None]:
    """Within, no other process makes stages in ``runs``; waits where one does."""
    runs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if not stack.enter_context(locked(runs / ".lock", wait=False)):
            say(f"Another process is at work in {runs}; waiting until it has ended (Ctrl-C to give up)")
            stack.enter_context(locked(runs / ".lock"))
        take_over(runs)
        yield


def _prepare_run(stage: Stage, run: Path, runs: Path, say: Say) -> bool:
    """Return whether ``run`` was started by the same commands on the same data, so that it can be resumed.

    A run of other commands or data makes room: it is kept as ``<run>.previous``, in place of an earlier one.
    """
    about = {"commands": stage.recipe(runs), "data": [content_digest(path) for path in stage.needs]}
    note = run / "stage.json"
    if note.exists():
        recorded = json.loads(note.read_text(encoding="utf-8"))
        # Earlier versions noted the commands with the folder's name in them.
        if recorded["data"] == about["data"] and recorded["commands"] in (about["commands"], stage.command_lines()):
            return (run / "config.json").exists()
    if run.exists():
        previous = run.with_name(f"{run.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        run.rename(previous)
        say(f"{run} was made otherwise; it is kept as {previous}")
    run.mkdir(parents=True)
    write_text_atomically(note, json.dumps(about, indent=2) + "\n")
    return False


def _inputs(stage: Stage) -> dict[str, str]:
    """Digests of what the stage reads: content of what earlier stages made and of a photo; of mocap folders, which may
    hold hours, the names, sizes and times of the files."""
    made_digests = {path.name: content_digest(path) for path in stage.needs}
    given_digests = {str(path): listing_digest(path) if path.is_dir() else file_digest(path) for path in stage.given}
    return made_digests | given_digests


def content_digest(path: Path) -> str:
    """The digest that our HDF5 file ``path`` carries: the same data give the same, whenever written. Of others, of all
    bytes."""
    import h5py

    if path.suffix != ".h5":
        return file_digest(path)
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("digest") or file.attrs["sha256"])
    except (OSError, KeyError):
        raise fail(f"{path} is damaged, or something else", next_step="Remove it, and it is made again") from None


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def listing_digest(folder: Path) -> str:
    """The sha256 over the mocap files under ``folder``: names, sizes, times of change; hex."""
    from tokenizer.mocap.files import find_files

    digest = hashlib.sha256()
    for file in find_files([folder]):
        status = file.path.stat()
        digest.update(f"{file.name}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
