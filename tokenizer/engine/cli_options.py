"""Options that commands of both stages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def body_option(command: F) -> F:
    """``--body``, passed as ``body_source``."""
    return click.option(
        "--body", "body_source", default="open", help="'open', or a SMPL-family model file or directory."
    )(command)


def device_option(command: F) -> F:
    """``--device``, as ``engine.precision.resolve_device`` takes it."""
    return click.option("--device", default="auto", help="'auto', 'cpu', 'cuda', 'cuda:1', …")(command)
