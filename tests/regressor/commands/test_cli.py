"""The command synthesize."""

from __future__ import annotations

from click.testing import CliRunner

from regressor.commands.cli import main
from regressor.datasets.crop_dataset import open_crops
from tokenizer.mocap.drawn import write_samples


def test_the_command_writes_store_and_sheet(tmp_path):
    write_samples(tmp_path / "poses.h5", 40, seed=0)
    arguments = [
        "synthesize",
        str(tmp_path / "poses.h5"),
        "--train",
        "4",
        "--val",
        "2",
        "--test",
        "2",
        "--size",
        "32",
        "--workers",
        "1",
        "--out",
        str(tmp_path / "crops.h5"),
    ]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert open_crops(tmp_path / "crops.h5").count("train") == 4
    assert (tmp_path / "crops.png").stat().st_size > 1000
