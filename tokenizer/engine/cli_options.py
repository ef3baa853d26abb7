"""Options that commands of both stages share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import CommonError, UserError, fail

if TYPE_CHECKING:
    from .training.precision import Precision

F = TypeVar("F", bound=Callable[..., Any])


class Program(click.Group):
    """A command line of ours. What the system's encoding lacks (→ in a Windows code page) is printed as ``?``."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, as ``click.Group`` does."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands with the whole first sentence of each, where ``click`` would cut it."""
        rows = [(name, self.commands[name].get_short_help_str(limit=1000)) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class InputPath(click.Path):
    """A file or folder that a command reads. ``reports_user_errors`` calls ``check`` before the command begins.

    ``what`` it holds and the ``next_step`` where it is missing are for the message; ``words`` are values that are no
    paths, such as ``open``; with them, values stay text. ``named`` are names of paths, such as ``shipped``, where no
    such file is.
    """

    def __init__(
        self,
        what: str,
        next_step: str = "Check the path",
        *,
        words: tuple[str, ...] = (),
        named: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(path_type=str if words else Path)
        self.what, self.next_step, self.words, self.named = what, next_step, words, named or {}

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the path that ``value`` is or names."""
        if value in self.named and not Path(value).exists():
            return self.named[value]
        return super().convert(value, parameter, context)

    def check(self, value: str | Path) -> None:
        """Raise ``UserError`` where there is nothing at ``value``, nor a part of what is being written there."""
        path = Path(value)
        if value not in self.words and not path.exists() and not any(path.parent.glob(f"{escape(path.name)}.*")):
            raise CommonError(str(fail(f"No {self.what} at {value}", next_step=self.next_step)))


class OutputFile(click.Path):
    """A file that a command writes. ``reports_user_errors`` calls ``check`` before the command begins: what cannot be
    written must not be found out after a training."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def check(self, value: Path) -> None:
        """Raise ``UserError`` where ``value`` is a folder, or lies where no file can be made."""
        if value.is_dir():
            why = fail(f"{value} is a folder", expected="a file to write", next_step="Add the file's name to it")
            raise CommonError(str(why))
        above = next((folder for folder in value.absolute().parents if folder.exists()), Path.cwd())
        if not above.is_dir() or not os.access(above, os.W_OK):
            got = "a folder that you may not write to" if above.is_dir() else "a file where a folder is needed"
            why = fail(f"Cannot write {value}", got=f"{above}, {got}", next_step="Choose another path")
            raise CommonError(str(why))


OUTPUT_FILE = OutputFile()
POSE_STORE = InputPath("pose store", "Make one with `pose-tokenizer prepare` or `pose-tokenizer sample`")
SHIPPED_TOKENIZER = Path(__file__).resolve().parents[1] / "assets" / "vocabulary.h5"
TOKENIZER = InputPath(
    "tokenizer",
    "Train one with `pose-tokenizer train`, or check the path; `shipped` names the one of this package",
    named={"shipped": SHIPPED_TOKENIZER},
)
CROPS = InputPath("crop store", "Make one with `pose-regressor synthesize` or `pose-regressor prepare`")
RUN_FOLDER = InputPath("run", "Check the path; `train --run` makes one")


def body_option(command: F) -> F:
    """``--body``, passed as ``body_source``."""
    return click.option(
        "--body",
        "body_source",
        default="open",
        type=InputPath("body model", words=("open",)),
        metavar="open|PATH",
        help="Body model: open (comes with this package), or a file or folder of SMPL, SMPL-H or SMPL-X models.",
    )(command)


def device_option(command: F) -> F:
    """``--device``, as ``engine.precision.resolve_device`` takes it."""
    return click.option(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda|cuda:1|…",
        help="Where to compute; auto: on a GPU where there is one.",
    )(command)


def note_on_precision(choice: Precision, device: str) -> None:
    """Say on stderr where ``choice`` is slower than fp32 on ``device``; one that is not there the command refuses."""
    from .training.precision import resolve_device, slow_precision

    try:
        note = slow_precision(choice, resolve_device(device))
    except UserError:
        return  # under torchrun every process refuses it together, in the command
    if note:
        click.echo(f"Note: {note}", err=True)


def note_on_budget(run_path: Path, minutes: float | None) -> None:
    """Print a note where ``minutes`` differ from the budget of the run that is resumed."""
    from .training.run import RunFolder

    if minutes is None:
        return
    settings = RunFolder.settings(run_path)
    # A regressor's settings also name its tokenizer, by its digest.
    config = settings.get("regressor") or settings.get("tokenizer") or {}
    seconds = float(config.get("optim", {}).get("budget_s", 0.0))
    if 60 * minutes != seconds:
        kept = f"a budget of {seconds / 60:g} minutes" if seconds else "a fixed number of steps"
        text = f"--minutes {minutes:g} is ignored: this run resumes with {kept}"
        click.echo(f"Note: {text}. For another budget start another run", err=True)
