"""Options that several commands of ``pose-regressor`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def tokenizer_option(command: F) -> F:
    """``--tokenizer``, passed as ``tokenizer_file``."""
    return click.option(
        "--tokenizer", "tokenizer_file", required=True, type=click.Path(path_type=Path), help="Exported tokenizer."
    )(command)
