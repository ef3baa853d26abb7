"""Fine-tuning on COCO keypoints: the held-out 2D error falls, a kill costs nothing, bad input is one message."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from regressor.commands.cli import main
from regressor.config import preset
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.training import finetune as tuning
from regressor.training.finetune import Callbacks, FinetuneOptions, Photographs, finetune, finetune_config
from regressor.training.train import train_regressor
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state

FEW = FinetuneOptions(tals="none", steps=30, assignments=("optim.lr=3e-3",), device="cpu")


def test_a_killed_run_goes_on(tmp_path, photographs, start, tokenizer, open_body):
    def tune(run, resume=False, **callbacks):
        sources, callbacks = Photographs((photographs,)), Callbacks(**callbacks)
        return finetune(sources, start, tokenizer, open_body, tmp_path / run, FEW, resume=resume, callbacks=callbacks)

    class Stop(Exception):
        pass

    def stop(step, *_):
        if step == 10:
            raise Stop

    whole = tune("whole")
    with pytest.raises(Stop):
        tune("broken", training=stop)
    seen = []
    resumed = tune("broken", resume=True, preparing=lambda *done: seen.append(done))
    assert seen[-1][0] == seen[-1][1] and replace(resumed, regressor="") == replace(whole, regressor="")
    weights = [load_state(tmp_path / run / "regressor.pt")["network"] for run in ("whole", "broken")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    (tmp_path / "start.pt").write_bytes((tmp_path / "whole" / "regressor.pt").read_bytes())
    with pytest.raises(UserError, match="began with another regressor"):
        tune("broken", resume=True)


@pytest.mark.slow
def test_a_prepared_folder_serves_too(tmp_path, photographs, start, tokenizer, open_body):
    for share, says in ((0.3, None), (0.0, r"nobody in val.*Prepare it with --val-share")):
        folder = tmp_path / f"shards{share}"
        done = CliRunner().invoke(
            main,
            ["prepare", "coco", str(photographs), "--out", str(folder), "--workers", "1", "--val-share", str(share)],
        )
        assert done.exit_code == 0, done.output
        arguments = (
            Photographs((folder,)),
            start,
            tokenizer,
            open_body,
            tmp_path / f"run{share}",
            replace(FEW, steps=2),
        )
        if says is None:
            result = finetune(*arguments)
            assert Path(result.regressor).is_file() and not (tmp_path / f"run{share}" / "data").exists()
        else:
            with pytest.raises(UserError, match=says):
                finetune(*arguments)


def test_settings_have_reasons(tiny_config):
    vit = preset("vit-h")
    config = finetune_config(vit, 400, FinetuneOptions())
    assert config.optim.lr == 5e-6 and config.optim.steps == 500 and config.backbone.trainable == "none"
    assert config.loss.form == "published" and config.loss.tals.on and config.validate_every == 50
    assert finetune_config(preset("small"), 10, FinetuneOptions()).optim.lr == 1e-4
    steps = [finetune_config(vit, people, FinetuneOptions()).optim.steps for people in (1, 400, 10**6)]
    assert steps == [200, 500, 2000]
    own = finetune_config(vit, 30, FinetuneOptions("none", "3", 8, 2.0, ("optim.lr=1e-3", "optim.batch=4")))
    assert (own.optim.steps, own.optim.warmup, own.optim.budget_s, own.optim.lr) == (8, 2, 120, 1e-3)
    assert own.backbone.trainable == 3 and own.optim.batch == 4 and not own.loss.tals.on
    with pytest.raises(UserError, match="trainable"):
        finetune_config(vit, 30, FinetuneOptions(trainable="some"))


def changed(photographs, folder, change):
    """A copy of the annotation, ``change``d, beside the pictures of ``photographs``."""
    content = json.loads(photographs.read_text())
    change(content)
    (folder / "changed.json").write_text(json.dumps(content))
    return folder / "changed.json"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: [one.pop("keypoints") for one in c["annotations"]], "Nobody was found.*no keypoint is labelled"),
        (lambda c: [one.update(keypoints=[1.0] * 75) for one in c["annotations"]], "Nobody was found.*25 keypoints"),
        (lambda c: [one.update(file_name="gone.jpg") for one in c["images"]], "Nobody was found.*No image at"),
        (lambda c: c.update(images=c["images"][:1], annotations=c["annotations"][:1]), "nobody in val.*one photograph"),
        (lambda c: c.pop("annotations"), "no file of COCO keypoints"),
    ],
)
def test_bad_annotation_is_one_message(tmp_path, photographs, start, tokenizer, open_body, change, says):
    source = Photographs((changed(photographs, tmp_path, change),), photographs.parent)
    with pytest.raises(UserError, match=says):
        finetune(source, start, tokenizer, open_body, tmp_path / "run", FEW)
    assert not (tmp_path / "run").exists(), "nothing is left behind"


@pytest.mark.slow
def test_where_bodies_are_known_they_judge(tmp_path, crops_file, start, tokenizer, open_body):
    source = Photographs((crops_file,), data_format="synthetic", val_share=0.0)
    result = finetune(source, start, tokenizer, open_body, tmp_path / "run", replace(FEW, steps=4))
    assert result.judged == "mpjpe_mm" and (result.train, result.val) == (12, 5)
    assert result.better == (result.after["mpjpe_mm"] < result.before["mpjpe_mm"])


def test_several_processes_are_refused(tmp_path, photographs, start, tokenizer, open_body, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"one process.*train --start"):
        finetune(Photographs((photographs,)), start, tokenizer, open_body, tmp_path / "run", FEW)


def test_bad_options_are_one_message(tmp_path, photographs, start, tokenizer, open_body):
    def refused(says, photos=None, file=start, settings=FEW):
        with pytest.raises(UserError, match=says):
            finetune(
                photos or Photographs((photographs,)),
                file,
                tokenizer,
                open_body,
                tmp_path / "run",
                settings,
            )

    refused("no share", Photographs((photographs,), val_share=1.0))
    refused("Unknown format", Photographs((photographs,), data_format="cocoa"))
    refused("No file at", Photographs((tmp_path / "none.json",)))
    refused("No file at|No regressor at", file=tmp_path / "none.pt")
    refused("holds no thresholds|Cannot read", settings=replace(FEW, tals="none.json"))
    refused("nobody in val.*held out is nothing", Photographs((photographs,), val_share=0.0))
    reading = ReadOptions(None, "train", val_share=0.5)
    prepare_shards("coco", [photographs], tmp_path / "run" / "data", reading, StoreOptions())
    refused("holds other data.*another folder", Photographs((photographs, photographs)))


def test_other_data_are_mixed_into_training_alone(
    tmp_path, photographs, start, tokenizer, open_body, crops_file, monkeypatch
):
    trained, seen = [], []
    monkeypatch.setattr(
        tuning,
        "train_regressor",
        lambda crops, *rest, **options: (trained.append(crops), train_regressor(crops, *rest, **options))[1],
    )
    source = Photographs((photographs,), also=(f"{crops_file}=0.25",))
    result = finetune(
        source,
        start,
        tokenizer,
        open_body,
        tmp_path / "run",
        replace(FEW, steps=4),
        callbacks=Callbacks(note=seen.append),
    )
    (mixture,) = trained
    assert mixture.shares == pytest.approx({"data": 0.75, "crops": 0.25}) and mixture.count("train") > 12
    assert mixture.count("val") == result.val, "only photographs are held out"
    assert result.train + result.val == 12 and result.judged == "keypoints_2d_pct" and "mpjpe_mm" not in result.before
    assert any("75.0% data, 25.0% crops" in text for text in seen)
    kept = load_state(tmp_path / "run" / "regressor.pt")["provenance"]["crops_attributes"]
    assert kept["mixture"] == mixture.shares and set(kept["data_sets"]) == {"data", "crops"}
    with pytest.raises(UserError, match="other crops"):
        finetune(Photographs((photographs,)), start, tokenizer, open_body, tmp_path / "run", FEW, resume=True)
    shared = finetune_config(preset("vit-h"), 300, FinetuneOptions(), 0.75)
    assert shared.optim.steps == 500, "as many passes over the photographs as without the others"


@pytest.mark.parametrize(
    ("also", "says"),
    [
        (("{crops}",), "not of the form"),
        (("{crops}=1",), "leaves nothing"),
        (("{crops}=0.5", "{photos}=0.5"), "leaves nothing"),
        (("{crops}=-0.5",), "above 0"),
        (("none.h5=0.5",), "none.h5"),
        (("{crops}=0.2", "{crops}=0.3"), "twice"),
        (("{same}=0.2", "{crops}=0.3"), "one name.*crops"),
    ],
)
def test_what_cannot_be_mixed_in_is_told(tmp_path, photographs, start, tokenizer, open_body, crops_file, also, says):
    (tmp_path / "other").mkdir()
    shutil.copy(crops_file, tmp_path / "other" / "Crops.h5")
    names = {"crops": crops_file, "photos": photographs, "same": tmp_path / "other" / "Crops.h5"}
    source = Photographs((photographs,), also=tuple(text.format(**names) for text in also))
    with pytest.raises(UserError, match=says):
        finetune(source, start, tokenizer, open_body, tmp_path / "run", FEW)
    assert not (tmp_path / "run").exists()
