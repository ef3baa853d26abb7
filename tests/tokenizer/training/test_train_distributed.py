"""Training on two processes: the weights of one, one writer, and an end for all when one dies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokenizer.artifact import Artifact, read_artifact
from tokenizer.config import AugmentConfig, LossConfig, NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine import distributed
from tokenizer.engine.config import to_dict
from tokenizer.engine.errors import UserError
from tokenizer.engine.training.run import RunOptions
from tokenizer.mocap.store import PoseStoreWriter, open_store
from tokenizer.training import train
from tokenizer.training.train import train_tokenizer

ROOT = Path(__file__).resolve().parents[3]
SMALL = TokenizerConfig(
    network=NetworkConfig(width=32, blocks=1),
    loss=LossConfig(vertices_weight=1.0, num_vertices=8),
    augment=AugmentConfig(swap=0.5, noise_deg=3, mask=0.3),
    optim=OptimConfig(steps=30, batch=16, lr=1e-3, warmup=20),
    device="cpu",
    precision="fp32",
    validate_every=15,
    checkpoint_every=10,
)
RUNS = {
    "fsq": replace(SMALL, quantizer=QuantizerConfig(levels=(4, 4), groups=4, layers=2)),
    "ema_vq": replace(SMALL, quantizer=QuantizerConfig(kind="ema_vq", num_tokens=4, num_codes=24, dim=4, decay=0.9)),
    "more codes than latents": replace(
        SMALL, quantizer=QuantizerConfig(kind="ema_vq", num_tokens=2, num_codes=48, dim=4, decay=0.9)
    ),
}
UNDER_BUDGET = replace(RUNS["fsq"], optim=replace(SMALL.optim, steps=40, budget_s=1.0))
SCRIPT = """
import os
import shutil
import sys
from pathlib import Path

import torch
from tokenizer.body.model import load_body
from tokenizer.config import TokenizerConfig
from tokenizer.engine.distributed import broadcast_tensors, from_rank_0, process_group, rank
from tokenizer.engine.errors import CommonError
from tokenizer.engine.config import resolve
from tokenizer.engine.training.run import RunOptions
from tokenizer.mocap.store import open_store
from tokenizer.training.train import train_tokenizer

folder = Path(sys.argv[1])
store, body = open_store(folder / "poses.h5"), load_body("open")

def from_the_middle():
    shutil.copytree(folder / "two" / "ema_vq", folder / "two" / "again")
    (folder / "two" / "again" / "checkpoints" / "step_000000030.pt").unlink()

def any_state():
    grid = torch.arange(600).view(20, 30)
    return {"few": torch.arange(3), "many": [grid.T.bfloat16(), (grid % 3 == 0, 7)], "none": None, "left": grid}

