"""Training of the regressor: one function, numbered sections."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tokenizer import Body, FrozenTokenizer
from tokenizer.engine.config import from_dict, to_dict
from tokenizer.engine.distributed import (
    content_from_rank_0,
    data_parallel,
    from_rank_0,
    on_every_rank,
    own_device,
    process_group,
    processes_here,
    rank,
    sum_over_ranks,
    world_size,
)
from tokenizer.engine.errors import fail
from tokenizer.engine.files.state_files import save_state
from tokenizer.engine.training.averaging import WeightAverage
from tokenizer.engine.training.budget import Plan, Schedule, validated_on
from tokenizer.engine.training.checkpoint import save_checkpoint
from tokenizer.engine.training.compilation import compile_in_place
from tokenizer.engine.training.gpu import GpuUse
from tokenizer.engine.training.memory import DISK_STEP, disk_errors, memory_errors
from tokenizer.engine.training.precision import resolve_device, resolve_precision, try_kernels
from tokenizer.engine.training.run import RunFolder
from tokenizer.engine.training.scaling import LossScale
from tokenizer.engine.training.schedule import warmup_cosine, warmup_share
from tokenizer.engine.training.tensorboard import writer_class
from tokenizer.engine.training.throughput import Throughput

from ..checkpoints.backbones import start_from_backbone
from ..checkpoints.regressor_file import Export, check_vocabulary, export_run, load_strictly
from ..config import RegressorConfig, check_tokens
from ..datasets.crop_dataset import CropDataset
from ..datasets.loader import Stream, named_deaths, started, wanted_workers
from ..datasets.mixtures import Mixture
from ..network.model import Regressor, build_regressor
from ..sample import to_device
from .gradients import leave_gradients, without_gradient
from .initialization import about_backbone, about_start, check_same_start, start_from_means, start_from_regressor
from .optimizer import frozen_parts, make_optimizer
from .panels import Panels
from .validation import judged_by, note_on_genders, score_predictions

MEMORY_STEP = (
    "Start another run with --set optim.accumulate=4 (the same steps, a quarter of the batch at a time) or a smaller "
    "optim.batch; a ViT needs far less with --set backbone.gradient_checkpointing=true"
)
_KNOWN_FROM = 4096
"""Samples whose annotation says where training begins."""
Progress = Callable[[int, int, dict[str, float]], None]


def train_regressor(
    crops: CropDataset | Mixture,
    tokenizer: FrozenTokenizer,
    run_path: str | Path,
    config: RegressorConfig,
    body: Body,
    *,
    backbone: str | Path | None = None,
    start: str | Path | None = None,
    resume: bool = False,
    export: Export = "best",
    tensorboard: bool = False,
    true_bodies: Mapping[str, Body] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train on the train splits of crops, validate on their val splits, export the averaged weights.

    Returns the path of the exported file, ``run_path/regressor.pt``: weights of the ``best`` validation by
    ``config.best_by``, or the ``last``. ``backbone`` is a file of imported weights to begin with, ``start`` an exported
    regressor whose weights and means to begin with (``start_file``). ``true_bodies``: those of women and men by gender,
    whose shapes are validated against. With ``resume`` the run's own configuration counts
    and neither ``config`` nor these files are looked at; on a CPU the result is bit-identical to that of an
    unbroken run with as many threads. ``progress`` is called with (step, steps, latest figures). Under ``torchrun``
    every process takes its share of each batch, with the result of one process to rounding; the first alone writes,
    and calls ``progress``. Raises ``UserError`` for an empty split, other crops or another artifact than the run began
    with, a backbone or a start that does not fit, a batch that cannot be shared out, or a loss or gradient that is no
    number (the batch is saved in the folder), and where memory runs out.
    """
    mixture = Mixture.of(crops)
    with process_group(), memory_errors("in training", MEMORY_STEP), disk_errors(DISK_STEP), named_deaths():
        run_path = Path(run_path)
        run = RunFolder(
            run_path,
            *from_rank_0(_open_run, run_path, config, mixture, tokenizer, body, backbone, start, resume, tensorboard),
        )
        with run.removed_if_it_fails_early():
            _train(run, mixture, tokenizer, body, true_bodies, backbone, start, tensorboard, progress)
        path = run.path / "regressor.pt"
        return export_run(run.path, path, mixture, tokenizer, body, export) if rank() == 0 else path


