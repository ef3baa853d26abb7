"""Training of the tokenizer: one function, numbered sections."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .artifact import export_tokenizer
from .augment import augment, corrupt
from .body.model import Body
from .body.rotations import axis_angle_to_matrix
from .config import OptimConfig, TokenizerConfig
from .engine.averaging import WeightAverage
from .engine.checkpoint import save_checkpoint, save_state
from .engine.errors import fail
from .engine.options import from_dict, to_dict
from .engine.precision import autocast, resolve_device, resolve_precision
from .engine.run import RunFolder
from .engine.schedule import steps_within, warmup_cosine, warmup_milestones
from .evaluate import evaluate_tokenizer
from .losses import consistency_loss, perturb, reconstruction_loss
from .mixture import Mixture
from .mocap.store import PoseStore
from .model import build_tokenizer

_PACE_STEPS = 30
Progress = Callable[[int, int, dict[str, float]], None]


def train_tokenizer(
    store: PoseStore,
    run_path: str | Path,
    config: TokenizerConfig,
    body: Body,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Train on the store's train split, validate on its val split, export the averaged weights.

    Returns the path of the artifact, ``run_path/tokenizer.h5``. With ``resume`` the run's own configuration counts and
    ``config`` is not looked at; on a CPU the result is bit-identical to that of an unbroken run. ``progress`` is called
    with (step, steps, latest figures). Raises ``UserError`` for an empty split, a mixture that the
    store cannot give, another store, or a loss that is no number (the batch is saved in the run folder).
    """
    # 1. The run folder; what was left to choose by the machine is chosen once and written down.
    if resume:
        run = RunFolder.resume(run_path)
        config = from_dict(TokenizerConfig, run.config["tokenizer"])
        if run.config["poses"] != store.digest:
            raise fail("This run was trained on other poses", got=store.digest[:12], expected=run.config["poses"][:12])
    else:
        device = resolve_device(config.device)
        config = replace(config, device=str(device), precision=resolve_precision(config.precision, device))
        config = from_dict(TokenizerConfig, to_dict(config))  # as a resumed run will read it, 3 as 3.0
        Mixture.of(store, config.mix)  # one that cannot be had is refused before there is a run folder
        run = RunFolder.start(run_path, {"tokenizer": to_dict(config), "poses": store.digest})
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)

    # 2. Poses, on the training device as a whole.
    poses = torch.from_numpy(store.poses("train")).to(device)
    held_out = torch.from_numpy(store.poses("val")).to(device)
    if not len(poses) or not len(held_out):
        raise fail(
            "The pose store cannot be trained on",
            got=f"{len(poses)} train and {len(held_out)} val poses",
            expected="both splits filled",
            next_step="Prepare more clips, or raise --val-fraction",
        )

    mixture = Mixture.of(store, config.mix)
    run.note(mixture.note)

    # 3. Model, optimizer, average.
    torch.manual_seed(config.seed)
    tokenizer = build_tokenizer(config.network, config.quantizer).to(device)
    sample = torch.randperm(len(poses), generator=torch.Generator().manual_seed(config.seed))[:20_000]
    tokenizer.fit_scale(axis_angle_to_matrix(poses[sample.to(device)]))
    body = body.to(device)
    subset = body.subset(config.loss.num_vertices) if config.loss.num_vertices else None
    optimizer = torch.optim.AdamW(
        tokenizer.parameters(), lr=config.optim.lr, weight_decay=config.optim.weight_decay, betas=(0.9, 0.99)
    )
    average = WeightAverage(tokenizer, config.optim.average)
    step, steps = 0, config.optim.steps
    if run.state is not None:
        tokenizer.load_state_dict(run.state["tokenizer"])
        average.module.load_state_dict(run.state["average"])
        optimizer.load_state_dict(run.state["optimizer"])
        step = run.state["step"]

    # 4. Steps. Every random draw of a step comes from (seed, step): nothing but the weights needs restoring.
    started = time.monotonic()
    while step < steps:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        chosen = mixture.draw(config.optim.batch, generator)
        target = augment(axis_angle_to_matrix(poses[chosen.to(device)]), config.augment, generator)
        seen, visible = corrupt(target, config.augment, generator)
        with autocast(device, precision):
            output = tokenizer(seen, visible, generator)
        terms = reconstruction_loss(output.rotations, target, body, config.loss, subset)
        terms["commitment"] = config.loss.commitment_weight * output.commitment
        if config.loss.consistency_weight:
            with autocast(device, precision):
                moved = tokenizer.latents(perturb(seen, config.loss.consistency_deg, generator), visible)
            terms["consistency"] = config.loss.consistency_weight * consistency_loss(output.latents, moved)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            save_state(run.path / "nan_batch.pt", {"step": step, "poses": poses[chosen.to(device)].cpu()})
            raise fail(
                f"The loss is no number at step {step}",
                got={k: float(v.detach()) for k, v in terms.items()},
                next_step=f"See {run.path / 'nan_batch.pt'}; a lower optim.lr often helps",
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.optim.clip:
            torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), config.optim.clip)
        for group in optimizer.param_groups:
            group["lr"] = config.optim.lr * rate_factor(config.optim, step, steps)
        optimizer.step()
        average.update(tokenizer, step)
        step += 1
        if step == 5:
            started = time.monotonic()
        elif step == _PACE_STEPS and config.optim.budget_s:
            # Decided inside the warm-up, which does not depend on the number of steps, and written down for a resume.
            pace = (time.monotonic() - started) / (_PACE_STEPS - 5)
            steps = max(step + 1, steps_within(config.optim.budget_s, pace, at_most=steps))
            config = replace(config, optim=replace(config.optim, steps=steps, budget_s=0.0))
            run.rewrite_config({"tokenizer": to_dict(config), "poses": store.digest})

        # 5. Log, validate, save; the checkpoint comes last, so that a resumed run logs each figure once.
        record: dict[str, Any] = {name: float(term.detach()) for name, term in terms.items()}
        last = step == steps
        if step % 50 == 0 or last:
            run.log({"step": step, "seconds": round(run.seconds, 2), "loss": float(loss.detach()), **record})
        if step % config.validate_every == 0 or last:
            report = evaluate_tokenizer(average.module, held_out, body)
            run.log({"step": step, "seconds": round(run.seconds, 2), **{f"val_{k}": v for k, v in report.items()}})
            record["val_mpjpe_mm"] = report["mpjpe_mm"]
        if step % config.checkpoint_every == 0 or last:
            save_checkpoint(
                run.checkpoints,
                step,
                {
                    "seconds": run.seconds,
                    "tokenizer": tokenizer.state_dict(),
                    "average": average.module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
            )
        if progress is not None:
            progress(step, steps, record)
    # 6. Freeze.
    metrics = evaluate_tokenizer(average.module, held_out, body)
    path = run.path / "tokenizer.h5"
    return export_tokenizer(average.module, config, path, poses_digest=store.digest, metrics=metrics)


def rate_factor(config: OptimConfig, step: int, steps: int) -> float:
    """The learning rate at ``step`` of ``steps``, as a share of the peak rate."""
    if config.schedule == "cosine":
        return warmup_cosine(step, steps=steps, warmup=config.warmup)
    return warmup_milestones(step, warmup=config.warmup, milestones=config.milestones, gamma=config.gamma)


def export_run(run_path: str | Path, out: str | Path) -> Path:
    """Export the averaged weights of a run's newest checkpoint. Raises ``UserError`` where there is none."""
    run = RunFolder.open(run_path)
    if run.state is None:
        raise fail(f"{run_path} holds no checkpoint yet", next_step="Train further with --resume")
    config = from_dict(TokenizerConfig, run.config["tokenizer"])
    tokenizer = build_tokenizer(config.network, config.quantizer)
    tokenizer.load_state_dict(run.state["average"])
    validated = [record for record in run.metrics() if "val_mpjpe_mm" in record]
    metrics = {k.removeprefix("val_"): v for k, v in validated[-1].items() if k.startswith("val_")} if validated else {}
    return export_tokenizer(tokenizer, config, out, poses_digest=run.config["poses"], metrics=metrics)
