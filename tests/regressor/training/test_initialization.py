"""Training that begins with an exported regressor: its very weights and means, strictly checked, once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from regressor.checkpoints.backbones import save_backbone
from regressor.checkpoints.regressor_file import load_regressor, save_regressor
from regressor.commands.cli import main
from regressor.config import BackboneConfig, DecoderConfig, HeadConfig, preset
from regressor.datasets.crop_dataset import open_crops
from regressor.network.model import build_regressor
from regressor.training.initialization import network_settings, starting_config
from regressor.training.train import train_regressor
from tokenizer.engine.config import to_dict
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state, save_state
from tokenizer.engine.training.run import RunOptions


@pytest.fixture
def start(tmp_path, tiny_config, tokenizer):
    """An exported regressor whose means are those of no data."""
    torch.manual_seed(3)
    config = replace(tiny_config, device="cuda:7", precision="bf16", optim=replace(tiny_config.optim, lr=7e-4))
    network = build_regressor(config, tokenizer).network
    network.mean_betas.fill_(0.25)
    return save_regressor(tmp_path / "start.pt", network, config, tokenizer, {"body": "open", "imported_from": "x"})


@pytest.fixture
def still(tiny_config):
    """A training that moves nothing: what is exported is what it began with."""
    return replace(tiny_config, optim=replace(tiny_config.optim, steps=2, lr=0.0))


def train(store, tokenizer, run, config, body, *, progress=None, **options):
    trained = train_regressor(store, tokenizer, run, config, body, options=RunOptions(**options), progress=progress)
    return load_state(trained)


def test_it_begins_with_weights_and_means_of_the_file(tmp_path, crops_file, tokenizer, open_body, start, still):
    state = train(open_crops(crops_file), tokenizer, tmp_path / "run", still, open_body, start=start)
    begun = load_state(start)["network"]
    counted = ("running_mean", "running_var", "num_batches_tracked")  # by batch norm, also at rate 0
    for name, value in state["network"].items():
        assert name.endswith(counted) or torch.equal(value, begun[name]), name
    assert (state["network"]["mean_betas"] == 0.25).all(), "not the means of the crops"
    about = json.loads((tmp_path / "run" / "config.json").read_text())["start"]
    assert about == state["provenance"]["start"] and about["file"] == "start.pt" and len(about["sha256"]) == 64
    assert about["provenance"]["imported_from"] == "x"


def test_a_resume_reads_it_no_more(tmp_path, crops_file, tokenizer, open_body, start, tiny_config):
    store = open_crops(crops_file)
    whole = train(store, tokenizer, tmp_path / "whole", tiny_config, open_body, start=start)

    class Stop(Exception):
        pass

    def stop(step, *_):
        if step == 5:
            raise Stop

    with pytest.raises(Stop):
        train(store, tokenizer, tmp_path / "run", tiny_config, open_body, start=start, progress=stop)
    start.unlink()
    resumed = train(store, tokenizer, tmp_path / "run", tiny_config, open_body, resume=True)
    assert all(torch.equal(value, resumed["network"][name]) for name, value in whole["network"].items())
    assert resumed["provenance"]["start"] == whole["provenance"]["start"]


def test_without_a_checkpoint_a_resume_wants_the_same_file(tmp_path, crops_file, tokenizer, open_body, start, still):
    store, run = open_crops(crops_file), tmp_path / "run"
    train(store, tokenizer, run, still, open_body, start=start)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    for given in (None, crops_file):
        with pytest.raises(UserError, match=r"began with another regressor.*expected start\.pt"):
            train(store, tokenizer, run, still, open_body, start=given, resume=True)
    assert (
        train(store, tokenizer, run, still, open_body, start=start, resume=True)["network"]["mean_betas"] == 0.25
    ).all()


def test_what_does_not_fit_is_told(tmp_path, crops_file, tokenizer, open_body, start, tiny_config):
    store, run = open_crops(crops_file), tmp_path / "run"

    def refused(says, config=tiny_config, file=start):
        with pytest.raises(UserError, match=says):
            train(store, tokenizer, run, config, open_body, start=file)
        assert not run.exists(), "refused before anything is written"

    refused(
        r"another network.*got preset 'small' with decoder.width 32; expected preset 'small' with decoder.width 16",
        replace(tiny_config, decoder=replace(tiny_config.decoder, width=32)),
    )
    refused("head.pose rot6d", replace(tiny_config, head=HeadConfig(pose="rot6d")))
    refused("No file at|No regressor at", file=tmp_path / "none.pt")
    refused("no exported regressor", file=_changed(start, tmp_path, format="else"))
    refused("another tokenizer", file=_changed(start, tmp_path, tokenizer="0" * 64))
    refused("predicts another body", file=_changed(start, tmp_path, provenance={"body": "smpl"}))
    weights = dict(load_state(start)["network"])
    weights["orientation.bias"] = torch.zeros(7)
    with pytest.raises(UserError, match=r"orientation.bias \(7,\), not \(6,\)"):
        train(store, tokenizer, run, tiny_config, open_body, start=_changed(start, tmp_path, network=weights))


def _changed(path, folder, **changes):
    save_state(folder / "changed.pt", {**load_state(path), **changes})
    return folder / "changed.pt"


def test_settings_of_training_may_differ(start, tiny_config):
    """What changes no tensor is the user's to choose; the rest is the file's."""
    assert starting_config(start).optim.lr == 7e-4
    assert (starting_config(start).device, starting_config(start).precision) == ("auto", "auto")
    other = replace(
        tiny_config,
        decoder=replace(tiny_config.decoder, dropout=0.4),
        seed=5,
        backbone=replace(tiny_config.backbone, trainable="none", drop_path=0.1),
    )
    assert starting_config(start, other) == other
    with pytest.raises(UserError, match=r"image_size 128, backbone\.width 24"):
        starting_config(start, preset("small"))
    names = network_settings(preset("vit-h"))
    assert names["backbone.width"] == 1280 and "backbone.drop_path" not in names and "optim.lr" not in names
    assert {"decoder." + name for name in vars(DecoderConfig())} - names.keys() == {"decoder.dropout"}


def test_the_command(tmp_path, crops_file, tokenizer_file, start):
    command = ["train", str(crops_file), "--tokenizer", str(tokenizer_file), "--start", str(start), "--device", "cpu"]
    done = CliRunner().invoke(
        main,
        [
            *command,
            "--run",
            str(tmp_path / "run"),
            "--set",
            "optim.steps=2",
            "--loss",
            "published",
            "--tals",
            "none",
        ],
    )
    assert done.exit_code == 0, done.output
    config = load_regressor(tmp_path / "run" / "regressor.pt", tokenizer=tokenizer_file).config
    assert config.optim.lr == 7e-4, "the file's own, where nothing else is said"
    assert config.optim.steps == 2 and config.loss.form == "published" and not config.loss.tals.on
    assert to_dict(config)["decoder"] == load_state(start)["config"]["decoder"]
    for extra, says in (
        (["--preset", "small"], "another network"),
        (["--set", "head.pose=rot6d"], "head.pose"),
        (["--backbone", str(start)], "one file"),
    ):
        done = CliRunner().invoke(main, [*command, "--run", str(tmp_path / "other"), *extra])
        assert done.exit_code == 2 and says in done.output, done.output


def test_the_backbone_is_noted_down_and_wanted_again(tmp_path, crops_file, tokenizer, open_body, tiny_config):
    """Killed before its first checkpoint, a run that goes on without its backbone would learn from nothing."""
    vit = replace(
        preset("vit-s"),
        optim=replace(tiny_config.optim, steps=2),
        image_size=64,
        pictures=0,
        precision="fp32",
        backbone=BackboneConfig(kind="vit", width=16, blocks=(1,), heads=2),
        decoder=DecoderConfig(kind="single", dim=8, heads=2, layers=1, width=16, hidden=16),
    )
    weights = build_regressor(vit, tokenizer).network.backbone.state_dict()
    save_backbone(tmp_path / "b.pt", weights, vit, {"imported_from": "vitpose.pth"})
    prepared = CliRunner().invoke(
        main, ["prepare", "synthetic", str(crops_file), "--out", str(tmp_path / "shards"), "--workers", "1"]
    )
    assert prepared.exit_code == 0, prepared.output

    def go(**options):
        store = open_crops(tmp_path / "shards")
        return train_regressor(store, tokenizer, tmp_path / "run", vit, open_body, options=RunOptions(**options))

    exported = load_state(go(backbone=tmp_path / "b.pt"))
    noted = exported["provenance"]["backbone"]
    assert noted["file"] == "b.pt" and noted["provenance"]["imported_from"] == "vitpose.pth"
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        checkpoint.unlink()
    with pytest.raises(UserError, match=r"another backbone; got none; expected b\.pt"):
        go(resume=True)
    assert same(load_state(go(backbone=tmp_path / "b.pt", resume=True)), exported)


def same(a, b):
    return all(torch.equal(value, b["network"][name]) for name, value in a["network"].items())
