"""Training of the tokenizer: one function, numbered sections."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..artifact import export_tokenizer
from ..body.model import Body
from ..body.rotations import axis_angle_to_matrix
from ..config import OptimConfig, TokenizerConfig
from ..engine.config import from_dict, to_dict
from ..engine.distributed import (
    check_batch_division,
    data_parallel,
    from_rank_0,
    mean_over_ranks,
    own_device,
    process_group,
    rank,
    run_on_all_ranks,
    world_size,
)
from ..engine.errors import fail
from ..engine.files.state_files import save_state
from ..engine.training.budget import Plan, StepBudget, num_validation_samples
from ..engine.training.checkpoint import save_checkpoint
from ..engine.training.compilation import compile_in_place
from ..engine.training.memory import DISK_FULL_ADVICE, disk_errors, memory_errors
from ..engine.training.precision import ResolvedPrecision, allow_tf32, autocast, resolve_device, resolve_precision
from ..engine.training.run import NEW_RUN, Export, RunFolder, RunOptions
from ..engine.training.schedule import linear_ramp, warmup_cosine, warmup_milestones, warmup_share
from ..engine.training.tensorboard import writer_class
from ..engine.training.train_state import TrainState
from ..evaluation.reconstruction import evaluate_tokenizer
from ..mocap.store import PoseStore
from ..network.model import PoseTokenizer, TokenizerOutput, build_tokenizer
from .augmentation import augment
from .losses import consistency_loss, reconstruction_loss
from .mixture import Batch, Mixture, draw_batch

Progress = Callable[[int, int, dict[str, float]], None]


def train_tokenizer(
    store: PoseStore,
    run_path: str | Path,
    config: TokenizerConfig,
    body: Body,
    *,
    options: RunOptions = NEW_RUN,
    progress: Progress | None = None,
) -> Path:
    """Train on the store's train split, validate on its val split, export the averaged weights (see ``export_run``).

    Return the path of the artifact, ``run_path/tokenizer.h5``. With ``options.resume`` the configuration of the run
    counts; on a CPU the result is bit-identical to that of an uninterrupted run. ``progress`` is called with (step,
    steps, latest figures). Under ``torchrun`` every process takes its part of each batch, with the result of one
    process up to rounding; rank 0 alone writes, and calls ``progress``.

    Raise ``UserError`` for an empty split, a mixture that the store cannot give, another store, a batch that cannot be
    divided, or a non-finite loss or gradient (the batch is saved in the run folder).
    """
    next_step = "Start another run with a smaller --set optim.batch"
    with process_group(), memory_errors("in training", next_step), disk_errors(DISK_FULL_ADVICE):
        run_path = Path(run_path)
        run = RunFolder(run_path, *from_rank_0(_open_run, run_path, config, store, options))
        with run.removed_if_it_fails_early():
            if options.tensorboard and rank() == 0:
                run.open_tensorboard()
            _train(run, store, body, progress)
        path = run.path / "tokenizer.h5"
        return export_run(run.path, path, options.export) if rank() == 0 else path


def _train(run: RunFolder, store: PoseStore, body: Body, progress: Progress | None) -> None:
    # 1. Settings: rank 0 resolved device and precision once, and wrote them into the run.
    config = from_dict(TokenizerConfig, run.config["tokenizer"])
    optim = config.optim
    device = run_on_all_ranks(lambda: own_device(resolve_device(config.device)))
    precision = resolve_precision(config.precision, device)

    # 2. Poses, on the training device as a whole.
    poses = torch.from_numpy(store.poses("train")).to(device)
    at_most = num_validation_samples(config.val_poses, config.optim.budget_s)
    held_out = torch.from_numpy(evenly_spread(store.poses("val"), at_most)).to(device)
    mixture = Mixture.of(store, config.mix)
    if rank() == 0:
        run.note(mixture.note)

    # 3. Model, optimizer, average.
    torch.manual_seed(config.seed)
    tokenizer = build_tokenizer(config.network, config.quantizer).to(device)
    _fit_scale(tokenizer, poses, config)
    body = body.to(device)
    subset = body.subset(config.loss.num_vertices) if config.loss.num_vertices else None
    parameters = list(tokenizer.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=optim.lr, weight_decay=optim.weight_decay, betas=(0.9, 0.99))
    train_state = TrainState("tokenizer", tokenizer, optimizer, decay=optim.average, device=device, precision=precision)
    if run.state is not None:
        train_state.load(run.state)
    if config.compile:
        compile_in_place((tokenizer.encoder, tokenizer.decoder), device)
    forward = data_parallel(_Forward(tokenizer, device, precision, config.loss.consistency_every))
    scale, average = train_state.scale, train_state.average

    # 4. Steps. Every random draw comes from (seed, step); the budget knows the progress.
    plan = Plan(
        optim.steps,
        optim.budget_s,
        config.validate_every,
        config.checkpoint_every,
        validation_steps=-(-len(held_out) // optim.batch),
    )
    budget = StepBudget(run.path, plan, run.state)
    while budget.steps_left:
        step = budget.step
        full_batch = draw_batch(poses, mixture, config, step)
        batch = full_batch.part(rank(), world_size())
        with allow_tf32(device):
            output, perturbed = forward(batch)
        terms = _loss_terms(output, perturbed, batch, body, subset, config, budget.progress)
        stacked = torch.stack(list(terms.values()))
        optimizer.zero_grad(set_to_none=True)
        with allow_tf32(device):
            scale.scale(stacked.sum()).backward()
        scale.unscale(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, optim.clip or math.inf)
        # The only place where a step waits for the device. The figures are those of the whole batch on every process.
        values = mean_over_ranks(torch.cat([stacked.detach(), norm[None]])).tolist()
        record = dict(zip([*terms, "gradient_norm"], values, strict=True))
        if not all(map(math.isfinite, values[:-1])) or scale.should_abort(values[-1]):
            from_rank_0(_stop, run, step, full_batch.poses, record)
        for group in optimizer.param_groups:
            group["lr"] = optim.lr * rate_factor(optim, budget)
        if not scale.step(optimizer, values[-1]):
            del record["gradient_norm"]
        elif average is not None:
            average.update(tokenizer, step)
        step = budget.advance()
        if average is None:
            continue

        # 5. Log, validate, save. The checkpoint comes last, so that a resumed run logs each figure once.
        if step % 50 == 0 or not budget.steps_left:
            run.log(
                {"step": step, "seconds": round(run.seconds, 2), "loss": sum(values[:-1]), **record, **scale.figures()}
            )
        if budget.due("validation"):
            with budget.timed("validation"):
                report = evaluate_tokenizer(average.module, held_out, body)
            run.log({"step": step, "seconds": round(run.seconds, 2), **{f"val_{k}": v for k, v in report.items()}})
            record["val_mpjpe_mm"] = report["mpjpe_mm"]
            train_state.best.update(step, report, "mpjpe_mm", average.module)
        if budget.due("checkpoint"):
            # The best weights are in the same file, so that both are of one moment.
            with budget.timed("checkpoint"):
                state = {"seconds": run.seconds, "schedule": budget.state_dict(), **train_state.state_dict()}
                save_checkpoint(run.checkpoints, step, state, keep=config.keep_checkpoints)
        if progress is not None:
            progress(step, step + budget.steps_left, {**record, **budget.figures()})


def _fit_scale(tokenizer: PoseTokenizer, poses: Tensor, config: TokenizerConfig) -> None:
    """Fit what networks standardise by to poses (N,21,3) axis-angle, turned as in training where they are."""
    generator = torch.Generator().manual_seed(config.seed)
    sample = torch.randperm(len(poses), generator=generator)[:20_000]
    rotations = axis_angle_to_matrix(poses[sample.to(poses.device)])
    if config.augment.turn_share:
        rotations = augment(rotations, config.augment, generator)
    tokenizer.fit_scale(rotations)


def _loss_terms(
    output: TokenizerOutput,
    perturbed: Tensor | None,
    batch: Batch,
    body: Body,
    subset: Tensor | None,
    config: TokenizerConfig,
    progress: float,
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss; ``perturbed``: latents of the perturbed poses, or None."""
    terms = reconstruction_loss(output.rotations, batch.target, body, config.loss, subset)
    terms["commitment"] = config.loss.commitment_weight * output.commitment
    if perturbed is not None:
        weight = config.loss.consistency_weight * linear_ramp(progress, config.loss.consistency_grows)
        terms["consistency"] = weight * consistency_loss(output.latents[:: config.loss.consistency_every], perturbed)
    return terms


