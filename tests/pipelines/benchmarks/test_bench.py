"""The benchmark of what is promised."""

from __future__ import annotations

from click.testing import CliRunner


def test_the_benchmark_of_a_chain_that_is_not_there(tmp_path):
    from pipelines.cli import main

    done = CliRunner().invoke(main, ["bench", "--runs", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and done.output.startswith(f"error: No folder at {tmp_path / 'nowhere'}. Make the chain")
    assert not (tmp_path / "nowhere").exists()
