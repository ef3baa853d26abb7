"""The command train."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from small_trainings import SMALL

from tokenizer.commands.cli import main
from tokenizer.engine.config import to_dict


def test_the_command_line_says_it_in_one_line(store, tmp_path):
    """With a real limit on the size of a file, which torch's zip writer meets as it meets a full disk."""
    resource = pytest.importorskip("resource")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(SMALL)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        done = CliRunner().invoke(
            main, ["train", str(store.path), "--run", str(tmp_path / "run"), "--config", str(tmp_path / "config.json")]
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (message,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and "step_000000002.pt; got File too large. Free some disk space" in message
    assert not isinstance(done.exception, RuntimeError) and "Traceback" not in done.output
