"""Training of the regressor: one function, numbered sections."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tokenizer import Body, FrozenTokenizer
from tokenizer.engine.config import from_dict, to_dict
from tokenizer.engine.distributed import (
    broadcast_tensors,
    check_batch_division,
    data_parallel,
    from_rank_0,
    own_device,
    process_group,
    processes_here,
    rank,
    run_on_all_ranks,
    sum_over_ranks,
    world_size,
)
from tokenizer.engine.errors import fail
from tokenizer.engine.files.state_files import save_state
from tokenizer.engine.training.budget import Plan, StepBudget, num_validation_samples
from tokenizer.engine.training.checkpoint import save_checkpoint
from tokenizer.engine.training.compilation import compile_in_place
from tokenizer.engine.training.gpu import GpuUse
from tokenizer.engine.training.memory import DISK_FULL_ADVICE, disk_errors, memory_errors
from tokenizer.engine.training.precision import (
    enable_cudnn_benchmark,
    resolve_device,
    resolve_precision,
)
from tokenizer.engine.training.run import NEW_RUN, RunFolder, RunOptions
from tokenizer.engine.training.schedule import warmup_cosine, warmup_share
from tokenizer.engine.training.tensorboard import writer_class
from tokenizer.engine.training.throughput import Throughput
from tokenizer.engine.training.train_state import TrainState

from ..checkpoints.backbones import start_from_backbone
from ..checkpoints.regressor_file import check_tokenizer_digest, export_run, load_strictly
from ..config import RegressorConfig
from ..datasets.crop_dataset import CropDataset
from ..datasets.keypoints.samples import KeypointStream, check_evidence, stream_of
from ..datasets.loader import Stream, started, wanted_workers, worker_errors
from ..datasets.mixtures import Mixture
from ..losses.choice import check_tokens
from ..network.model import Regressor, RegressorNetwork, build_regressor
from ..sample import to_device
from .gradients import forward_backward, unused_parameters
from .initialization import about_backbone, about_start, check_same_start, start_from_means, start_from_regressor
from .optimizer import frozen_parts, make_optimizer
from .validation import Validation

OOM_ADVICE = (
    "Start another run with --set optim.accumulate=4 (the same steps, a quarter of the batch at a time) or a smaller "
    "optim.batch; a ViT needs far less with --set backbone.gradient_checkpointing=true"
)
_ANNOTATION_FOR_MEANS = 4096
"""Samples whose mean annotation is the initial prediction."""
Progress = Callable[[int, int, dict[str, float]], None]


def train_regressor(
    crops: CropDataset | Mixture,
    tokenizer: FrozenTokenizer,
    run_path: str | Path,
    config: RegressorConfig,
    body: Body,
    *,
    options: RunOptions = NEW_RUN,
    true_bodies: Mapping[str, Body] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train on the train splits of ``crops``, validate on their val splits, export the averaged weights.

    Return the path of the exported file, ``run_path/regressor.pt``. The best weights are those of the validation with
    the lowest ``config.best_by``. ``true_bodies``: the female and male bodies by gender, to validate their shapes
    against. With ``options.resume`` the configuration of the run counts; on a CPU the result is bit-identical to that
    of an uninterrupted run with as many threads. ``progress`` is called with (step, steps, latest figures). Under
    ``torchrun`` every process takes its part of each batch, with the result of one process up to rounding; rank 0 alone
    writes, and calls ``progress``.

    Raise ``UserError`` for an empty split, other crops or another tokenizer than the run began with, a backbone or
    start that does not fit, a batch that cannot be divided, a non-finite loss or gradient (the batch is saved in the
    run folder), and where memory runs out.
    """
    mixture = Mixture.of(crops)
    with process_group(), memory_errors("in training", OOM_ADVICE), disk_errors(DISK_FULL_ADVICE), worker_errors():
        run_path = Path(run_path)
        run = RunFolder(run_path, *from_rank_0(_open_run, run_path, config, mixture, tokenizer, body, options))
        with run.removed_if_it_fails_early():
            if options.tensorboard and rank() == 0:
                run.open_tensorboard()
            _train(run, mixture, tokenizer, body, options, true_bodies, progress)
        path = run.path / "regressor.pt"
        return export_run(run.path, path, mixture, tokenizer, body, options.export) if rank() == 0 else path


