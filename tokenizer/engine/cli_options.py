"""Options that commands of both stages share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Program(click.Group):
    """A command line of ours. What the system's encoding lacks (→ in a Windows code page) is printed as ``?``."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, as ``click.Group`` does."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)


def body_option(command: F) -> F:
    """``--body``, passed as ``body_source``."""
    return click.option(
        "--body", "body_source", default="open", help="'open', or a SMPL-family model file or directory."
    )(command)


def device_option(command: F) -> F:
    """``--device``, as ``engine.precision.resolve_device`` takes it."""
    return click.option("--device", default="auto", help="'auto', 'cpu', 'cuda', 'cuda:1', …")(command)
