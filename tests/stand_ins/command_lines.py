"""Command lines of the README and of the chain."""

from __future__ import annotations

import importlib

import click

from pipelines.demo import PROGRAMS


def parse(command: list[str]) -> None:
    """Parse a command line of ours without running it; raises click's error where it does not fit."""
    group = importlib.import_module(PROGRAMS[command[0]]).main
    with click.Context(group) as context:
        name, subcommand, rest = group.resolve_command(context, command[1:])
        subcommand.make_context(name, list(rest), parent=context)
