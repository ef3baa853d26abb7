"""The command finetune."""

from __future__ import annotations

import json

import torch
from click.testing import CliRunner

from regressor.commands.cli import main
from tokenizer.engine.files.state_files import load_state


def test_the_command_mends_a_regressor(tmp_path, photographs, start, tokenizer_file):
    run = tmp_path / "run"
    command = [
        "finetune",
        str(photographs),
        "--regressor",
        str(start),
        "--tokenizer",
        str(tokenizer_file),
        "--run",
        str(run),
        "--steps",
        "30",
        "--tals",
        "none",
        "--set",
        "optim.lr=3e-3",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    result = json.loads((run / "finetune.json").read_text())
    before, after = (result[side]["keypoints_2d_pct"] for side in ("before", "after"))
    assert after < 0.8 * before and result["train"] + result["val"] == 12 and result["val"] >= 1
    assert f"{before:.2f} % of the box before, {after:.2f} % after" in done.output
    assert "images/s; " in done.output
    assert "no 3D truth" in done.output and "mpjpe_mm" not in result["after"] and result["moved"]["mpjpe_mm"] > 0
    assert f"predict PHOTO.jpg --whole --regressor {run}/regressor.pt" in done.output
    state, begun = load_state(run / "regressor.pt"), load_state(start)
    for name, value in state["network"].items():
        if name.startswith("backbone."):
            assert torch.equal(value, begun["network"][name]), "the backbone stays as it is"
    assert state["config"]["loss"]["form"] == "published" and state["provenance"]["start"]["file"] == "start.pt"
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 2 and "--resume" in again.output
    photo = str(photographs.parent / "0.jpg")
    predicted = CliRunner().invoke(
        main,
        [
            "predict",
            photo,
            "--whole",
            "--regressor",
            str(run / "regressor.pt"),
            "--tokenizer",
            str(tokenizer_file),
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "out"),
        ],
    )
    assert predicted.exit_code == 0, predicted.output