def _train(
    run: RunFolder,
    mixture: Mixture,
    tokenizer: FrozenTokenizer,
    body: Body,
    true_bodies: Mapping[str, Body] | None,
    backbone: str | Path | None,
    start: str | Path | None,
    tensorboard: bool,
    progress: Progress | None,
) -> None:
    # 1. What was left to choose by the machine was chosen once, by the first process, and stands in the run's settings.
    first, state = rank() == 0, run.state
    if first and tensorboard:
        run.open_tensorboard()
    config = from_dict(RegressorConfig, run.config["regressor"])
    device = on_every_rank(lambda: own_device(resolve_device(config.device)))
    precision = resolve_precision(config.precision, device)

    # 2. Crops: batches are made ahead by other processes; what is validated on is held in memory.
    on_every_rank(mixture.check_digest, run.config["crops"])  # machines may hold folders of their own
    mixture = mixture.at_size(config.image_size)
    size = config.optim.batch // world_size()
    stream = Stream(mixture, config, body, slice(rank() * size, (rank() + 1) * size))
    val_samples = validated_on(config.data.val_samples, config.optim.budget_s)
    judges = mixture.as_predicted(config.backbone.aspect)  # in the crops of evaluation and prediction
    held_out = judges.some("val", val_samples) if first else None
    panels = Panels(judges, validated_on(config.pictures, config.optim.budget_s, least=0) if first else 0)
    judged = "" if held_out is None else f"val_{judged_by(config, held_out)}"
    if first and judged != f"val_{config.best_by}":
        run.note(f"The best weights are chosen by {judged}: val does not know enough for {config.best_by}")
    if held_out is not None and (note := note_on_genders(held_out, true_bodies)):
        run.note(note)

    # 3. Model, optimizer, average.
    torch.manual_seed(config.seed)
    tokenizer, body = tokenizer.to(device), body.to(device)
    true_bodies = {name: one.to(device) for name, one in (true_bodies or {}).items()}
    regressor = on_every_rank(build_regressor, config, tokenizer, precision).to(device)
    network = regressor.network
    if backbone is not None and state is None:
        on_every_rank(start_from_backbone, network, backbone)
    if start is not None and state is None:
        on_every_rank(start_from_regressor, network, start)
    else:
        # The others take over the weights of the first process, but not its buffers.
        known = content_from_rank_0(from_rank_0(stream.annotation, _KNOWN_FROM), torch.device("cpu"))
        start_from_means(network, tokenizer, known, relative=config.head.orientation == "ray")
    average = WeightAverage(network, config.optim.average) if first else None
    frozen = on_every_rank(frozen_parts, network, config.backbone.trainable)
    optimizer, factors = on_every_rank(make_optimizer, network, config.optim)
    scale = LossScale(device, precision)
    optim = config.optim
    plan = Plan(
        optim.steps,
        optim.budget_s,
        config.validate_every,
        config.checkpoint_every,
        validation_steps=-(-min(mixture.count("val"), val_samples) // optim.batch),
    )
    schedule = Schedule(run.path, plan, state)
    best: dict[str, Any] | None = None
    if state is not None:
        load_strictly(network, content_from_rank_0(state["network"], device), what="the checkpoint")
        optimizer.load_state_dict(content_from_rank_0(state["optimizer"], device))
        if average is not None:
            load_strictly(average.module, state["average"], what="the checkpoint")
        if "scale" in state:
            scale.load_state_dict(state["scale"])
        best = state.get("best")
        run.state = state = None  # as large as all the rest
    if world_size() > 1:
        # DDP waits for the gradient of each parameter that asks for one. (To let it search does not help: what the
        # network puts out counts as used there, though no term of the loss looks at it.)
        for weight in without_gradient(regressor, body, tokenizer).values():
            weight.requires_grad_(False)
    try_kernels(device)
    if config.compile:
        compile_in_place((network.backbone, network.decoder, network.pose_head), device)
    forward = data_parallel(regressor.train())
    for part in frozen:
        part.eval()

    # 4. Steps. Every random draw of a step comes from (seed, step); how far the training is, the schedule knows.
    pace, gpu = Throughput(), GpuUse(device)
    workers = wanted_workers(mixture, config.data.workers, device, processes_here())
    batches = started(stream.batches(schedule.step, schedule.most, workers, device))
    warmup = warmup_share(optim.warmup, optim.steps, optim.budget_s)
    schedule.start()
    while schedule.left:
        step, began = schedule.step, time.monotonic()
        batch = to_device(next(batches), device)
        waited = time.monotonic() - began
        terms = leave_gradients(forward, batch, body, tokenizer, config, step, scale)
        scale.down(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.optim.clip or math.inf)
        # The one place where a step waits for the device; the figures are those of the whole batch on every process.
        values = sum_over_ranks(torch.stack([*terms.values(), norm / world_size()])).tolist()
        record = dict(zip([*terms, "gradient_norm"], values, strict=True))
        if not all(map(math.isfinite, values[:-1])) or not scale.bears(values[-1]):
            from_rank_0(_stop, run, stream, config, step, record)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = factor * optim.lr * warmup_cosine(schedule.progress, schedule.growth, warmup=warmup)
        if not scale.step(optimizer, values[-1]):
            del record["gradient_norm"]
        elif average is not None:
            average.update(network, step)
        pace.add(optim.batch, time.monotonic() - began, waited)
        step = schedule.advance()
        if average is None or held_out is None:
            continue

        # 5. Log, validate, save; the checkpoint comes last, so that a resumed run logs each figure once.
        machine = pace.figures()
        if step % 50 == 0 or not schedule.left:
            machine |= {**scale.figures(), **gpu.figures()}
            run.log({"step": step, "seconds": round(run.seconds, 2), "loss": sum(values[:-1]), **record, **machine})
        if schedule.due("validation"):
            with schedule.timed("validation"):
                averaged = Regressor(average.module, tokenizer, config, precision=precision).eval()
                report = score_predictions(averaged, held_out, body, true_bodies=true_bodies)
                panels.save(run, step, averaged, body)
            figures = {f"val_{name}": float(values.mean()) for name, values in report.items()}
            run.log({"step": step, "seconds": round(run.seconds, 2), **figures})
            record[judged] = figures[judged]
            if best is None or figures[judged] < best["figures"][judged] or math.isnan(best["figures"][judged]):
                # Beside a GPU, whose memory training needs; and a copy, for the average moves on.
                weights = {name: value.to("cpu", copy=True) for name, value in average.module.state_dict().items()}
                best = {"step": step, "figures": figures, "average": weights}
        if schedule.due("checkpoint"):
            # The best weights travel inside: one file, hence always of one moment.
            with schedule.timed("checkpoint"):
                save_checkpoint(
                    run.checkpoints,
                    step,
                    {
                        "seconds": run.seconds,
                        "tokenizer": tokenizer.digest,
                        "network": network.state_dict(),
                        "average": average.module.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "best": best,
                        "scale": scale.state_dict(),
                        "schedule": schedule.state_dict(),
                    },
                    keep=config.keep_checkpoints,
                )
        if progress is not None:
            progress(step, step + schedule.left, {**record, **machine, **schedule.figures()})


def _open_run(
    path: Path,
    config: RegressorConfig,
    mixture: Mixture,
    tokenizer: FrozenTokenizer,
    body: Body,
    backbone: str | Path | None,
    start: str | Path | None,
    resume: bool,
    tensorboard: bool,
) -> tuple[dict[str, Any], dict[str, Any] | None, Sequence[Path]]:
    """The settings of a run, the state it goes on from, None for a new one, and the folders made for that."""
    if tensorboard:
        writer_class()
    run = None
    if resume:
        run = RunFolder.resume(path)
        config = from_dict(RegressorConfig, run.config["regressor"])
        check_vocabulary(f"The run in {path}", run.config["tokenizer"], tokenizer)
        mixture.check_digest(run.config["crops"])
    parts = world_size() * config.optim.accumulate
    if config.optim.accumulate < 1 or config.optim.batch % parts:
        raise fail(
            "The batch cannot be shared out",
            expected="as many for each",
            next_step="Change optim.batch",
            got=f"{config.optim.batch} images for {world_size()} processes, optim.accumulate {config.optim.accumulate}",
        )
    if not run and not config.data.rank_partitions:
        config = replace(config, data=replace(config.data, rank_partitions=world_size() if mixture.remote else 1))
    if config.optim.batch % config.data.rank_partitions:
        raise fail(
            "The batch cannot be divided among lanes",
            got=f"{config.optim.batch} images, {config.data.rank_partitions} lanes",
            next_step="Change data.rank_partitions",
        )
    counts = {split: mixture.count(split) for split in ("train", "val")}
    if not all(counts.values()):
        raise fail(
            "These crops cannot be trained on",
            got=f"{counts['train']} train and {counts['val']} val crops",
            expected="both splits filled",
            next_step="Make more of them, or `prepare` with --val-share",
        )
    for name, store in mixture.at_size(config.image_size).stores.items():
        if store.size != config.image_size:
            raise fail(
                "The crops do not have the size of the preset",
                got=f"{store.size} px in {name}",
                expected=f"{config.image_size} px",
                next_step="Set image_size, or make other crops",
            )
    if run is not None:
        if run.state is None:
            check_same_start(run.config.get("start"), start)
            check_same_start(run.config.get("backbone"), backbone, "backbone")
        return run.config, run.state, ()
    check_tokens(config)
    unmirrored = "suit" in mixture.domains and config.augment.flip > 0
    if unmirrored:
        # Its left side is bright and warm, its right dark and cool: mirrored, it would teach the wrong names.
        config = replace(config, augment=replace(config.augment, flip=0.0))
    device = resolve_device(config.device)
    config = replace(config, device=str(device), precision=resolve_precision(config.precision, device))
    about = {"regressor": to_dict(config), "tokenizer": tokenizer.digest, "crops": mixture.digest}
    if start is not None:
        about["start"] = about_start(start, config, tokenizer, body.kind)
    if backbone is not None:
        about["backbone"] = about_backbone(backbone)
    run = RunFolder.start(path, about)
    if unmirrored:
        run.note("Nothing is mirrored: the suit of synthetic people among the crops has a left and a right side")
    return run.config, None, run.made


def _stop(run: RunFolder, stream: Stream, config: RegressorConfig, step: int, figures: dict[str, float]) -> None:
    path = run.path / "nan_batch.pt"
    save_state(path, {"step": step, **stream.rows(step, slice(0, config.optim.batch))})
    raise fail(
        f"The loss is no number at step {step}", got=figures, next_step=f"See {path}; a lower optim.lr often helps"
    )
