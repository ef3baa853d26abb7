"""A keypoint regressor is trained, resumed, scored and refused by the same commands as one of images."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from pose_stores import write

from regressor.checkpoints.regressor_file import load_regressor, save_regressor
from regressor.commands.cli import main
from regressor.config import BackboneConfig, DecoderConfig, OptimConfig, preset
from regressor.datasets.keypoints.samples import open_evidence
from regressor.network.model import build_regressor
from regressor.training.train import train_regressor
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state
from tokenizer.engine.training.run import RunOptions

SETTINGS = [
    *("--set", "backbone.width=16", "--set", "decoder.width=16", "--set", "decoder.blocks=1"),
    *("--set", "optim.batch=4", "--set", "optim.warmup=1", "--set", "data.val_samples=20", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    path = tmp_path_factory.mktemp("poses") / "poses.h5"
    return write(path, [("train", "train", 80), ("val", "val", 20)])


@pytest.fixture(scope="module")
def config():
    return replace(
        preset("keypoints"),
        backbone=BackboneConfig(kind="keypoints", width=16, blocks=()),
        decoder=DecoderConfig(kind="mlp", width=16, blocks=1, dropout=0.1),
        data=replace(preset("keypoints").data, val_samples=20),
        optim=OptimConfig(steps=6, batch=8, warmup=2),
        precision="fp32",
        device="cpu",
        validate_every=3,
        checkpoint_every=2,
    )


def test_a_resumed_training_is_that_of_one_go(poses, tokenizer, config, open_body, tmp_path):
    dataset = open_evidence(poses, open_body)
    whole = train_regressor(dataset, tokenizer, tmp_path / "whole", config, open_body)
    train_regressor(dataset, tokenizer, tmp_path / "cut", config, open_body)
    for later in ("000000006", "000000004"):
        (tmp_path / "cut" / "checkpoints" / f"step_{later}.pt").unlink(missing_ok=True)
    resumed = train_regressor(
        open_evidence(poses, open_body), tokenizer, tmp_path / "cut", config, open_body, options=RunOptions(resume=True)
    )
    first, second = load_state(whole)["network"], load_state(resumed)["network"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_state(whole)["provenance"]["crops_attributes"]["val"]["version"] == 1


def test_one_command_trains_and_one_scores(poses, tokenizer_file, tmp_path):
    run, result = tmp_path / "run", tmp_path / "result.json"
    common = [str(poses), "--tokenizer", str(tokenizer_file)]
    command = ["train", *common, "--run", str(run), "--preset", "keypoints", *SETTINGS, "--set", "optim.steps=3"]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any("val_mpjpe_mm" in record for record in records)
    assert load_regressor(run / "regressor.pt", tokenizer=tokenizer_file).config.image_size == 0
    command = ["evaluate", str(run / "regressor.pt"), *common]
    done = CliRunner().invoke(main, [*command, "--split", "val-2d", "--json", str(result), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "2,000" in done.output and "regressor, tokens" in done.output


def test_commands_name_the_evidence_that_does_not_fit(
    poses, crops_file, tokenizer_file, tokenizer, config, tiny_config, tmp_path
):
    path = tmp_path / "points.pt"
    network = build_regressor(config, tokenizer).network
    save_regressor(path, network, config, tokenizer, {"body": "open"})
    images = tmp_path / "images.pt"
    save_regressor(images, build_regressor(tiny_config, tokenizer).network, tiny_config, tokenizer, {"body": "open"})
    for regressor, data, seen in ((path, crops_file, "image crops"), (images, poses, "a pose store")):
        command = ["evaluate", str(regressor), str(data), "--tokenizer", str(tokenizer_file), "--device", "cpu"]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2 and f"cannot see {data}; got {seen}" in done.output, done.output
    (tmp_path / "photos").mkdir()
    (tmp_path / "keypoints.json").write_text("{}", encoding="utf-8")
    command = ["finetune", str(tmp_path / "keypoints.json"), "--images", str(tmp_path / "photos"), "--run"]
    options = [str(tmp_path / "run"), "--regressor", str(path), "--tokenizer", str(tokenizer_file)]
    done = CliRunner().invoke(main, [*command, *options])
    assert done.exit_code == 2 and "sees 2D keypoints" in done.output and not (tmp_path / "run").exists()


def test_data_of_the_other_kind_is_refused(poses, crops_file, tokenizer_file, tokenizer, config, open_body, tmp_path):
    command = ["train", str(poses), "--tokenizer", str(tokenizer_file), "--run", str(tmp_path / "a"), *SETTINGS[6:]]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and "'resnet' cannot see poses" in done.output and "--preset" in done.output
    with pytest.raises(UserError, match="'keypoints' cannot see"):
        train_regressor(open_evidence(crops_file, open_body), tokenizer, tmp_path / "b", config, open_body)
    (tmp_path / "empty.h5").write_bytes(b"")
    command = ["train", str(tmp_path / "empty.h5"), *command[2:], "--preset", "keypoints"]
    assert "expected a pose store" in CliRunner().invoke(main, command).output
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
