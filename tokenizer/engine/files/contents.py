"""Checks that every reader of our files makes: the version of the format, and the names and shapes of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import fail


def check_version(version: Any, newest: int, path: object, *, next_step: str = "Make the file again") -> int:
    """Return the ``format_version`` of a file. Raise ``UserError`` where it is no version, or newer than ``newest``."""
    if isinstance(version, bool) or not isinstance(version, int | np.integer) or version < 1:
        raise fail(
            f"{path} is damaged", got=f"format_version {version!r}", expected=f"1 to {newest}", next_step=next_step
        )
    if version > newest:
        raise fail(
            f"{path} was written by a newer version",
            got=f"format_version {version}",
            expected=f"at most {newest}",
            next_step="Upgrade pose-token-hmr",
        )
    return int(version)


def tensor_problems(tensors: Mapping[str, Any], expected: Mapping[str, Iterable[int]]) -> list[str]:
    """Return what is wrong with arrays or tensors by name, whose shapes are to be ``expected``: missing, unknown and
    misshapen ones, sorted."""
    problems = [f"missing {name}" for name in expected.keys() - tensors.keys()]
    problems += [f"unknown {name}" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        shape, expected_shape = tuple(tensors[name].shape), tuple(expected[name])
        if shape != expected_shape:
            problems.append(f"{name} {shape}, not {expected_shape}")
    return sorted(problems)
