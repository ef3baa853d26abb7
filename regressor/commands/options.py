"""Options that several commands of ``pose-regressor`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tokenizer.engine.cli_options import TOKENIZER, InputPath

from .. import SHIPPED

F = TypeVar("F", bound=Callable[..., Any])
REGRESSOR = InputPath(
    "regressor",
    "Train one with `pose-regressor train`, or check the path; `shipped` names the one of this package",
    named={"shipped": SHIPPED},
)
THRESHOLDS = InputPath(
    "file of thresholds", "Give published, none, or a file of `pose-regressor calibrate`", words=("published", "none")
)


def tokenizer_option(command: F) -> F:
    """``--tokenizer``, passed as ``tokenizer_file``."""
    return click.option(
        "--tokenizer", "tokenizer_file", required=True, type=TOKENIZER, help="Tokenizer file of stage 1 (.h5)."
    )(command)


def precision_option(command: F) -> F:
    """``--precision`` of a network that predicts, as ``engine.precision.resolve_precision`` takes it."""
    return click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default="fp32",
        help="Number format of the network; auto: bf16 where that is faster. fp16 is for GPUs.",
    )(command)