with process_group():
    skeleton = from_rank_0(any_state)
    sent = {name: skeleton[name] for name in ("few", "many", "none")}
    sent = broadcast_tensors(sent, torch.device("cpu"))
    devices = [skeleton["few"].device.type, skeleton["many"][0].device.type, skeleton["left"].device.type]
    torch.save({**sent, "devices": devices}, folder / f"sent on {rank()}")
    for file in sorted(folder.glob("*.json")):
        train_tokenizer(store, folder / "two" / file.stem, resolve(TokenizerConfig(), file=file), body)
    from_rank_0(from_the_middle)
    train_tokenizer(store, folder / "two" / "again", TokenizerConfig(), body, options=RunOptions(resume=True))
    config = resolve(TokenizerConfig(), file=file)
    wild = resolve(config, assignments=["optim.lr=1e30", "optim.warmup=0", "optim.clip=0"])
    for name, settings in ((file.stem, config), ("wild", wild)):
        try:
            train_tokenizer(store, folder / "two" / name, settings, body)
        except CommonError as error:
            (folder / f"{name} refused on {rank()}").write_text(str(error))
    if rank() == 1:
        os._exit(7)
    train_tokenizer(store, folder / "two" / "alone", config, body)
    (folder / "not reached").touch()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pose store and one file of settings a run; runs of two processes go into ``two``."""
    folder = tmp_path_factory.mktemp("distributed")
    draw = np.random.default_rng(0)
    with PoseStoreWriter(folder / "poses.h5", "test") as writer:
        for split, count in (("train", 500), ("val", 100)):
            poses = 0.3 * draw.normal(size=(count, 21, 3))
            writer.add(split, split, poses, np.zeros(10), fps=30, licence="none")
    for name, config in {**RUNS, "a budget": UNDER_BUDGET}.items():
        (folder / f"{name}.json").write_text(json.dumps(to_dict(config)))
    return folder


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.fixture(scope="module")
def launched(folder):
    (folder / "script.py").write_text(SCRIPT)
    began = time.monotonic()
    done = torchrun(str(folder / "script.py"), str(folder))
    return done, time.monotonic() - began


def check_equal(one: Artifact, two: Artifact) -> None:
    for (key, ours), theirs in zip(one.tokenizer.state_dict().items(), two.tokenizer.state_dict().values()):
        assert float((ours.double() - theirs.double()).norm()) <= 1e-5 * float(ours.double().norm()), key


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_with_half_the_batch_each_give_the_weights_of_one(folder, launched, open_body, name):
    one = read_artifact(train_tokenizer(open_store(folder / "poses.h5"), folder / "one" / name, RUNS[name], open_body))
    two = read_artifact(folder / "two" / name / "tokenizer.h5")
    check_equal(one, two)
    records = [[json.loads(line) for line in (folder / n / name / "metrics.jsonl").open()] for n in ("one", "two")]
    assert [list(record) for record in records[0]] == [list(record) for record in records[1]]
    for ours, theirs in zip(*records):
        assert {**ours, "seconds": 0} == pytest.approx({**theirs, "seconds": 0}, rel=1e-4)


def test_two_processes_under_a_time_budget_give_the_weights_of_one_that_decides_the_same(folder, launched, open_body):
    one, two = folder / "one" / "a budget", folder / "two" / "a budget"
    one.mkdir(parents=True)
    for name in ("config.json", "decisions.jsonl"):
        shutil.copy(two / name, one)
    made = (two / "decisions.jsonl").read_text()
    artifact = train_tokenizer(open_store(folder / "poses.h5"), one, SMALL, open_body, options=RunOptions(resume=True))
    check_equal(read_artifact(artifact), read_artifact(two / "tokenizer.h5"))
    assert made and (one / "decisions.jsonl").read_text() == made


@pytest.mark.parametrize(
    ("name", "says"), [(max(RUNS), "already holds a run"), ("wild", "Non-finite loss or gradient")]
)
def test_all_processes_stop_together(folder, launched, name, says):
    texts = [(folder / f"{name} refused on {number}").read_text() for number in (0, 1)]
    assert texts[0] == texts[1] and says in texts[0]


def test_the_whole_batch_is_saved_when_a_number_is_none(folder, launched):
    saved = torch.load(folder / "two" / "wild" / "nan_batch.pt", weights_only=True)
    assert saved["poses"].shape == (16, 21, 3)


def test_a_run_of_two_processes_resumes_in_one(folder, launched, open_body):
    store = open_store(folder / "poses.h5")
    shutil.copytree(folder / "two" / "fsq", folder / "resumed")
    (folder / "resumed" / "checkpoints" / "step_000000030.pt").unlink()
    resumed = read_artifact(
        train_tokenizer(store, folder / "resumed", SMALL, open_body, options=RunOptions(resume=True))
    )
    check_equal(resumed, read_artifact(folder / "two" / "fsq" / "tokenizer.h5"))


def test_a_state_travels_without_its_large_tensors_and_these_when_asked_for(folder, launched):
    grid = torch.arange(600).view(20, 30)
    for number, elsewhere in ((0, "cpu"), (1, "meta")):
        got = torch.load(folder / f"sent on {number}", weights_only=True)
        assert got["devices"] == ["cpu", elsewhere, elsewhere] and got["none"] is None
        transposed, (thirds, seven) = got["many"]
        assert torch.equal(got["few"], torch.arange(3)) and torch.equal(transposed, grid.T.bfloat16())
        assert torch.equal(thirds, grid % 3 == 0) and seven == 7


def test_a_run_of_two_processes_resumes_in_two(folder, launched):
    """Codebook statistics, weights and optimizer of the checkpoint reach the second process, too."""
    whole, resumed = (read_artifact(folder / "two" / run / "tokenizer.h5") for run in ("ema_vq", "again"))
    assert whole.digest == resumed.digest


def test_one_dead_process_ends_all(folder, launched):
    done, seconds = launched
    assert done.returncode != 0 and "exitcode  : 7" in done.stderr and seconds < 290
    assert not (folder / "two" / "alone" / "tokenizer.h5").exists() and not (folder / "not reached").exists()


def test_torchrun_trains_from_the_command_line_and_speaks_once(folder):
    arguments = ["-m", "tokenizer", "train", str(folder / "poses.h5"), "--run-folder", str(folder / "cli")]
    arguments += ["--config", str(folder / "fsq.json"), "--set", "optim.steps=4", "--set", "checkpoint_every=2"]
    done = torchrun(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Training a tokenizer") == done.stdout.count("Wrote") == 1


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_is_made(folder, open_body, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match="16 poses for 3 processes"):
        train._open_run(folder / "uneven", SMALL, open_store(folder / "poses.h5"), RunOptions())
    assert not (folder / "uneven").exists()


def test_without_torchrun_everything_is_the_identity(monkeypatch):
    rows = torch.arange(6.0).view(3, 2)
    with distributed.process_group():
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert torch.equal(distributed.mean_over_ranks(rows), rows)
        assert torch.equal(distributed.rows_over_ranks(rows, torch.tensor([2, 0, 2])), rows[[2, 0, 2]])
        assert distributed.from_rank_0(max, 1, 2) == distributed.run_on_all_ranks(max, 1, 2) == 2
        assert distributed.broadcast_tensors(rows, torch.device("cpu")) is rows


def test_each_process_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    assert distributed.own_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.own_device(torch.device("cuda")) == torch.device("cuda:1")
    with pytest.raises(UserError, match="Several processes"):
        distributed.own_device(torch.device("cuda:0"))
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="more processes than GPUs"):
        distributed.own_device(torch.device("cuda"))