def _train(
    run: RunFolder,
    mixture: Mixture,
    tokenizer: FrozenTokenizer,
    body: Body,
    options: RunOptions,
    true_bodies: Mapping[str, Body] | None,
    progress: Progress | None,
) -> None:
    # 1. Settings: rank 0 resolved device and precision once, and wrote them into the run.
    config = from_dict(RegressorConfig, run.config["regressor"])
    optim = config.optim
    device = run_on_all_ranks(lambda: own_device(resolve_device(config.device)))
    precision = resolve_precision(config.precision, device)

    # 2. Data: worker processes prefetch batches; the validation samples stay in memory.
    run_on_all_ranks(mixture.check_digest, run.config["crops"])  # each machine may read its own copy
    mixture = mixture.at_size(config.image_size)
    size = optim.batch // world_size()
    stream = stream_of(mixture, config, body, slice(rank() * size, (rank() + 1) * size))
    validation = Validation(mixture, config, run, true_bodies or {}, device) if rank() == 0 else None

    # 3. Model, optimizer, average.
    torch.manual_seed(config.seed)
    tokenizer, body = tokenizer.to(device), body.to(device)
    regressor = run_on_all_ranks(build_regressor, config, tokenizer, precision).to(device)
    network = regressor.network
    _initialize(network, tokenizer, stream, config, options if run.state is None else NEW_RUN)
    frozen = run_on_all_ranks(frozen_parts, network, config.backbone.trainable)
    optimizer, lr_factors = run_on_all_ranks(make_optimizer, network, optim)
    train_state = TrainState(
        "network",
        network,
        optimizer,
        decay=optim.average,
        device=device,
        precision=precision,
        load_weights=partial(load_strictly, what="the checkpoint"),
    )
    budget = StepBudget(run.path, _plan(config, mixture), run.state)
    if run.state is not None:
        train_state.load(run.state)
        run.state = None  # as large as everything else together
    forward = _prepare_forward(regressor, body, tokenizer, frozen)
    scale, average = train_state.scale, train_state.average

    # 4. Steps. Every random draw comes from (seed, step); the budget knows the progress.
    pace, gpu = Throughput(), GpuUse(device)
    workers = wanted_workers(mixture, config.data.workers, device, processes_here())
    batches = started(stream.batches(budget.step, budget.max_steps, workers, device))
    warmup = warmup_share(optim.warmup, optim.steps, optim.budget_s)
    budget.start()
    while budget.steps_left:
        step, began = budget.step, time.monotonic()
        batch = to_device(next(batches), device)
        waited = time.monotonic() - began
        terms = forward_backward(forward, batch, body, tokenizer, config, step, scale)
        scale.unscale(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), optim.clip or math.inf)
        # The only place where a step waits for the device. The figures are those of the whole batch on every process.
        values = sum_over_ranks(torch.stack([*terms.values(), norm / world_size()])).tolist()
        record = dict(zip([*terms, "gradient_norm"], values, strict=True))
        if not all(map(math.isfinite, values[:-1])) or scale.should_abort(values[-1]):
            from_rank_0(_stop, run, stream, config, step, record)
        for group, factor in zip(optimizer.param_groups, lr_factors, strict=True):
            group["lr"] = factor * optim.lr * warmup_cosine(budget.progress, budget.progress_per_step, warmup=warmup)
        if not scale.step(optimizer, values[-1]):
            del record["gradient_norm"]
        elif average is not None:
            average.update(network, step)
        pace.add(optim.batch, time.monotonic() - began, waited)
        step = budget.advance()
        if average is None or validation is None:
            continue

        # 5. Log, validate, save. The checkpoint comes last, so that a resumed run logs each figure once.
        machine = pace.figures()
        if step % 50 == 0 or not budget.steps_left:
            machine |= {**scale.figures(), **gpu.figures()}
            run.log({"step": step, "seconds": round(run.seconds, 2), "loss": sum(values[:-1]), **record, **machine})
        if budget.due("validation"):
            with budget.timed("validation"):
                averaged = Regressor(average.module, tokenizer, config, precision=precision).eval()
                figures = validation.figures(step, averaged, body)
            run.log({"step": step, "seconds": round(run.seconds, 2), **figures})
            record[validation.criterion] = figures[validation.criterion]
            train_state.best.update(step, figures, validation.criterion, average.module)
        if budget.due("checkpoint"):
            # The best weights are in the same file, so that both are of one moment.
            with budget.timed("checkpoint"):
                state = {"seconds": run.seconds, "tokenizer": tokenizer.digest, "schedule": budget.state_dict()}
                save_checkpoint(
                    run.checkpoints, step, {**state, **train_state.state_dict()}, keep=config.keep_checkpoints
                )
        if progress is not None:
            progress(step, step + budget.steps_left, {**record, **machine, **budget.figures()})


def _initialize(
    network: RegressorNetwork,
    tokenizer: FrozenTokenizer,
    stream: Stream | KeypointStream,
    config: RegressorConfig,
    options: RunOptions,
) -> None:
    """Start from a backbone, and from another regressor or from the means of the training annotation."""
    if options.backbone is not None:
        run_on_all_ranks(start_from_backbone, network, options.backbone)
    if options.start is not None:
        run_on_all_ranks(start_from_regressor, network, options.start)
        return
    # The other ranks take over the weights of rank 0, but not its buffers.
    annotation = broadcast_tensors(from_rank_0(stream.annotation, _ANNOTATION_FOR_MEANS), torch.device("cpu"))
    start_from_means(network, tokenizer, annotation, relative=config.head.orientation == "ray")


