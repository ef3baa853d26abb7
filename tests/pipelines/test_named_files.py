"""Files that options name are looked at before a command computes, draws a bar or writes: those to read are there,
those to write can be written."""

from __future__ import annotations

import importlib

import click
import pytest
from click.testing import CliRunner

from pipelines.demo import PROGRAMS
from tokenizer.engine.cli_options import InputPath, OutputFile

WRITTEN = {
    "assets",
    "out",
    "run_path",
    "json_file",
    "markdown_file",
    "report_file",
    "sheet",
    "cache",
    "folder",
    "runs",
}
"""Names of parameters for what commands write; every other path is read."""
ELSEWHERE = {("predict", "images"), ("prepare", "sources")}
"""Checked by the commands themselves: they also take URLs, or say more."""


def commands() -> dict[str, click.Command]:
    return {
        f"{program} {name}": command
        for program, module in PROGRAMS.items()
        for name, command in importlib.import_module(module).main.commands.items()
    }


def read_paths(command: click.Command) -> list[click.Parameter]:
    return [parameter for parameter in command.params if isinstance(parameter.type, InputPath)]


def arguments_of(command: click.Command, name: str, value: str) -> list[str]:
    """Arguments with ``value`` for the parameter ``name``; what else is required names the file ``there``."""
    arguments = []
    for parameter in command.params:
        if parameter.name == name:
            words = [value]
        elif parameter.required:
            words = [parameter.type.choices[0] if isinstance(parameter.type, click.Choice) else "there"]
        else:
            continue
        arguments += words if isinstance(parameter, click.Argument) else [parameter.opts[0], *words]
    return arguments


CASES = [(name, parameter.name) for name, command in commands().items() for parameter in read_paths(command)]


def test_every_path_is_read_or_written():
    """A new option that names a file belongs to one of both: ``InputPath`` is what is looked for."""
    unknown = {
        (name, parameter.name)
        for name, command in commands().items()
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
        and not isinstance(parameter.type, InputPath | OutputFile)
        and parameter.name not in WRITTEN
        and (name.split()[1], parameter.name) not in ELSEWHERE
    }
    assert unknown == set() and len(CASES) > 40


@pytest.mark.parametrize(("name", "missing"), CASES)
def test_a_file_that_is_not_there_is_told_at_once(tmp_path, monkeypatch, name, missing):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("anything")
    done = CliRunner().invoke(commands()[name], arguments_of(commands()[name], missing, "nowhere/x.h5"))
    assert done.exit_code == 2, done.output
    assert done.output.startswith("error: No ") and " at nowhere/x.h5. " in done.output, done.output
    assert len(done.output.splitlines()) == 1 and [path.name for path in tmp_path.iterdir()] == ["there"]


OUTPUTS = [
    (name, parameter.name)
    for name, command in commands().items()
    for parameter in command.params
    if isinstance(parameter.type, OutputFile)
]


@pytest.mark.parametrize(("name", "written"), OUTPUTS)
def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path, monkeypatch, name, written):
    """Not after a training: a folder, and a path through a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("anything")
    (tmp_path / "folder").mkdir()
    for path, says in (
        ("folder", "error: folder is a folder; expected a file to write."),
        ("there/x/y.h5", "error: Cannot write there/x/y.h5; got "),
    ):
        done = CliRunner().invoke(commands()[name], arguments_of(commands()[name], written, path))
        assert done.exit_code == 2 and done.output.startswith(says), done.output
        assert len(done.output.splitlines()) == 1


def test_the_drift_of_a_chain_that_is_not_there(tmp_path):
    from pipelines.cli import main

    done = CliRunner().invoke(main, ["drift", "--runs", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and not (tmp_path / "nowhere").exists()
    assert done.output == (
        f"error: No tokenizer at {tmp_path / 'nowhere' / 'tokenizer.h5'}. "
        "Make it with `make tokenizer`, or name another by --tokenizer.\n"
    )