def _open_run(
    path: Path, config: TokenizerConfig, store: PoseStore, options: RunOptions
) -> tuple[dict[str, Any], dict[str, Any] | None, Sequence[Path]]:
    """Return the settings of a run, the state it resumes from (None for a new one), and the folders made for it."""
    if options.tensorboard:
        writer_class()
    store.check()
    if options.resume:
        run = RunFolder.resume(path)
        if not store.holds(run.config["poses"]):
            raise fail("This run was trained on other poses", got=store.digest[:12], expected=run.config["poses"][:12])
        check_batch_division(from_dict(TokenizerConfig, run.config["tokenizer"]).optim.batch, "poses")
        return run.config, run.state, ()
    check_batch_division(config.optim.batch, "poses")
    counts = [sum(source.frames for source in store.sources if source.split == split) for split in ("train", "val")]
    if not all(counts):
        raise fail(
            "The pose store cannot be trained on",
            got=f"{counts[0]} train and {counts[1]} val poses",
            expected="samples in train and in val",
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


def _stop(run: RunFolder, step: int, poses: Tensor, figures: dict[str, float]) -> None:
    save_state(run.path / "nan_batch.pt", {"step": step, "poses": poses.cpu()})
    raise fail(
        f"Non-finite loss or gradient at step {step}",
        got=figures,
        next_step=f"See {run.path / 'nan_batch.pt'}; a lower optim.lr often helps",
    )


class _Forward(nn.Module):
    """All that a step asks of the networks, in one call, as DDP wants it: the output for what is seen, and the latents
    of one in ``every`` perturbed poses."""

    def __init__(
        self, tokenizer: PoseTokenizer, device: torch.device, precision: ResolvedPrecision, every: int
    ) -> None:
        super().__init__()
        self.tokenizer, self.device, self.precision, self.every = tokenizer, device, precision, every

    def forward(self, batch: Batch) -> tuple[TokenizerOutput, Tensor | None]:
        with autocast(self.device, self.precision):
            output = self.tokenizer(batch.inputs, batch.visible, batch.generator)
            if batch.perturbed is None:
                return output, None
            rows = slice(None, None, self.every)
            visible = None if batch.visible is None else batch.visible[rows]
            return output, self.tokenizer.latents(batch.perturbed[rows], visible)


def rate_factor(config: OptimConfig, budget: StepBudget) -> float:
    """The learning rate of the next step, as a share of the peak rate."""
    progress, per_step = budget.progress, budget.progress_per_step
    warmup = warmup_share(config.warmup, config.steps, config.budget_s)
    if config.schedule == "cosine":
        return warmup_cosine(progress, per_step, warmup=warmup)
    milestones = tuple(milestone / config.steps for milestone in config.milestones)
    return warmup_milestones(progress, per_step, warmup=warmup, milestones=milestones, gamma=config.gamma)


def export_run(
    run_path: str | Path,
    out: str | Path,
    export: Export = "best",
    *,
    half: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Export averaged weights from a run's newest checkpoint: those of the ``best`` validation so far, or the ``last``.

    ``best`` has the lowest MPJPE on val. As a rate that falls to zero ends at or near it, it is as good as ``last``
    there, and better where a run was cut short or went astray; hence the default. Being chosen on val, its figure there
    flatters it a little: judge on another split, or export ``last``. Before the first validation there is only
    ``last``. ``half`` and ``about`` as ``export_tokenizer`` takes them. Raise ``UserError`` where there is no
    checkpoint.
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
        half=half,
        about=about,
    )


def _validated(run: RunFolder, step: int) -> dict[str, float]:
    """The figures of the validation at ``step``; empty where there was none."""
    records = [record for record in run.metrics() if record["step"] == step and "val_mpjpe_mm" in record]
    return (
        {key.removeprefix("val_"): value for key, value in records[-1].items() if key.startswith("val_")}
        if records
        else {}
    )