def _prepare_forward(
    regressor: Regressor, body: Body, tokenizer: FrozenTokenizer, frozen: Sequence[nn.Module]
) -> nn.Module:
    """Return the regressor in training mode, compiled and data-parallel where asked for; frozen parts stay in eval."""
    network, config = regressor.network, regressor.config
    device = next(network.parameters()).device
    if world_size() > 1:
        _freeze_unused_parameters(regressor, body, tokenizer)
    enable_cudnn_benchmark(device)
    if config.compile:
        compile_in_place((network.backbone, network.decoder, network.pose_head), device)
    forward = data_parallel(regressor.train())
    for part in frozen:
        part.eval()
    return forward


def _freeze_unused_parameters(regressor: Regressor, body: Body, tokenizer: FrozenTokenizer) -> None:
    """Freeze parameters that no term of the loss reaches: DDP waits for the gradient of every other one.

    Letting DDP search does not help: outputs of the network count as used, though no term of the loss looks at them.
    """
    for weight in unused_parameters(regressor, body, tokenizer).values():
        weight.requires_grad_(False)


def _plan(config: RegressorConfig, mixture: Mixture) -> Plan:
    """Return the steps and events of the training; a validation costs about as many steps as it has batches."""
    samples = min(mixture.count("val"), num_validation_samples(config.data.val_samples, config.optim.budget_s))
    return Plan(
        config.optim.steps,
        config.optim.budget_s,
        config.validate_every,
        config.checkpoint_every,
        validation_steps=-(-samples // config.optim.batch),
    )


def _open_run(
    path: Path,
    config: RegressorConfig,
    mixture: Mixture,
    tokenizer: FrozenTokenizer,
    body: Body,
    options: RunOptions,
) -> tuple[dict[str, Any], dict[str, Any] | None, Sequence[Path]]:
    """Return the settings of a run, the state it resumes from (None for a new one), and the folders made for it."""
    if options.tensorboard:
        writer_class()
    if options.resume:
        run = RunFolder.resume(path)
        check_tokenizer_digest(f"The run in {path}", run.config["tokenizer"], tokenizer)
        mixture.check_digest(run.config["crops"])
        _check_data(from_dict(RegressorConfig, run.config["regressor"]), mixture)
        if run.state is None:
            check_same_start(run.config.get("start"), options.start)
            check_same_start(run.config.get("backbone"), options.backbone, "backbone")
        return run.config, run.state, ()
    if not config.data.rank_partitions:
        config = replace(config, data=replace(config.data, rank_partitions=world_size() if mixture.remote else 1))
    _check_data(config, mixture)
    check_tokens(config)
    unmirrored = "suit" in mixture.domains and config.augment.flip > 0
    if unmirrored:
        # Its left side is bright and warm, its right dark and cool: mirrored, it would teach the wrong names.
        config = replace(config, augment=replace(config.augment, flip=0.0))
    device = resolve_device(config.device)
    config = replace(config, device=str(device), precision=resolve_precision(config.precision, device))
    about = {"regressor": to_dict(config), "tokenizer": tokenizer.digest, "crops": mixture.digest}
    if options.start is not None:
        about["start"] = about_start(options.start, config, tokenizer, body.kind)
    if options.backbone is not None:
        about["backbone"] = about_backbone(options.backbone)
    run = RunFolder.start(path, about)
    if unmirrored:
        run.note("Nothing is mirrored: the suit of synthetic people among the crops has a left and a right side")
    return run.config, None, run.made


def _check_data(config: RegressorConfig, mixture: Mixture) -> None:
    """Raise ``UserError`` where a batch cannot be divided, a split is empty, or crops have another size."""
    check_evidence(mixture.stores, config)
    check_batch_division(config.optim.batch, "images", accumulate=config.optim.accumulate)
    if config.optim.batch % max(1, config.data.rank_partitions):
        raise fail(
            "The batch cannot be divided among rank partitions",
            got=f"{config.optim.batch} images, {config.data.rank_partitions} partitions",
            next_step="Change data.rank_partitions",
        )
    counts = {split: mixture.count(split) for split in ("train", "val")}
    if not all(counts.values()):
        raise fail(
            "These crops cannot be trained on",
            got=f"{counts['train']} train and {counts['val']} val crops",
            expected="samples in train and in val",
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


def _stop(
    run: RunFolder, stream: Stream | KeypointStream, config: RegressorConfig, step: int, figures: dict[str, float]
) -> None:
    path = run.path / "nan_batch.pt"
    save_state(path, {"step": step, **stream.rows(step, slice(0, config.optim.batch))})
    raise fail(
        f"Non-finite loss or gradient at step {step}",
        got=figures,
        next_step=f"See {path}; a lower optim.lr often helps",
    )
