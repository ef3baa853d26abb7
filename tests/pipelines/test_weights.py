"""What ships is made by a chain of commands: from mocap or without, again only where something changed."""

from __future__ import annotations

from itertools import pairwise

import h5py
import pytest
import torch
from click.testing import CliRunner
from mocap_folders import save_clip

from pipelines.weights import PRESETS, Sizes, make_weights, weights_stages
from regressor import load_regressor
from tokenizer import load_tokenizer
from tokenizer.commands.cli import main
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state
from tokenizer.evaluation.describe import describe
from tokenizer.mocap.store import open_store


def test_stages_from_mocap_and_without(tmp_path):
    with_mocap, without = (weights_stages(tmp_path / "r", mocap, tmp_path / "a") for mocap in ("../amass", ""))
    assert [stage.name for stage in with_mocap] == [
        "poses",
        "tokenizer",
        "figures",
        "vocabulary",
        "regressor",
        "keypoints",
    ]
    assert with_mocap[0].commands[0][:3] == ("pose-tokenizer", "prepare", "../amass")
    assert "--test-share" in with_mocap[0].commands[0] and with_mocap[0].given
    assert without[0].commands[0][1] == "sample" and "--test-share" not in without[0].commands[0]
    for earlier, later in pairwise(with_mocap):
        assert earlier.makes in later.needs
    with pytest.raises(UserError, match="Unknown preset 'ful'"):
        weights_stages(tmp_path, "", tmp_path, "ful")


def test_the_file_that_ships_holds_its_card_terms_and_figures(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "smoke", Sizes(0.002, 4))
    for seed in range(14):
        save_clip(tmp_path / "mocap" / ("val" if seed < 2 else "train") / f"{seed}_poses.npz", frames=40, seed=seed)
    arguments = (tmp_path / "runs", str(tmp_path / "mocap"), tmp_path / "assets")
    said: list[str] = []
    made = make_weights(*arguments, said.append, preset="smoke", until="vocabulary")
    assert made == tmp_path / "assets" / "vocabulary.h5"
    with h5py.File(made) as file:
        assert file["encoder/trunk.0.weight"].dtype == "f2" and file.attrs["format_version"] == 2
    frozen = load_tokenizer(made)
    store = open_store(tmp_path / "runs" / "poses.h5")
    about = frozen.provenance
    assert about["poses_digest"] == store.digest and "EIA-0196217" in about["card"] and "resold" in about["card"]
    assert about["weights"] == "last, step 4" and frozen.config.augment.turn_share == 0.5
    figures = about["figures"]
    assert figures["poses_digest"] == store.digest and figures["split"] == "val"
    for name in ("mpjpe_mm", "turned_mpjpe_mm", "hidden_limb_deg", "hidden_limb_neighbour_deg"):
        assert figures[name] > 0
    text = describe(made)
    assert about["card"].rstrip() in text and f"turned_mpjpe_mm              {figures['turned_mpjpe_mm']:.4g}" in text
    (tmp_path / "cut.json").write_text('{"mpjpe_mm": ')
    wrong = ["export", tmp_path / "runs" / "tokenizer", "--out", tmp_path / "t.h5", "--figures", tmp_path / "cut.json"]
    refused = CliRunner().invoke(main, [*map(str, wrong)])
    assert refused.exit_code == 2 and "error: Cannot read" in refused.output and not (tmp_path / "t.h5").exists()
    packed = make_weights(*arguments, said.append, preset="smoke")
    assert packed == tmp_path / "assets" / "keypoints.pt"
    regressor = load_regressor(packed, tokenizer=made)
    assert regressor.provenance["crops_attributes"]["poses"] == store.digest
    assert "EIA-0196217" in regressor.provenance["card"] and "No photograph" in regressor.provenance["card"]
    assert next(iter(load_state(packed)["network"].values())).dtype == torch.float16
    said.clear()
    make_weights(*arguments, said.append, preset="smoke")
    assert [line.split(" is ")[1] for line in said] == ["up to date"] * 6


def test_a_folder_without_motion_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no motion to learn from"):
        make_weights(tmp_path / "runs", str(tmp_path / "empty"), tmp_path / "assets", print)
    assert not (tmp_path / "runs").exists() and not (tmp_path / "assets").exists()
