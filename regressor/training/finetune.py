"""Fine-tuning on a user's own photographs: from any exported regressor, with 2D keypoints alone if need be.

Nothing in 2D holds a body in depth: it can follow its keypoints and leave the truth. Hence defaults that move little:
a backbone that stays, few steps at a low rate, poses that remain those of the vocabulary, and thresholds below which a
2D error hardly counts (TALS).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body, FrozenTokenizer
from tokenizer.engine.config import resolve
from tokenizer.engine.errors import fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.training.memory import DISK_FULL_ADVICE, disk_errors, memory_errors
from tokenizer.engine.training.precision import resolve_device
from tokenizer.engine.training.run import RunFolder, RunOptions, removed_on_error

from ..checkpoints.regressor_file import check_body, load_regressor
from ..config import RegressorConfig
from ..datasets.annotation import ReadOptions
from ..datasets.crop_dataset import CropDataset, check_body_model, open_crops
from ..datasets.mixtures import mix_auxiliary, open_auxiliary
from ..datasets.prepare import StoreOptions, prepare_shards
from ..datasets.shards import INDEX
from ..losses.choice import with_loss
from ..network.model import Regressor, evidence_of
from ..sample import Sample, num_samples, take, to_device
from .initialization import check_same_start, starting_config
from .train import OOM_ADVICE, Progress, train_regressor
from .validation import choose_criterion, joint_errors, known_figures, score_predictions

RESULT = "finetune.json"
_BATCH = 16
_PASSES, _FEWEST_STEPS, _MOST_STEPS = 20, 200, 2000
_HIGHEST_RATE = 1e-4
_WARMUP = 50
_VALIDATIONS = 10
_LOOKED_AT = 64


@dataclass(frozen=True)
class Photographs:
    """What to learn from: ``sources`` of a ``data_format`` of ``pose-regressor prepare`` with ``images`` elsewhere, or
    one folder that it prepared; ``val_share`` of the photographs becomes the validation split. ``also``:
    ``PATH=SHARE``, crops of other data and their share of a training batch, against forgetting."""

    sources: tuple[Path, ...]
    images: Path | None = None
    data_format: str = "coco"
    val_share: float = 0.2
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune, see ``finetune_config``; ``device``: ``auto`` for that of the regressor's configuration."""

    tals: str = "published"
    trainable: str = "none"
    steps: int | None = None
    minutes: float | None = None
    assignments: tuple[str, ...] = ()
    device: str = "auto"


@dataclass(frozen=True)
class Callbacks:
    """What is called on the way: ``preparing`` and ``training`` with progress, see ``prepare_shards`` and
    ``train_regressor``; ``note`` with a line of text for the user."""

    preparing: Callable[[int, int, int], object] | None = None
    training: Progress | None = None
    note: Callable[[str], object] = lambda text: None


@dataclass(frozen=True)
class FinetuneResult:
    """What came of it: the exported file; figures of the held-out people before and after, by name, and by which of
    them it was ``judged``; how many people on each side; how far the held-out bodies moved in 3D, ``joint_errors``."""

    regressor: str
    before: dict[str, float]
    after: dict[str, float]
    judged: str
    train: int
    val: int
    moved: dict[str, float]

    @property
    def better(self) -> bool:
        """Whether the error on those held out fell."""
        return self.after[self.judged] < self.before[self.judged]


