"""Training of the tokenizer: one function, numbered sections."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..artifact import export_tokenizer
from ..body.model import Body
from ..body.rotations import axis_angle_to_matrix
from ..config import OptimConfig, TokenizerConfig
from ..engine.config import from_dict, to_dict
from ..engine.distributed import (
    content_from_rank_0,
    data_parallel,
    from_rank_0,
    mean_over_ranks,
    on_every_rank,
    own_device,
    process_group,
    rank,
    world_size,
)
from ..engine.errors import fail
from ..engine.files.state_files import save_state
from ..engine.training.averaging import WeightAverage
from ..engine.training.budget import Plan, Schedule, validated_on
from ..engine.training.checkpoint import save_checkpoint
from ..engine.training.compilation import compile_in_place
from ..engine.training.memory import DISK_STEP, disk_errors, memory_errors
from ..engine.training.precision import ResolvedPrecision, autocast, resolve_device, resolve_precision, tensor_cores
from ..engine.training.run import RunFolder
from ..engine.training.scaling import LossScale
from ..engine.training.schedule import grown, warmup_cosine, warmup_milestones, warmup_share
from ..engine.training.tensorboard import writer_class
from ..evaluation.reconstruction import evaluate_tokenizer
from ..mocap.store import PoseStore
from ..network.model import PoseTokenizer, TokenizerOutput, build_tokenizer
from .losses import consistency_loss, reconstruction_loss
from .mixture import Batch, Mixture, draw_batch

Export = Literal["best", "last"]
Progress = Callable[[int, int, dict[str, float]], None]


def train_tokenizer(
    store: PoseStore,
    run_path: str | Path,
    config: TokenizerConfig,
    body: Body,
    *,
    resume: bool = False,
    export: Export = "best",
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Train on the store's train split, validate on its val split, export the averaged weights (see ``export_run``).

    Returns the path of the artifact, ``run_path/tokenizer.h5``. With ``resume`` the run's own configuration counts and
    ``config`` is not looked at; on a CPU the result is bit-identical to that of an unbroken run. ``progress`` is called
    with (step, steps, latest figures). Under ``torchrun`` every process takes its share of each batch, with the result
    of one process to rounding; the first alone writes, and calls ``progress``. Raises ``UserError`` for an empty split,
    a mixture that the store cannot give, another store, a batch that cannot be shared out, or a loss or gradient that
    is no number (the batch is saved in the run folder).
    """
    next_step = "Start another run with a smaller --set optim.batch"
    with process_group(), memory_errors("in training", next_step), disk_errors(DISK_STEP):
        run_path = Path(run_path)
        run = RunFolder(run_path, *from_rank_0(_open_run, run_path, config, store, resume, tensorboard))
        with run.removed_if_it_fails_early():
            _train(run, store, body, tensorboard, progress)
        path = run.path / "tokenizer.h5"
        return export_run(run.path, path, export) if rank() == 0 else path


