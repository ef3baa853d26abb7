"""Best and last weights, bf16, compilation, TensorBoard, and the batch of a run that stops."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from regressor.config import RegressorConfig
from tokenizer.artifact import read_artifact
from tokenizer.config import AugmentConfig, NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.config import resolve
from tokenizer.engine.errors import UserError
from tokenizer.engine.training import compilation, run, train_state
from tokenizer.engine.training.checkpoint import load_latest
from tokenizer.engine.training.run import RunOptions
from tokenizer.engine.training.scaling import LossScale
from tokenizer.evaluation.describe import describe
from tokenizer.network.model import build_tokenizer
from tokenizer.training import train
from tokenizer.training.mixture import Mixture, draw_batch
from tokenizer.training.train import export_run, train_tokenizer

SMALL = TokenizerConfig(
    network=NetworkConfig(width=16, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4), groups=4, layers=2),
    optim=OptimConfig(steps=12, batch=16, warmup=4),
    device="cpu",
    precision="fp32",
    validate_every=2,
    checkpoint_every=3,
)
VQ = replace(SMALL, quantizer=QuantizerConfig(kind="ema_vq", num_tokens=4, num_codes=16, dim=4))


@pytest.fixture
def scripted(monkeypatch):
    """Validations that say what the test wants: the error is lowest at the third, step 6. Counts them."""
    errors = {2: 9.0, 4: 8.0, 6: 3.0, 8: 5.0, 10: 3.0, 12: 4.0}
    seen = []

    def evaluate(tokenizer, poses, body):
        seen.append({name: value.clone() for name, value in tokenizer.state_dict().items()})
        return {"mpjpe_mm": errors[2 * len(seen)]}

    monkeypatch.setattr(train, "evaluate_tokenizer", evaluate)
    return seen


def weights_of(path):
    tokenizer = read_artifact(path).tokenizer
    return {name: value for name, value in tokenizer.state_dict().items() if name.startswith(("encoder", "decoder"))}


def same(ours, theirs):
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("config", [SMALL, VQ], ids=["fsq", "ema_vq"])
def test_best_and_last_are_kept_and_exported(store, tmp_path, open_body, scripted, config):
    best = train_tokenizer(store, tmp_path / "run", config, open_body)
    last = export_run(tmp_path / "run", tmp_path / "last.h5", "last")
    assert len(scripted) == 6
    assert same(weights_of(best), scripted[2]) and same(weights_of(last), scripted[5])
    assert not same(weights_of(best), scripted[5])
    assert torch.equal(read_artifact(best).tokenizer.quantizer.codebook, scripted[2]["quantizer.codebook"])
    assert [read_artifact(path).provenance["metrics"] for path in (best, last)] == [{"mpjpe_mm": 3}, {"mpjpe_mm": 4}]
    assert "best, step 6" in describe(best) and "last, step 12" in describe(last)


@pytest.mark.parametrize("cut", [5, 7, 11])
def test_the_best_weights_survive_an_interruption(store, tmp_path, open_body, cut):
    """Cut before, just after and long after validations; the checkpoint knows no best that came after it."""
    config = replace(SMALL, optim=replace(SMALL.optim, lr=0.05))
    whole = train_tokenizer(store, tmp_path / "whole", config, open_body)

    def stop(step, steps, figures):
        if step == cut:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(store, tmp_path / "cut", config, open_body, progress=stop)
    again = train_tokenizer(store, tmp_path / "cut", config, open_body, options=RunOptions(resume=True))
    assert read_artifact(again).digest == read_artifact(whole).digest
    states = [load_latest(tmp_path / name / "checkpoints")["best"] for name in ("whole", "cut")]
    assert states[0]["step"] == states[1]["step"] and same(states[0]["average"], states[1]["average"])


def test_before_the_first_validation_there_is_only_the_last(store, tmp_path, open_body):
    def stop(step, steps, figures):
        raise KeyboardInterrupt

    config = replace(SMALL, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(store, tmp_path / "run", config, open_body, progress=stop)
    out = export_run(tmp_path / "run", tmp_path / "out.h5", "best")
    assert read_artifact(out).provenance["weights"] == "last, step 1" and not read_artifact(out).provenance["metrics"]


def test_a_finished_run_can_be_exported_again(store, tmp_path, open_body):
    first = read_artifact(
        train_tokenizer(store, tmp_path / "run", SMALL, open_body, options=RunOptions(export="last"))
    ).digest
    again = train_tokenizer(store, tmp_path / "run", SMALL, open_body, options=RunOptions(resume=True, export="last"))
    assert read_artifact(again).digest == first


def test_bf16_runs_the_networks_alone(store, tmp_path, open_body):
    """The codebook sees fp32: with ids from bf16 distances, nearest codes would not be the nearest."""
    model = build_tokenizer(VQ.network, VQ.quantizer)
    batch = draw_batch(torch.from_numpy(store.poses("train")), Mixture.of(store, ""), VQ, 0)
    with torch.autocast("cpu", torch.bfloat16):
        model(batch.inputs, None, batch.generator)
        model.eval()
        output = model(batch.inputs)
    flat = output.latents.detach().float().flatten(0, 1)
    assert output.latents.dtype == torch.bfloat16 and output.rotations.dtype == torch.float32
    assert torch.equal(torch.cdist(flat, model.quantizer.codebook).argmin(1), output.ids.flatten())
    artifact = train_tokenizer(store, tmp_path / "run", replace(VQ, precision="bf16"), open_body)
    state = load_latest(tmp_path / "run" / "checkpoints")
    assert all(value.dtype != torch.bfloat16 for value in state["tokenizer"].values())
    full = train_tokenizer(store, tmp_path / "full", VQ, open_body)
    errors = [read_artifact(path).provenance["metrics"]["mpjpe_mm"] for path in (artifact, full)]
    assert errors[0] != errors[1] and errors[0] == pytest.approx(errors[1], rel=0.1)


def test_fp16_trains_with_a_scale_that_is_saved(store, tmp_path, open_body, monkeypatch):
    """The first steps overflow at too large a scale, and are left out."""
    monkeypatch.setattr(train_state, "LossScale", partial(LossScale, first=2.0**40))
    seen = []
    half = train_tokenizer(
        store,
        tmp_path / "run",
        replace(VQ, precision="fp16"),
        open_body,
        progress=lambda step, steps, figures: seen.append("gradient_norm" in figures),
    )
    saved = load_latest(tmp_path / "run" / "checkpoints")["scale"]
    assert not seen[0] and saved["skipped"] == seen.count(False) and saved["scale"] == 2.0 ** (40 - saved["skipped"])
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("skipped_steps") == 1 and half.exists()


def test_tensorboard_gets_what_is_logged(store, tmp_path, open_body, monkeypatch):
    made, scalars = [], []

    class Writer:
        def __init__(self, folder, purge_step):
            made.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            scalars.append((name, value, step))

        def flush(self):
            pass

    monkeypatch.setattr(train, "writer_class", lambda: Writer)
    monkeypatch.setattr(run, "writer_class", lambda: Writer)
    train_tokenizer(store, tmp_path / "run", SMALL, open_body, options=RunOptions(tensorboard=True))
    assert made == [(str(tmp_path / "run" / "tensorboard"), 1)]
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert ("val/mpjpe_mm", logged[0]["val_mpjpe_mm"], 2) in scalars
    assert {"train/loss", "train/gradient_norm", "train/rotation"} <= {name for name, *_ in scalars}
    assert len(scalars) == sum(len(record) - 1 for record in logged)
    train_tokenizer(store, tmp_path / "run", SMALL, open_body, options=RunOptions(resume=True, tensorboard=True))
    assert made[1][1] == 13


def test_without_tensorboard_nothing_is_begun(store, tmp_path, open_body, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pose-token-hmr\[tensorboard\]"):
        train_tokenizer(store, tmp_path / "run", SMALL, open_body, options=RunOptions(tensorboard=True))
    assert not (tmp_path / "run").exists()


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(store, tmp_path, open_body, monkeypatch):
    """The loss is fine, its gradient is not: the square root of nothing has an infinite one."""
    consistency = train.consistency_loss
    calls = []

    def broken(latents, moved):
        calls.append(1)
        value = consistency(latents, moved)
        return value + (0 * value).sqrt() if len(calls) == 8 else value

    monkeypatch.setattr(train, "consistency_loss", broken)
    with pytest.raises(UserError, match="Non-finite loss or gradient at step 7"):
        train_tokenizer(store, tmp_path / "run", SMALL, open_body)
    saved = torch.load(tmp_path / "run" / "nan_batch.pt", weights_only=True)
    whole = draw_batch(torch.from_numpy(store.poses("train")), Mixture.of(store, ""), SMALL, 7)
    assert saved["step"] == 7 and torch.equal(saved["poses"], whole.poses)
    state = load_latest(tmp_path / "run" / "checkpoints")
    assert state["step"] == 6 and all(value.isfinite().all() for value in state["tokenizer"].values())


def test_shares_make_up_the_whole_batch(store):
    config = replace(SMALL, augment=AugmentConfig(mask=0.5, noise_deg=5))
    poses, mixture = torch.from_numpy(store.poses("train")), Mixture.of(store, "")
    whole, again = draw_batch(poses, mixture, config, 3), draw_batch(poses, mixture, config, 3)
    parts = [again.part(number, 4) for number in range(4)]
    for name in ("poses", "target", "inputs", "visible", "perturbed"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
    assert not torch.equal(draw_batch(poses, mixture, config, 4).poses, whole.poses)


def test_a_machine_that_cannot_compile_says_so(monkeypatch):
    def no_compiler(function):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore")

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(UserError, match=r"No working C\+\+ compiler found; expected .* without --compile"):
        compilation.compile_in_place([], torch.device("cpu"))


@pytest.mark.slow
def test_compiled_training_leaves_no_trace_and_resumes(store, tmp_path, open_body):
    config = replace(SMALL, compile=True)
    whole = train_tokenizer(store, tmp_path / "whole", config, open_body)

    def stop(step, steps, figures):
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(store, tmp_path / "cut", config, open_body, progress=stop)
    again = train_tokenizer(store, tmp_path / "cut", config, open_body, options=RunOptions(resume=True))
    assert read_artifact(again).digest == read_artifact(whole).digest
    plain = train_tokenizer(store, tmp_path / "plain", SMALL, open_body)
    states = [load_latest(tmp_path / name / "checkpoints") for name in ("whole", "plain")]
    assert list(states[0]["tokenizer"]) == list(states[1]["tokenizer"])
    for ours, theirs in zip(weights_of(whole).values(), weights_of(plain).values(), strict=True):
        assert float((ours - theirs).norm()) <= 1e-4 * float(theirs.norm())


@pytest.mark.parametrize(
    "setting", ["validate_every=0", "checkpoint_every=-1", "optim.steps=0", "optim.batch=0", "optim.lr=-1"]
)
def test_numbers_that_nothing_can_be_trained_by_are_refused(setting):
    name, _, value = setting.partition("=")
    with pytest.raises(UserError, match=rf"{name} is too small; got {value}"):
        resolve(TokenizerConfig(), assignments=[setting])
    with pytest.raises(UserError, match=rf"{name} is too small; got {value}"):
        resolve(RegressorConfig(), assignments=[setting])
