"""Training on two processes: the losses of one, one writer; and accumulated gradients, the same step in parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regressor import train as training
from regressor.config import AugmentConfig, BackboneConfig, DecoderConfig, HeadConfig, OptimConfig
from regressor.datasets.store import open_crops, write_crops
from regressor.train import train_regressor
from tokenizer.engine.errors import UserError
from tokenizer.engine.options import to_dict

ROOT = Path(__file__).resolve().parents[2]
LOSSES = ("orientation", "body_pose", "keypoints_2d", "betas", "token", "gradient_norm", "val_mpjpe_mm")
SCRIPT = """
import sys
from pathlib import Path
from regressor.config import RegressorConfig
from regressor.datasets.store import open_crops
from regressor.train import train_regressor
from tokenizer import load_body, load_tokenizer
from tokenizer.engine.distributed import process_group, rank
from tokenizer.engine.errors import CommonError
from tokenizer.engine.options import resolve

folder = Path(sys.argv[1])
store, body = open_crops(folder / "crops.h5"), load_body("open")
with process_group():
    for file in sorted(folder.glob("*.json")):
        config = resolve(RegressorConfig(), file=file)
        train_regressor(store, load_tokenizer(sys.argv[2]), folder / "two" / file.stem, config, body)
    try:
        train_regressor(store, load_tokenizer(sys.argv[2]), folder / "two" / file.stem, config, body)
    except CommonError as error:
        (folder / f"refused on {rank()}").write_text(str(error))
"""


def configs(tiny):
    tiny = replace(tiny, optim=OptimConfig(steps=20, batch=8, lr=1e-3, warmup=5), validate_every=10, device="cpu",
                   checkpoint_every=10, augment=AugmentConfig())  # fmt: skip
    vit = replace(
        tiny, image_size=64, backbone=BackboneConfig(kind="vit", width=16, blocks=(3,), heads=2, drop_path=0.5),
        decoder=DecoderConfig(kind="single", dim=16, layers=1, heads=2, width=16, hidden=16),
        head=HeadConfig(logits="mixer"),
    )  # fmt: skip
    return {"resnet": tiny, "vit": vit}


def make_crops(path, annotated_people, size):
    """Every third person's pose is not known, nor half of the shapes: the parts of a batch know different things."""
    with write_crops(path, size, {"train": 12, "val": 4}, {}) as writer:
        for seed, (split, count) in enumerate({"train": 12, "val": 4}.items()):
            people = annotated_people(count, size=size, seed=seed)
            if split == "train":
                people["has_body_pose"] = torch.arange(count) % 3 > 0
                people["has_betas"] = torch.arange(count) < 6
                people["keypoints_2d"][:5, ::2, 2] = 0
            writer.append(split, {name: values.numpy() for name, values in people.items()})
    return open_crops(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, annotated_people, tiny_config):
    found = {}
    for name, config in configs(tiny_config).items():
        folder = found[name] = tmp_path_factory.mktemp(name)
        make_crops(folder / "crops.h5", annotated_people, config.image_size)
        (folder / f"{name}.json").write_text(json.dumps(to_dict(config)))
    return found


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def records(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").open()]
    return [{name: value for name, value in line.items() if name.startswith(LOSSES)} for line in lines]


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_two_processes_have_the_losses_of_one(folders, tokenizer, tokenizer_file, tiny_config, open_body, name):
    folder = folders[name]
    (folder / "script.py").write_text(SCRIPT)
    done = torchrun(str(folder / "script.py"), str(folder), str(tokenizer_file))
    assert done.returncode == 0, done.stderr
    config = configs(tiny_config)[name]
    train_regressor(open_crops(folder / "crops.h5"), tokenizer, folder / "one", config, open_body)
    one, two = records(folder / "one"), records(folder / "two" / name)
    assert len(one) == len(two) == 3
    for ours, theirs in zip(one, two):
        assert ours == pytest.approx(theirs, rel=1e-5)
    texts = [(folder / f"refused on {number}").read_text() for number in (0, 1)]
    assert texts[0] == texts[1] and "already holds a run" in texts[0]


def test_torchrun_trains_from_the_command_line_and_speaks_once(folders, tokenizer_file):
    folder = folders["resnet"]
    done = torchrun("-m", "regressor", "train", str(folder / "crops.h5"), "--tokenizer", str(tokenizer_file),
                    "--run-folder", str(folder / "cli"), "--config", str(folder / "resnet.json"), "--set",
                    "optim.steps=2", "--export", "last", "--best-by", "pa_mpjpe_mm")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Training a regressor") == done.stdout.count("Wrote") == 1
    assert "images/s" in done.stdout
    assert json.loads((folder / "cli" / "config.json").read_text())["regressor"]["best_by"] == "pa_mpjpe_mm"


def test_accumulated_gradients_are_those_of_the_whole_batch(folders, tokenizer, tiny_config, open_body):
    """Drop path, masks and unequal knowledge in the parts included; batch norm is not, hence the ViT."""
    folder, config = folders["vit"], configs(tiny_config)["vit"]
    seen = {}
    for parts in (1, 4):
        seen[parts] = []
        train_regressor(
            open_crops(folder / "crops.h5"), tokenizer, folder / f"accumulate {parts}",
            replace(config, optim=replace(config.optim, steps=6, accumulate=parts)), open_body,
            progress=lambda step, steps, figures, parts=parts: seen[parts].append(figures),
        )  # fmt: skip
    for ours, theirs in zip(seen[1], seen[4], strict=True):
        for name in ours.keys() - {"images_per_s", "data_wait"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5), name


def test_a_batch_that_cannot_be_shared_out_is_refused(folders, tokenizer, tiny_config, open_body, monkeypatch):
    folder, config = folders["resnet"], configs(tiny_config)["resnet"]
    monkeypatch.setattr(training, "world_size", lambda: 3)
    with pytest.raises(UserError, match="8 images for 3 processes"):
        train_regressor(open_crops(folder / "crops.h5"), tokenizer, folder / "uneven", config, open_body)
    assert not (folder / "uneven").exists()