def _train(run: RunFolder, store: PoseStore, body: Body, tensorboard: bool, progress: Progress | None) -> None:
    # 1. What was left to choose by the machine was chosen once, by the first process, and stands in the run's settings.
    first, state = rank() == 0, run.state
    if first and tensorboard:
        run.open_tensorboard()
    config = from_dict(TokenizerConfig, run.config["tokenizer"])
    device = on_every_rank(lambda: own_device(resolve_device(config.device)))
    precision = resolve_precision(config.precision, device)

    # 2. Poses, on the training device as a whole.
    poses = torch.from_numpy(store.poses("train")).to(device)
    at_most = validated_on(config.val_poses, config.optim.budget_s)
    held_out = torch.from_numpy(evenly_spread(store.poses("val"), at_most)).to(device)
    mixture = Mixture.of(store, config.mix)
    if first:
        run.note(mixture.note)

    # 3. Model, optimizer, average.
    torch.manual_seed(config.seed)
    tokenizer = build_tokenizer(config.network, config.quantizer).to(device)
    sample = torch.randperm(len(poses), generator=torch.Generator().manual_seed(config.seed))[:20_000]
    tokenizer.fit_scale(axis_angle_to_matrix(poses[sample.to(device)]))
    body = body.to(device)
    subset = body.subset(config.loss.num_vertices) if config.loss.num_vertices else None
    parameters = list(tokenizer.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=config.optim.lr, weight_decay=config.optim.weight_decay, betas=(0.9, 0.99)
    )
    average = WeightAverage(tokenizer, config.optim.average) if first else None
    scale = LossScale(device, precision)
    best: dict[str, Any] | None = None
    if state is not None:
        tokenizer.load_state_dict(content_from_rank_0(state["tokenizer"], device))
        optimizer.load_state_dict(content_from_rank_0(state["optimizer"], device))
        if average is not None:
            average.module.load_state_dict(state["average"])
        if "scale" in state:
            scale.load_state_dict(state["scale"])
        best = state.get("best")
    if config.compile:
        compile_in_place((tokenizer.encoder, tokenizer.decoder), device)
    forward = data_parallel(_Forward(tokenizer, device, precision))

    # 4. Steps. Every random draw of a step comes from (seed, step); how far the training is, the schedule knows.
    optim = config.optim
    plan = Plan(
        optim.steps,
        optim.budget_s,
        config.validate_every,
        config.checkpoint_every,
        validation_steps=-(-len(held_out) // optim.batch),
    )
    schedule = Schedule(run.path, plan, state)
    while schedule.left:
        step = schedule.step
        whole = draw_batch(poses, mixture, config, step)
        batch = whole.share(rank(), world_size())
        with tensor_cores(device):
            output, moved = forward(batch)
        terms = reconstruction_loss(output.rotations, batch.target, body, config.loss, subset)
        terms["commitment"] = config.loss.commitment_weight * output.commitment
        if moved is not None:
            weight = config.loss.consistency_weight * grown(schedule.progress, config.loss.consistency_grows)
            terms["consistency"] = weight * consistency_loss(output.latents, moved)
        stacked = torch.stack(list(terms.values()))
        optimizer.zero_grad(set_to_none=True)
        with tensor_cores(device):
            scale.up(stacked.sum()).backward()
        scale.down(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip or math.inf)
        # The one place where a step waits for the device; the figures are those of the whole batch on every process.
        values = mean_over_ranks(torch.cat([stacked.detach(), norm[None]])).tolist()
        record = dict(zip([*terms, "gradient_norm"], values, strict=True))
        if not all(map(math.isfinite, values[:-1])) or not scale.bears(values[-1]):
            from_rank_0(_stop, run, step, whole.poses, record)
        for group in optimizer.param_groups:
            group["lr"] = optim.lr * rate_factor(optim, schedule)
        if not scale.step(optimizer, values[-1]):
            del record["gradient_norm"]
        elif average is not None:
            average.update(tokenizer, step)
        step = schedule.advance()
        if average is None:
            continue

        # 5. Log, validate, save; the checkpoint comes last, so that a resumed run logs each figure once.
        if step % 50 == 0 or not schedule.left:
            run.log(
                {"step": step, "seconds": round(run.seconds, 2), "loss": sum(values[:-1]), **record, **scale.figures()}
            )
        if schedule.due("validation"):
            with schedule.timed("validation"):
                report = evaluate_tokenizer(average.module, held_out, body)
            run.log({"step": step, "seconds": round(run.seconds, 2), **{f"val_{k}": v for k, v in report.items()}})
            record["val_mpjpe_mm"] = report["mpjpe_mm"]
            if best is None or report["mpjpe_mm"] < best["figures"]["mpjpe_mm"]:
                weights = {name: value.clone() for name, value in average.module.state_dict().items()}
                best = {"step": step, "figures": report, "average": weights}
        if schedule.due("checkpoint"):
            # The best weights travel inside: one file, hence always of one moment.
            with schedule.timed("checkpoint"):
                save_checkpoint(
                    run.checkpoints,
                    step,
                    {
                        "seconds": run.seconds,
                        "tokenizer": tokenizer.state_dict(),
                        "average": average.module.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "best": best,
                        "scale": scale.state_dict(),
                        "schedule": schedule.state_dict(),
                    },
                    keep=config.keep_checkpoints,
                )
        if progress is not None:
            progress(step, step + schedule.left, {**record, **schedule.figures()})


def _open_run(
    path: Path, config: TokenizerConfig, store: PoseStore, resume: bool, tensorboard: bool
) -> tuple[dict[str, Any], dict[str, Any] | None, Sequence[Path]]:
    """The settings of a run, the state it goes on from, None for a new one, and the folders made for that."""
    if tensorboard:
        writer_class()
    store.check()
    if resume:
        run = RunFolder.resume(path)
        if not store.holds(run.config["poses"]):
            raise fail("This run was trained on other poses", got=store.digest[:12], expected=run.config["poses"][:12])
        _check_shares(from_dict(TokenizerConfig, run.config["tokenizer"]).optim.batch)
        return run.config, run.state, ()
    _check_shares(config.optim.batch)
    counts = [sum(source.frames for source in store.sources if source.split == split) for split in ("train", "val")]
    if not all(counts):
        raise fail(
            "The pose store cannot be trained on",
            got=f"{counts[0]} train and {counts[1]} val poses",
            expected="both splits filled",
            next_step="Prepare more clips, or raise --val-fraction",
        )
    device = resolve_device(config.device)
    config = replace(config, device=str(device), precision=resolve_precision(config.precision, device))
    Mixture.of(store, config.mix)  # one that cannot be had is refused before there is a run folder
    settings = {"tokenizer": to_dict(config), "poses": store.digest, "store": str(store.path.resolve())}
    run = RunFolder.start(path, settings)
    return run.config, None, run.made


def evenly_spread(poses: np.ndarray, at_most: int) -> np.ndarray:
    """``at_most`` of poses (N,21,3), evenly from all of them, in order."""
    if len(poses) <= at_most:
        return poses
    return poses[np.linspace(0, len(poses) - 1, at_most).round().astype(np.int64)]


def _check_shares(batch: int) -> None:
    if batch % world_size():
        raise fail(
            "The batch cannot be shared out",
            got=f"{batch} poses for {world_size()} processes",
            expected="as many for each",
            next_step="Start fewer, or --set optim.batch",
        )


def _stop(run: RunFolder, step: int, poses: Tensor, figures: dict[str, float]) -> None:
    save_state(run.path / "nan_batch.pt", {"step": step, "poses": poses.cpu()})
    raise fail(
        f"The loss is no number at step {step}",
        got=figures,
        next_step=f"See {run.path / 'nan_batch.pt'}; a lower optim.lr often helps",
    )


class _Forward(nn.Module):
    """All that a step asks of the networks, in one call, as DDP wants it: the output for what is seen, and the latents
    of the moved poses."""

    def __init__(self, tokenizer: PoseTokenizer, device: torch.device, precision: ResolvedPrecision) -> None:
        super().__init__()
        self.tokenizer, self.device, self.precision = tokenizer, device, precision

    def forward(self, batch: Batch) -> tuple[TokenizerOutput, Tensor | None]:
        with autocast(self.device, self.precision):
            output = self.tokenizer(batch.seen, batch.visible, batch.generator)
            moved = None if batch.moved is None else self.tokenizer.latents(batch.moved, batch.visible)
        return output, moved


def rate_factor(config: OptimConfig, schedule: Schedule) -> float:
    """The learning rate of the next step, as a share of the peak rate."""
    progress, growth = schedule.progress, schedule.growth
    warmup = warmup_share(config.warmup, config.steps, config.budget_s)
    if config.schedule == "cosine":
        return warmup_cosine(progress, growth, warmup=warmup)
    milestones = tuple(milestone / config.steps for milestone in config.milestones)
    return warmup_milestones(progress, growth, warmup=warmup, milestones=milestones, gamma=config.gamma)


def export_run(run_path: str | Path, out: str | Path, export: Export = "best") -> Path:
    """Export averaged weights from a run's newest checkpoint: those of the ``best`` validation so far, or the ``last``.

    ``best`` has the lowest MPJPE on val. As a rate that falls to zero ends at or beside it, it is as good as ``last``
    there, and better where a run was cut short or went astray; hence the default. Being chosen on val, its figure there
    flatters it a little: judge on another split, or export ``last``. Before the first validation there is only
    ``last``. Raises ``UserError`` where there is no checkpoint.
    """
    run = RunFolder.open(run_path)
    if run.state is None:
        raise fail(f"{run_path} holds no checkpoint yet", next_step="Train further with --resume")
    chosen = run.state.get("best") if export == "best" else None
    if chosen is None:
        export, chosen = "last", {**run.state, "figures": _validated(run, run.state["step"])}
    config = from_dict(TokenizerConfig, run.config["tokenizer"])
    tokenizer = build_tokenizer(config.network, config.quantizer)
    tokenizer.load_state_dict(chosen["average"])
    return export_tokenizer(
        tokenizer,
        config,
        out,
        poses_digest=run.config["poses"],
        metrics=chosen["figures"],
        weights=f"{export}, step {chosen['step']}",
    )


def _validated(run: RunFolder, step: int) -> dict[str, float]:
    """The figures of the validation at ``step``; empty where there was none."""
    found = [record for record in run.metrics() if record["step"] == step and "val_mpjpe_mm" in record]
    return (
        {key.removeprefix("val_"): value for key, value in found[-1].items() if key.startswith("val_")} if found else {}
    )
