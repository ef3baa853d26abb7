"""Commands that import released files."""

from __future__ import annotations

from click.testing import CliRunner
from vitpose_files import saved, weights

from regressor.commands.cli import main


def test_the_command_says_which_expert(tmp_path):
    done = CliRunner().invoke(main, ["import-backbone", str(saved(tmp_path / "a.pth", weights())), "--out", "b.pt"])
    assert done.exit_code == 2 and done.output.count("error: ") == 1 and "of no preset" in done.output