def finetune_config(
    start: RegressorConfig, people: int, options: FinetuneOptions, share: float = 1.0
) -> RegressorConfig:
    """The configuration to fine-tune ``start`` on with so many ``people``.

    The published loss, in which only what is known counts, with TALS at ``options.tals``. The rate is the one it was
    trained with, and at most 1e-4. Steps: twenty passes over the people, who are ``share`` of each batch, but at least
    200, so that the average of the weights leaves the start, and at most 2000, so that a large set is not learned by
    heart. ``options.assignments`` come last. Raises ``UserError`` for options that do not exist, and for a regressor
    that sees no images.
    """
    if start.backbone.kind == "keypoints":
        raise fail(
            "Fine-tuning trains on photographs, and this regressor sees 2D keypoints",
            got="backbone.kind 'keypoints'",
            expected="a regressor that sees images",
        )
    steps = options.steps or int(np.clip(_PASSES * people / (share * _BATCH), _FEWEST_STEPS, _MOST_STEPS))
    often = max(1, steps // _VALIDATIONS)
    optim = replace(
        start.optim,
        steps=steps,
        batch=_BATCH,
        accumulate=1,
        lr=min(start.optim.lr, _HIGHEST_RATE),
        warmup=min(_WARMUP, steps // 4),
        budget_s=60 * (options.minutes or 0.0),
    )
    config = replace(start, optim=optim, validate_every=often, checkpoint_every=often)
    config = with_loss(config, form="published", tals=options.tals)
    return resolve(config, assignments=[f"backbone.trainable={options.trainable}", *options.assignments])


NO_CALLBACKS = Callbacks()


@memory_errors("in fine-tuning", OOM_ADVICE)
@disk_errors(DISK_FULL_ADVICE)
def finetune(
    photographs: Photographs,
    start: Path,
    tokenizer: FrozenTokenizer,
    body: Body,
    run_path: Path,
    options: FinetuneOptions,
    *,
    resume: bool = False,
    callbacks: Callbacks = NO_CALLBACKS,
) -> FinetuneResult:
    """Prepare the photographs into ``run_path/data``, train from the exported regressor ``start`` in ``run_path``, and
    evaluate before and after on the held-out ones. The result is also written to ``run_path/finetune.json``.

    With ``resume`` preparation and training resume. Raise ``UserError`` for a start of another body or vocabulary,
    several processes, photographs of which nobody remains, or of which nothing can be held out or trained on; nothing
    is left behind then.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise fail(
            "Fine-tuning in one command is the work of one process",
            got="several, under torchrun",
            next_step="Use `prepare --val-share`, then `train --start`",
        )
    target = resolve_device(options.device)
    going_on = (run_path / "config.json").exists()
    if going_on and not resume:
        raise fail(
            f"{run_path} already holds a run", next_step="Resume it with --resume, or choose another --run folder"
        )
    if going_on:
        check_same_start(RunFolder.open(run_path).config.get("start"), start)
    begun = starting_config(start)
    finetune_config(begun, 0, options)  # wrong options fail before any work
    auxiliary = open_auxiliary(photographs.also)
    regressor = load_regressor(start, tokenizer=tokenizer, device=str(target))
    check_body(start, regressor.provenance, body.kind)
    with removed_on_error(run_path / "data", unless=run_path / "config.json"):
        store = _prepared(photographs, run_path / "data", callbacks).at_size(regressor.config.image_size)
        mixture = mix_auxiliary(store, auxiliary)
        predicted = store.as_predicted(regressor.config.backbone.aspect)
        held_out = predicted.sample(np.arange(store.count("val")), "val")
        if "keypoints_2d_pct" not in known_figures(held_out):
            raise fail("Nobody held out has a 2D keypoint", next_step="Annotate more, or hold out more")
        body = body.to(target)
        before, joints = _means(score_predictions(regressor, held_out, body)), _joints(regressor, held_out, body)
        del regressor

        for note in (mixture.note, check_body_model(mixture.stores.values(), body)):
            if note:
                callbacks.note(note)
        config = finetune_config(begun, store.count("train"), options, 1 - sum(other.share for other in auxiliary))
        config = replace(config, device=options.device if options.device != "auto" else config.device)
        callbacks.note(f"{store.count('train'):,} people to train on, {store.count('val'):,} held out")
        path = train_regressor(
            mixture,
            tokenizer,
            run_path,
            config,
            body,
            options=RunOptions(start=start, resume=going_on),
            progress=callbacks.training,
        )

    body = body.to(target)
    tuned = load_regressor(path, tokenizer=tokenizer, device=str(target))
    after = _means(score_predictions(tuned, held_out, body))
    changes = _means(joint_errors(_joints(tuned, held_out, body), joints))
    judged = choose_criterion(tuned.config, held_out)
    result = FinetuneResult(str(path), before, after, judged, store.count("train"), store.count("val"), changes)
    write_text_atomically(run_path / RESULT, json.dumps(asdict(result), indent=2) + "\n")
    return result


def _prepared(
    photographs: Photographs,
    out: Path,
    callbacks: Callbacks,
) -> CropDataset:
    sources, left_out = photographs.sources, []
    if len(sources) == 1 and (sources[0] / INDEX).is_file():
        store, remedy = open_crops(sources[0]), "Prepare it with --val-share"
    else:
        reading = ReadOptions(photographs.images, "train", val_share=photographs.val_share)
        report = prepare_shards(
            photographs.data_format, list(sources), out, reading, StoreOptions(), progress=callbacks.preparing
        )
        if "keypoints" in report.about:
            callbacks.note(f"keypoints: {report.about['keypoints']}")
        for reason, count in sorted(report.skipped.items()):
            callbacks.note(f"left out, {reason}: {count:,}")
        left_out = report.broken
        for name, reason in left_out[:5]:
            callbacks.note(f"left out, {name}: {reason}")
        store, remedy = open_crops(out), "Give more photographs (or another --val-share)"
    empty = [split for split in ("train", "val") if split not in store.splits or not store.count(split)]
    if empty:
        held_out = store.attributes.get("held_out", "nothing")
        raise fail(
            "There must be people to train on, and others to judge by",
            next_step=remedy,
            got=f"nobody in {' and '.join(empty)}; held out is {held_out}",
        )
    if len(left_out) > 5:
        callbacks.note(f"left out, {len(left_out):,} in all; the others are listed in {out / 'left_out.txt'}")
    return store


def _means(scores: dict[str, Tensor]) -> dict[str, float]:
    return {name: round(float(values.mean()), 4) for name, values in scores.items()}


@torch.no_grad()
def _joints(regressor: Regressor, samples: Sample, body: Body) -> Tensor:
    """Joints (N,24,3) of the first people as predicted, camera axes, metres, on the CPU."""
    device = regressor.network.mean_betas.device
    parts = []
    for start in range(0, min(num_samples(samples), _LOOKED_AT), _BATCH):
        on_device = to_device(take(samples, slice(start, start + _BATCH)), device)
        parts.append(
            regressor(evidence_of(on_device), box=on_device["box"], K=on_device["K"], body=body).joints(body).cpu()
        )
    return torch.cat(parts)
