"""Stages of the chain: their commands exist, their inputs are made before."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command_lines import parse

from pipelines.stages import PRESETS, Settings, stages
from tokenizer.engine.errors import UserError


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("choice", [{}, {"mocap": "a b"}, {"photo": "me.jpg"}, {"photo": "me.jpg", "box": "1,2,3,4"}])
def test_every_stage_runs_commands_that_exist(preset, choice):
    for stage in stages(Settings(Path("runs/x"), preset, **choice)):
        for command, line in zip(stage.commands, stage.command_lines(), strict=True):
            parse(list(command))
            assert shlex.split(line) == list(command)
        if stage.run is not None:
            parse([*stage.commands[-1], "--resume"])


def test_stages_read_only_what_earlier_ones_made():
    made: set[Path] = set()
    for stage in stages(Settings(Path("runs/x"))):
        assert set(stage.needs) <= made
        made.add(stage.makes)


def test_unknown_preset_is_told():
    with pytest.raises(UserError, match="demo, smoke, varied"):
        stages(Settings(Path("runs/x"), "demoo"))
