"""Training on two processes: the losses of one, one writer; and accumulated gradients, the same step in parts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regressor.config import AugmentConfig, BackboneConfig, DecoderConfig, HeadConfig, OptimConfig
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.crop_store import write_crops
from regressor.datasets.mixtures import Mixture
from regressor.training import train as training
from regressor.training.train import train_regressor
from tokenizer.engine import distributed
from tokenizer.engine.config import resolve, to_dict
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state
from tokenizer.engine.training.run import RunOptions

ROOT = Path(__file__).resolve().parents[3]
LOSSES = ("orientation", "body_pose", "keypoints_2d", "betas", "token", "gradient_norm", "val_mpjpe_mm")
VARIANTS = {
    "no 2D": ("resnet", ["loss.keypoints_2d_weight=0", "loss.soft_argmax_weight=0"]),
    "no tokens": ("resnet", ["loss.token_weight=0", "loss.soft_argmax_weight=0"]),
    "frozen": (
        "vit",
        ["loss.token_weight=0", "backbone.trainable=1", "backbone.gradient_checkpointing=true", "optim.accumulate=2"],
    ),
}
"""Runs with parameters that get no gradient: the camera head of the first, the frozen blocks of the last."""
SCRIPT = """
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from regressor.training import train as training
from regressor.commands.cli import main
from regressor.config import RegressorConfig
from regressor.datasets.crop_dataset import open_crops
from tokenizer import load_body, load_tokenizer
from tokenizer.engine.distributed import data_parallel, from_rank_0, process_group, rank
from tokenizer.engine.errors import CommonError
from tokenizer.engine.config import resolve
from tokenizer.engine.training import train_state
from tokenizer.engine.training.run import RunOptions
from tokenizer.engine.training.scaling import LossScale

folder, variants = Path(sys.argv[1]), json.loads(sys.argv[3])
stores = {name: open_crops(folder / f"{name}.h5") for name in ("resnet", "vit")}
configs = {name: resolve(RegressorConfig(), file=folder / f"{name}.json") for name in stores}
body, vocabulary = load_body("open"), load_tokenizer(sys.argv[2])
command = ["train", str(folder / "resnet.h5"), "--tokenizer", sys.argv[2], "--config", str(folder / "resnet.json")]

def train(name, run, *assignments, **options):
    config = resolve(configs[name], assignments=assignments)
    run, options = folder / "two" / run, RunOptions(**options)
    training.train_regressor(stores[name], vocabulary, run, config, body, options=options)

def from_half_way():
    shutil.copytree(folder / "two" / "vit", folder / "two" / "resumed")
    (folder / "two" / "resumed" / "checkpoints" / "step_000000020.pt").unlink()

def with_an_overflow(module):
    if rank() == 1:
        count = iter(range(100))
        next(module.parameters()).register_hook(lambda gradient: gradient / (next(count) != 2))
    return data_parallel(module)

class Watched(LossScale):
    seen = []

    def step(self, optimizer, norm):
        done = super().step(optimizer, norm)
        weights = [float(weight.double().sum()) for group in optimizer.param_groups for weight in group["params"]]
        self.seen.append([done, self.figures()["loss_scale"], sum(weights)])
        return done

with process_group():
    for name in stores:
        train(name, name)
    try:
        train("vit", "vit")
    except CommonError as error:
        (folder / f"refused on {rank()}").write_text(str(error))
    from_rank_0(from_half_way)
    train("vit", "resumed", resume=True)
    for run, (name, assignments) in variants.items():
        train(name, run, "optim.steps=3", *assignments)
    train("resnet", "a budget", "optim.budget_s=1.0")
    training.data_parallel, train_state.LossScale = with_an_overflow, Watched
    train("vit", "overflow", "optim.steps=5", "precision=fp16")
    (folder / f"overflow on {rank()}").write_text(json.dumps(Watched.seen))
    training.data_parallel, train_state.LossScale = data_parallel, LossScale

    main([*command, "--run-folder", str(folder / "cli"), "--set", "optim.steps=2", "--export", "last",
          "--best-by", "pa_mpjpe_mm"], standalone_mode=False)
    codes = []
    torch.cuda.device_count, torch.cuda.set_device = lambda: 1, lambda number: None
    for arguments in (["optim.batch=7"], ["optim.steps=1", "--device", "cuda:99"], ["backbone.trainable=99"], []):
        if not arguments:
            arguments, training.resolve_device = ["seed=1"], lambda name: torch.device("cuda")
        try:
            place = str(folder / f"failing {len(codes)}")
            main([*command, "--run-folder", place, "--set", *arguments], standalone_mode=False)
        except SystemExit as end:
            codes.append(end.code)
    (folder / f"codes on {rank()}").write_text(json.dumps(codes))
