"""Every command of stage 1 on a device that is not the CPU: the same results, and no tensor left behind."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from other_device import NAME, OtherDevice

from tokenizer.body.model import Body, _open_arrays, load_body
from tokenizer.body.open_body import open_body_arrays
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.commands.cli import main
from tokenizer.config import AugmentConfig, LossConfig, NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.config import to_dict
from tokenizer.mocap.store import PoseStoreWriter, open_store
from tokenizer.training.train import train_tokenizer

SMALL = TokenizerConfig(
    network=NetworkConfig(width=16, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4), groups=3, layers=2),
    optim=OptimConfig(steps=3, batch=16, lr=3e-3, warmup=2),
    precision="fp32",
    validate_every=2,
    checkpoint_every=2,
    augment=AugmentConfig(mirror=0.5, swap=0.5, noise_deg=5.0, noise_share=0.5, mask=0.3, mask_share=0.5),
    loss=LossConfig(vertices_weight=5.0, num_vertices=16, consistency_weight=1.0),
)
KINDS = {
    "layered": SMALL,
    "ema": replace(SMALL, quantizer=QuantizerConfig(kind="ema_vq", num_codes=16, groups=4, dim=8)),
}


@pytest.fixture
def elsewhere():
    return OtherDevice()


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    path = tmp_path_factory.mktemp("poses") / "poses.h5"
    draw = np.random.default_rng(0)
    with PoseStoreWriter(path, "test") as writer:
        for split, count in (("train", 64), ("val", 20)):
            writer.add(split, split, 0.3 * draw.normal(size=(count, 21, 3)), np.zeros(10), fps=30, licence="none")
    return path


@pytest.fixture(scope="module")
def run(poses, tmp_path_factory):
    """A finished run folder with its tokenizer."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train_tokenizer(open_store(poses), folder, replace(SMALL, device="cpu"), load_body())
    return folder


@pytest.fixture
def both(elsewhere, tmp_path):
    """Runs a command on the CPU and on the other device → the folder each wrote into, and what it said."""

    def call(*arguments):
        folders, said = [], []
        for device in ("cpu", NAME):
            folder = tmp_path / f"{len(list(tmp_path.iterdir()))}-{device}"
            folder.mkdir()
            given = [str(argument).replace("OUT", str(folder)) for argument in arguments]
            with elsewhere if device == NAME else nullcontext():
                done = CliRunner().invoke(main, [*given, "--device", device], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            folders.append(folder)
            said.append(done.output)
        assert elsewhere.uploads, "the work was done where it was asked for"
        return folders, said

    return call


def test_the_clip_commands(both, run, tmp_path):
    poses = np.zeros((12, 156), np.float32)
    poses[:, 3:66] = 0.2 * np.random.default_rng(1).normal(size=(12, 63))
    clip = tmp_path / "clip.npz"
    np.savez(clip, poses=poses, trans=np.zeros((12, 3)), betas=np.zeros(10), mocap_framerate=30.0, gender="neutral")
    (cpu, other), said = both("encode", run / "tokenizer.h5", clip, "--out", "OUT/t.npz")
    assert said[0].split(": ", 1)[1] == said[1].split(": ", 1)[1]
    tokens = [np.load(folder / "t.npz")["tokens"] for folder in (cpu, other)]
    assert np.array_equal(*tokens)
    for command, given in (("decode", (cpu / "t.npz",)), ("complete", (clip, "--hide", "left_arm"))):
        (ours, theirs), _ = both(command, run / "tokenizer.h5", *given, "--out", "OUT/c.npz")
        assert np.allclose(np.load(ours / "c.npz")["poses"], np.load(theirs / "c.npz")["poses"], atol=1e-4)


def test_evaluate(both, run, poses):
    folders, _ = both("evaluate", run / "tokenizer.h5", poses, "--json", "OUT/e.json")
    ours, theirs = (json.loads((folder / "e.json").read_text()) for folder in folders)
    assert ours == {
        key: pytest.approx(value, rel=1e-3) if isinstance(value, float) else value for key, value in theirs.items()
    }


def test_report(both, run, poses, monkeypatch):
    for module in ("poses", "meaning"):
        monkeypatch.setattr(f"tokenizer.report.{module}._FIGURE", (30, 26))
    folders, _ = both("report", run, "--poses", poses, "--out", "OUT/r.html")
    ours, theirs = ((folder / "r.html").read_text() for folder in folders)
    assert "data:image" in theirs and theirs.count("<section") == ours.count("<section")
    assert theirs.count('class="missing"') == ours.count('class="missing"')


@pytest.mark.parametrize("kind", KINDS)
def test_train(both, poses, tmp_path, kind):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({k: v for k, v in to_dict(KINDS[kind]).items() if k != "device"}))
    folders, _ = both("train", poses, "--run", "OUT/run", "--config", settings)
    ours, theirs = (
        [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()] for folder in folders
    )
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs, strict=True):
        assert a == {name: pytest.approx(value, rel=2e-2) for name, value in b.items()} | {"seconds": a["seconds"]}


def test_a_batch_is_the_same_wherever_it_is_drawn(elsewhere, poses):
    from tokenizer.training.mixture import Mixture, draw_batch

    store = open_store(poses)
    drawn = torch.from_numpy(store.poses("train"))
    ours = draw_batch(drawn, Mixture.of(store, ""), SMALL, 3)
    with elsewhere:
        theirs = draw_batch(drawn.to(elsewhere.device), Mixture.of(store, ""), SMALL, 3)
        for name in ("target", "inputs", "perturbed", "visible"):
            assert torch.allclose(getattr(ours, name).float(), getattr(theirs, name).float().cpu(), atol=1e-6), name


def test_a_licensed_mesh_waits_for_nothing(elsewhere):
    """Its library goes from joint to joint by their parents: numbers that lay on the device were read one by one."""
    arrays = _open_arrays(open_body_arrays(), "", 10)
    bends = 1e-3 * np.random.default_rng(0).normal(size=(len(arrays.v_template), 3, 9 * 23)).astype(np.float32)
    arrays = replace(arrays, posedirs=bends)
    pose = axis_angle_to_matrix(0.3 * torch.randn(2, 21, 3, generator=torch.Generator().manual_seed(0)))
    expected = Body("open", arrays).vertices(pose)
    with elsewhere:
        body, there = Body("open", arrays).to(elsewhere.device), pose.to(elsewhere.device)
        with elsewhere.counting():
            vertices = body.vertices(there)
        assert elsewhere.downloads == []
        assert torch.allclose(vertices.cpu(), expected, atol=1e-5)
