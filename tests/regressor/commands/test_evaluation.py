"""Commands that measure."""

from __future__ import annotations

import json
from dataclasses import replace

import torch
from click.testing import CliRunner

from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.config import HeadConfig, RegressorConfig
from regressor.losses.choice import with_loss
from regressor.network.model import build_regressor
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES


def test_the_command_writes_table_and_json(tmp_path, crops_file, tokenizer_file, tokenizer, tiny_config):
    torch.manual_seed(0)
    files = []
    for pose in ("tokens", "rot6d"):
        config = replace(tiny_config, head=HeadConfig(pose=pose))
        network = build_regressor(config, tokenizer).network
        files.append(save_regressor(tmp_path / f"{pose}.pt", network, config, tokenizer, {"body": "open"}))
    arguments = [str(files[0]), str(crops_file), "--tokenizer", str(tokenizer_file), "--device", "cpu"]
    result = CliRunner().invoke(
        main,
        [
            "evaluate",
            *arguments,
            "--also",
            str(files[1]),
            "--json",
            str(tmp_path / "e.json"),
            "--markdown",
            str(tmp_path / "e.md"),
            "--precision",
            "fp16",
        ],
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "e.json").read_text())
    assert figures["samples"] == 6 and figures["tokenizer"] == tokenizer.digest and figures["domain"] == "suit"
    assert figures["precision"] == "fp16"
    assert {"regressor, tokens", "regressor, continuous 6D"} <= figures["errors_mm"].keys()
    assert (tmp_path / "e.md").read_text().strip() in result.output
    for extra, says in ((["--split", "nothing"], "has no split 'nothing'"), (["--also", "gone.pt"], "No regressor at")):
        refused = CliRunner().invoke(main, ["evaluate", *arguments, *extra])
        assert refused.exit_code == 2 and says in refused.output


def test_the_command_writes_what_training_reads(
    tmp_path, crops_file, tokenizer_file, tokenizer, tiny_config, regressor
):
    out, report = tmp_path / "t.json", tmp_path / "t.md"
    done = CliRunner().invoke(main, ["calibrate", str(crops_file), "--out", str(out), "--report", str(report)])
    assert done.exit_code == 0, done.output
    assert "| nose | 12 |" in done.output and report.read_text().strip() in done.output
    tals = with_loss(RegressorConfig(), tals=str(out)).loss.tals
    assert set(tals.keypoints_2d) == set(KEYPOINT_NAMES) and "camera reference" in tals.source

    baseline = save_regressor(tmp_path / "r.pt", regressor.network, tiny_config, tokenizer, {"body": "open"})
    arguments = ["calibrate", str(crops_file), "--out", str(out), "--baseline", str(baseline), "--device", "cpu"]
    done = CliRunner().invoke(main, [*arguments, "--tokenizer", str(tokenizer_file), "--quantile", "0.5"])
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())["loss"]["tals"]
    moving = set(JOINT_NAMES) - {"left_hand", "right_hand"}
    assert set(written["rotations"]) == moving and written["rotations"]["left_knee"] > 0
    assert "split 'train'" in done.output and "No threshold for left_hand, right_hand: they never move" in done.output
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2 and "needs its tokenizer" in refused.output
    both = CliRunner().invoke(main, [*arguments, "--tokenizer", str(tokenizer_file), "--camera", "true"])
    assert both.exit_code == 0, both.output
    mixed = json.loads(out.read_text())["loss"]["tals"]
    assert set(mixed["rotations"]) == moving and max(mixed["keypoints_2d"].values()) < 1e-5
    assert "the camera true, joints those of r.pt" in mixed["source"]
