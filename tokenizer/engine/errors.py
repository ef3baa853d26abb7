"""The one exception for mistakes a user can mend, and how a command line shows it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class UserError(Exception):
    """A mistake in the user's input: what, got, expected, and the next step, in one message.

    Command lines print the message alone and exit with code 2; Python callers catch it as an ordinary exception.
    """


class CommonError(UserError):
    """A mistake that all processes of a distributed run meet together; the first one reports it."""


def fail(what: str, *, got: object = None, expected: object = None, next_step: str | None = None) -> UserError:
    """Compose a ``UserError`` in the house form; the caller raises it: ``raise fail(...)``."""
    parts = [what.rstrip(".")]
    if isinstance(got, OSError):
        got = plain_reason(got)
    if got is not None:
        parts.append(f"got {got}".rstrip("."))
    if expected is not None:
        parts.append(f"expected {expected}")
    message = "; ".join(parts) + "."
    if next_step:
        message += f" {next_step}" if next_step.endswith(("?", ".")) else f" {next_step}."
    return UserError(message)


_PLAIN = {
    FileNotFoundError: "no such file",
    IsADirectoryError: "a folder",
    NotADirectoryError: "a file in place of a folder",
    PermissionError: "a file that may not be read or written",
}


def plain_reason(error: BaseException) -> str:
    """One line on what went wrong, without the numbers of the operating system's errors."""
    for kind, words in _PLAIN.items():
        if isinstance(error, kind):
            return words
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def reports_user_errors(command: F) -> F:
    """Decorate a click command: ``UserError`` and ``OSError`` become one line on stderr and exit code 2.

    The line names the process where ``torchrun`` started several and it is not the first. Files that options name are
    looked for first (``cli_options.InputPath``), so that a mistyped name costs no time.
    """

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        import click

        def tell(text: str) -> None:
            bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
            for bar in list(bars):
                bar.close()  # or its line would run into the message
            click.echo(text, err=True)

        rank = os.environ.get("RANK", "0")
        who = "error" if rank == "0" else f"error on rank {rank}"
        try:
            _check_inputs(click.get_current_context(silent=True))
            return command(*args, **kwargs)
        except UserError as error:
            if rank == "0" or not isinstance(error, CommonError):
                tell(f"{who}: {error}")
            raise SystemExit(2) from None
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            tell(f"{who}: {error.strerror or error}{where}")
            raise SystemExit(2) from None

    return wrapper  # type: ignore[return-value]


def _check_inputs(context: Any) -> None:
    for parameter in context.command.params if context is not None else ():
        check, value = getattr(parameter.type, "check", None), context.params.get(parameter.name)
        if check is not None and value is not None:
            for item in value if isinstance(value, tuple) else (value,):
                check(item)