"""


def configs(tiny):
    tiny = replace(
        tiny,
        optim=OptimConfig(steps=20, batch=8, lr=1e-3, warmup=5),
        validate_every=10,
        device="cpu",
        checkpoint_every=10,
        augment=AugmentConfig(),
    )
    vit = replace(
        tiny,
        image_size=64,
        backbone=BackboneConfig(kind="vit", width=16, blocks=(3,), heads=2, drop_path=0.5),
        decoder=DecoderConfig(kind="single", dim=16, layers=1, heads=2, width=16, hidden=16),
        head=HeadConfig(logits="mixer"),
    )
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
def folder(tmp_path_factory, annotated_people, tiny_config):
    """Crops and settings by name; runs of two processes go into ``two``."""
    folder = tmp_path_factory.mktemp("distributed")
    for name, config in configs(tiny_config).items():
        make_crops(folder / f"{name}.h5", annotated_people, config.image_size)
        (folder / f"{name}.json").write_text(json.dumps(to_dict(config)))
    return folder


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.fixture(scope="module")
def launched(folder, tokenizer_file):
    """All that two processes do, in one launch."""
    (folder / "script.py").write_text(SCRIPT)
    done = torchrun(str(folder / "script.py"), str(folder), str(tokenizer_file), json.dumps(VARIANTS))
    assert done.returncode == 0, done.stderr
    return done


def records(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").open()]
    return [{name: value for name, value in line.items() if name.startswith(LOSSES)} for line in lines]


def both(folder, name):
    """What the two processes left."""
    return [(folder / f"{name} on {number}").read_text() for number in (0, 1)]


def check_equal(folder, run, count):
    one, two = records(folder / "one" / run), records(folder / "two" / run)
    assert len(one) == len(two) == count
    for ours, theirs in zip(one, two):
        # Losses agree to 1e-5; what 20 steps leave of rounding in the weights, validation shows a little larger.
        assert ours == pytest.approx(theirs, rel=5e-5 if "val_mpjpe_mm" in ours else 1e-5)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_two_processes_have_the_losses_of_one(folder, launched, tokenizer, tiny_config, open_body, name):
    config = configs(tiny_config)[name]
    train_regressor(open_crops(folder / f"{name}.h5"), tokenizer, folder / "one" / name, config, open_body)
    check_equal(folder, name, 3)


def test_two_processes_under_a_time_budget_have_the_losses_of_one_that_decides_the_same(
    folder, launched, tokenizer, tiny_config, open_body
):
    one, two = folder / "one" / "a budget", folder / "two" / "a budget"
    one.mkdir(parents=True)
    for name in ("config.json", "decisions.jsonl"):
        shutil.copy(two / name, one)
    made = (two / "decisions.jsonl").read_text()
    config = configs(tiny_config)["resnet"]
    train_regressor(
        open_crops(folder / "resnet.h5"), tokenizer, one, config, open_body, options=RunOptions(resume=True)
    )
    assert made and (one / "decisions.jsonl").read_text() == made
    check_equal(folder, "a budget", len(records(two)))


@pytest.mark.parametrize("run", VARIANTS)
def test_parameters_without_gradient_stay_where_they_are(folder, launched, tokenizer, tiny_config, open_body, run):
    name, assignments = VARIANTS[run]
    config = resolve(configs(tiny_config)[name], assignments=["optim.steps=3", *assignments])
    train_regressor(open_crops(folder / f"{name}.h5"), tokenizer, folder / "one" / run, config, open_body)
    check_equal(folder, run, 2)
    one, two = (load_state(folder / number / run / "checkpoints" / "step_000000003.pt") for number in ("one", "two"))
    same = {name for name, value in one["network"].items() if torch.equal(value, two["network"][name])}
    still = {"no 2D": "camera.weight", "no tokens": "mean_camera", "frozen": "backbone.blocks.1.qkv.weight"}[run]
    assert still in same and "orientation.weight" not in same


def test_a_resumed_run_of_two_processes_ends_the_same(folder, launched):
    """Every process goes on with the weights and the optimizer of the checkpoint that the first has read."""
    whole, resumed = (
        load_state(folder / "two" / run / "checkpoints" / "step_000000020.pt") for run in ("vit", "resumed")
    )
    for part in ("network", "average"):
        assert all(torch.equal(value, resumed[part][name]) for name, value in whole[part].items())
    assert records(folder / "two" / "vit") == records(folder / "two" / "resumed")


def test_all_processes_skip_the_step_that_overflows_on_one(folder, launched):
    texts = both(folder, "overflow")
    assert texts[0] == texts[1]
    steps = json.loads(texts[0])
    assert [done for done, _, _ in steps] == [True, True, False, True, True]
    assert [factor / steps[0][1] for _, factor, _ in steps] == [1, 1, 0.5, 0.5, 0.5]
    assert steps[1][2] == steps[2][2] != steps[3][2]
    last = json.loads((folder / "two" / "overflow" / "metrics.jsonl").read_text().splitlines()[0])
    assert last["step"] == 5 and last["skipped_steps"] == 1


def test_the_command_line_speaks_once(folder, launched):
    assert launched.stdout.count("Training a regressor on") == 5
    assert launched.stdout.count("Wrote") == 1 and "images/s" in launched.stdout
    assert json.loads((folder / "cli" / "config.json").read_text())["regressor"]["best_by"] == "pa_mpjpe_mm"
    texts = both(folder, "refused")
    assert texts[0] == texts[1] and "already holds a run" in texts[0]
    for says in (
        "7 images for 2 processes",
        "'cuda:99' cannot be used",
        "no such last blocks; got backbone",
        "more processes than GPUs; got local rank 1",
    ):
        assert launched.stderr.count(says) == 1
    assert [json.loads(text) for text in both(folder, "codes")] == [[2, 2, 2, 2]] * 2


def test_torchrun_leaves_our_options_to_us():
    done = torchrun("-m", "regressor", "train", "crops.h5", "--run-folder", "run", "--tokenizer", "t.h5", "--help")
    assert done.returncode == 0 and done.stdout.count("Train a regressor on CROPS") == 2, done.stderr


def test_accumulated_gradients_are_those_of_the_whole_batch(folder, tokenizer, tiny_config, open_body):
    """Drop path, masks and unequal knowledge in the parts included; batch norm is not, hence the ViT."""
    config = configs(tiny_config)["vit"]
    seen = {}
    for parts in (1, 4):
        seen[parts] = []
        train_regressor(
            open_crops(folder / "vit.h5"),
            tokenizer,
            folder / f"accumulate {parts}",
            replace(config, optim=replace(config.optim, steps=6, accumulate=parts)),
            open_body,
            progress=lambda step, steps, figures, parts=parts: seen[parts].append(figures),
        )
    for ours, theirs in zip(seen[1], seen[4], strict=True):
        for name in ours.keys() - {"images_per_s", "data_wait"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5), name


def test_a_batch_that_cannot_be_divided_is_refused(folder, tokenizer, tiny_config, open_body, monkeypatch):
    config = configs(tiny_config)["resnet"]
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match="8 images for 3 processes"):
        crops = Mixture.of(open_crops(folder / "resnet.h5"))
        training._open_run(folder / "uneven", config, crops, tokenizer, open_body, RunOptions())
    assert not (folder / "uneven").exists()
