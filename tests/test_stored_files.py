"""Files written by an earlier version still open, and its interrupted trainings resume; see tests/stored/README.md."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

ARCHIVE = Path(__file__).parent / "stored" / "before_house.tar.xz"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            if member.isfile():
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    return folder


def test_an_old_tokenizer_encodes_and_decodes(stored):
    from tokenizer import load_tokenizer

    tokenizer = load_tokenizer(stored / "tokenizer.h5")
    ids = tokenizer.encode(torch.eye(3).expand(21, 3, 3))
    assert ids.shape == (tokenizer.num_tokens,)
    assert tokenizer.decode(ids).shape == (21, 3, 3)


def test_an_old_pose_store_opens(stored):
    from tokenizer.mocap.store import open_store

    assert open_store(stored / "poses.h5").poses("train").shape[1:] == (21, 3)


def test_an_old_regressor_opens_with_its_renamed_settings(stored):
    from regressor import load_regressor

    regressor = load_regressor(stored / "regressor.pt", tokenizer=stored / "tokenizer.h5")
    assert regressor.config.image_size == 32
    assert regressor.config.data.shuffle_buffer == 4
    assert regressor.config.data.rank_partitions == 2


@pytest.mark.parametrize("name", ["crops.h5", "shards"])
def test_old_crops_open(stored, name):
    from regressor.datasets.crop_dataset import open_crops

    crops = open_crops(stored / name)
    assert {split: crops.count(split) for split in ("train", "val", "test")} == {"train": 4, "val": 2, "test": 2}
    sample = crops.sample(np.arange(2), "test")
    assert sample["image"].shape[:2] == (2, 3)


def test_an_old_result_is_compared(stored):
    from regressor.evaluation.compare import compare_files

    result = stored / "evaluation.json"
    comparison = compare_files(result, result)
    assert comparison.samples == 2
    assert comparison.tests["mpjpe_mm"].difference == 0


@pytest.mark.parametrize("stage", ["tokenizer", "regressor"])
def test_an_old_training_resumes(stored, tmp_path, stage):
    import regressor.commands.cli
    import tokenizer.commands.cli

    run = tmp_path / stage
    shutil.copytree(stored / stage, run)
    common = ["--run", str(run), "--resume", "--device", "cpu"]
    # The settings that the run was started with; old names of the two renamed ones among them.
    settings = json.loads((run / "config.json").read_text())[stage]
    config = tmp_path / "settings.json"
    config.write_text(json.dumps(settings))
    if stage == "tokenizer":
        program, data = tokenizer.commands.cli.main, [str(stored / "poses.h5")]
    else:
        program = regressor.commands.cli.main
        data = [str(stored / "crops.h5"), "--tokenizer", str(stored / "tokenizer.h5")]
    result = CliRunner().invoke(program, ["train", *data, *common, "--config", str(config)])
    assert result.exit_code == 0, result.output
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 4
    assert list((run / "checkpoints").glob("step_*4.pt"))
