"""Options of both programs: what a command reads and writes is checked before it begins; help is not cut."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tokenizer.engine.cli_options import (
    OUTPUT_FILE,
    InputPath,
    Program,
    body_option,
    device_option,
    note_on_budget,
)
from tokenizer.engine.errors import UserError, reports_user_errors


@click.group(cls=Program)
def program() -> None:
    """A program."""


@program.command()
@click.argument("source", type=InputPath("pose store", "Make one first"))
@click.option("--out", type=OUTPUT_FILE)
@body_option
@device_option
@reports_user_errors
def run(source: Path, out: Path | None, body_source: str, device: str) -> None:
    """Read a store whose description is long enough that click would cut it after eighty characters or so. More."""
    click.echo(f"{source.name} {out and out.name} {body_source} {device}")


def invoke(*arguments):
    return CliRunner().invoke(program, ["run", *map(str, arguments)])


def test_defaults_and_values_arrive(tmp_path):
    (tmp_path / "a.h5").touch()
    assert invoke(tmp_path / "a.h5").output == "a.h5 None open auto\n"
    done = invoke(tmp_path / "a.h5", "--out", tmp_path / "new" / "b.h5", "--body", tmp_path, "--device", "cpu")
    assert done.output == f"a.h5 b.h5 {tmp_path} cpu\n"


def test_the_list_of_commands_has_whole_sentences():
    text = " ".join(CliRunner().invoke(program, ["--help"]).output.split())
    assert "click would cut it after eighty characters or so." in text and "More." not in text


def test_what_is_not_there_is_reported_with_the_next_step(tmp_path):
    done = invoke(tmp_path / "a.h5")
    assert done.exit_code == 2 and f"No pose store at {tmp_path / 'a.h5'}. Make one first" in done.output
    done = invoke(tmp_path, "--body", tmp_path / "SMPL.npz")
    assert done.exit_code == 2 and f"No body model at {tmp_path / 'SMPL.npz'}" in done.output


def test_a_part_of_what_is_being_written_counts_as_there(tmp_path):
    (tmp_path / "a.h5.journal").touch()
    InputPath("pose store").check(tmp_path / "a.h5")
    with pytest.raises(UserError, match="No pose store"):
        InputPath("pose store").check(tmp_path / "[a].h5")


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for out, reason in ((tmp_path, "is a folder"), (tmp_path / "file" / "b.h5", "a file where a folder is needed")):
        done = invoke(tmp_path / "file", "--out", out)
        assert done.exit_code == 2 and reason in done.output


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="a folder that you may not write to"):
        OUTPUT_FILE.check(tmp_path / "b.h5")


@pytest.mark.parametrize(
    ("settings", "minutes", "note"),
    [
        ({"tokenizer": {"optim": {"budget_s": 120}}}, 2, ""),
        ({"tokenizer": {"optim": {"budget_s": 120}}}, None, ""),
        ({"tokenizer": {"optim": {"budget_s": 120}}}, 3, "resumes with a budget of 2 minutes"),
        (
            {"regressor": {"optim": {"steps": 5}}, "tokenizer": "abc"},
            1,
            "resumes with a fixed number of steps",
        ),
    ],
)
def test_another_budget_than_that_of_a_resumed_run_is_noted(tmp_path, capsys, settings, minutes, note):
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    note_on_budget(tmp_path, minutes)
    printed = capsys.readouterr().err
    assert note in printed and bool(printed) == bool(note)


def test_a_name_stands_for_a_path_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind = InputPath("tokenizer", named={"shipped": Path("assets") / "vocabulary.h5"})
    assert kind.convert("shipped", None, None) == Path("assets") / "vocabulary.h5"
    assert kind.convert("other", None, None) == Path("other")
    Path("shipped").write_text("mine")
    assert kind.convert("shipped", None, None) == Path("shipped")
