"""Training of the regressor: one function, numbered sections."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokenizer import Body, FrozenTokenizer
from tokenizer.body.skeleton import NUM_BODY_JOINTS, index
from tokenizer.engine.averaging import WeightAverage
from tokenizer.engine.checkpoint import save_checkpoint, save_state
from tokenizer.engine.errors import fail
from tokenizer.engine.options import from_dict, to_dict
from tokenizer.engine.precision import resolve_device, resolve_precision
from tokenizer.engine.run import RunFolder
from tokenizer.engine.schedule import steps_within, warmup_cosine

from .augmentation import augment
from .backbone_file import start_from_backbone
from .batches import take, to_device
from .camera import ray_rotation, translation_to_crop_camera
from .config import RegressorConfig
from .datasets.sample import Sample
from .datasets.store import CropStore
from .evaluate import score_predictions
from .heads import TokenHead
from .losses import regression_loss
from .mixer_head import MixerTokenHead
from .model import Regressor, RegressorNetwork, build_regressor, normalise
from .weights import check_vocabulary, load_strictly, save_regressor

_PACE_STEPS = 30
Progress = Callable[[int, int, dict[str, float]], None]


def train_regressor(
    store: CropStore,
    tokenizer: FrozenTokenizer,
    run_path: str | Path,
    config: RegressorConfig,
    body: Body,
    *,
    backbone: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Train on the store's train split, validate on its val split, export the averaged weights.

    Returns the path of the exported file, ``run_path/regressor.pt``. ``backbone`` is a file of imported weights to
    begin with. With ``resume`` the run's own configuration counts and ``config`` is not looked at; on a CPU the result
    is bit-identical to that of an unbroken run with as many threads. ``progress`` is called with (step, steps, latest
    figures). Raises ``UserError`` for an empty split, other crops or another artifact than the run began with, a
    backbone that does not fit, or a loss that is no number (the batch is saved in the folder).
    """
    # 1. The run folder; what was left to choose by the machine is chosen once and written down.
    if resume:
        run = RunFolder.resume(run_path)
        config = from_dict(RegressorConfig, run.config["regressor"])
        check_vocabulary(f"The run in {run_path}", run.config["tokenizer"], tokenizer)
        if run.config["crops"] != store.digest:
            raise fail("This run was trained on other crops", got=store.digest[:12], expected=run.config["crops"][:12])
    else:
        if store.attributes.get("domain") == "suit":
            # Its left side is bright and warm, its right dark and cool: mirrored, it would teach the wrong names.
            config = replace(config, augment=replace(config.augment, flip=0.0))
        device = resolve_device(config.device)
        config = replace(config, device=str(device), precision=resolve_precision(config.precision, device))
        run = RunFolder.start(run_path, _about(config, tokenizer, store))
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)

    # 2. Crops: whole splits in memory, as bytes.
    store = store.at_size(config.image_size)
    counts = {split: store.count(split) for split in ("train", "val")}
    if not all(counts.values()):
        raise fail("These crops cannot be trained on", got=f"{counts['train']} train and {counts['val']} val crops",
                   expected="both splits filled", next_step="Make more of them")  # fmt: skip
    crops, held_out = (store.sample(np.arange(counts[split]), split) for split in ("train", "val"))
    if crops["image"].shape[-1] != config.image_size:
        raise fail("The crops do not have the size of the preset", got=f"{crops['image'].shape[-1]} px",
                   expected=f"{config.image_size} px", next_step="Set image_size, or make other crops")  # fmt: skip

    rest = torch.eye(3).expand(NUM_BODY_JOINTS, 3, 3)
    pelvis = body.cpu().joints(rest, betas=crops["betas"])[:, index("pelvis")]

    # 3. Model, optimizer, average.
    torch.manual_seed(config.seed)
    tokenizer, body = tokenizer.to(device), body.to(device)
    regressor = build_regressor(config, tokenizer, precision).to(device)
    network = regressor.network
    if backbone is not None and run.state is None:
        start_from_backbone(network, backbone)
    start_from_means(network, tokenizer, crops, relative=config.head.orientation == "ray")
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.optim.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.optim.lr, betas=(0.9, 0.99),
    )  # fmt: skip
    average = WeightAverage(network, config.optim.average)
    averaged = Regressor(average.module, tokenizer, config, precision=precision).eval()
    step, steps = 0, config.optim.steps
    if run.state is not None:
        load_strictly(network, run.state["network"], what="the checkpoint")
        load_strictly(average.module, run.state["average"], what="the checkpoint")
        optimizer.load_state_dict(run.state["optimizer"])
        step = run.state["step"]

    # 4. Steps. Every random draw of a step comes from (seed, step): nothing but the weights needs restoring.
    pace: list[float] = []
    regressor.train()
    while step < steps:
        began = time.monotonic()
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        torch.manual_seed(config.seed * 1_000_003 + step)
        chosen = torch.randint(counts["train"], (config.optim.batch,), generator=generator)
        batch = augment(take(crops, chosen), config.augment, generator, pelvis[chosen])
        batch = to_device(batch, device)
        prediction = regressor(normalise(batch["image"]), box=batch["box"], K=batch["K"])
        terms = regression_loss(prediction, batch, body, tokenizer, config.loss)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            save_state(run.path / "nan_batch.pt", {"step": step, **to_device(batch, torch.device("cpu"))})
            raise fail(f"The loss is no number at step {step}", got={k: v.item() for k, v in terms.items()},
                       next_step=f"See {run.path / 'nan_batch.pt'}; a lower optim.lr often helps")  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.optim.clip)
        for group in optimizer.param_groups:
            group["lr"] = config.optim.lr * warmup_cosine(step, steps=steps, warmup=config.optim.warmup)
        optimizer.step()
        average.update(network, step)
        step += 1
        pace.append(time.monotonic() - began)
        if config.optim.budget_s and len(pace) == _PACE_STEPS:
            # Decided inside the warm-up, which does not depend on the number of steps, and written down for a resume.
            # A twentieth is left for validations and checkpoints; the first steps are slower than the rest.
            left = 0.95 * (config.optim.budget_s - run.seconds)
            usual = sum(pace[_PACE_STEPS // 6 :]) / len(pace[_PACE_STEPS // 6 :])
            steps = min(steps, step + steps_within(left, usual, at_most=steps))
            config = replace(config, optim=replace(config.optim, steps=steps, budget_s=0.0))
            run.rewrite_config(_about(config, tokenizer, store))

        # 5. Log, validate, save; the checkpoint comes last, so that a resumed run logs each figure once.
        record: dict[str, Any] = {name: float(term.detach()) for name, term in terms.items()}
        last = step == steps
        if step % 50 == 0 or last:
            run.log({"step": step, "seconds": round(run.seconds, 2), "loss": float(loss.detach()), **record})
        if step % config.validate_every == 0 or last:
            report = score_predictions(averaged, held_out, body)
            figures = {name: float(values.mean()) for name, values in report.items()}
            run.log({"step": step, "seconds": round(run.seconds, 2), **{f"val_{k}": v for k, v in figures.items()}})
            record["val_mpjpe_mm"] = figures["mpjpe_mm"]
        if step % config.checkpoint_every == 0 or last:
            save_checkpoint(run.checkpoints, step, {
                "seconds": run.seconds, "tokenizer": tokenizer.digest, "network": network.state_dict(),
                "average": average.module.state_dict(), "optimizer": optimizer.state_dict(),
            })  # fmt: skip
        if progress is not None:
            progress(step, steps, record)
    # 6. Freeze.
    metrics = {k: v for k, v in run.metrics()[-1].items() if k.startswith("val_")}
    provenance = {"crops": store.digest, "crops_attributes": store.attributes, "body": body.kind,
                  "steps": steps, "metrics": metrics}  # fmt: skip
    return save_regressor(run.path / "regressor.pt", average.module, config, tokenizer, provenance)


@torch.no_grad()
def start_from_means(
    network: RegressorNetwork, tokenizer: FrozenTokenizer, crops: Sample, *, relative: bool = True, at_most: int = 4096
) -> None:
    """Begin at what training crops say without a look at the image: mean rotations, shape, camera, token frequencies.

    Takes those of the first ``at_most`` samples that know them; what nobody knows keeps its default. Orientations count
    ``relative`` to the ray through the middle of the crop, or as they are.
    """
    some = take(crops, slice(0, at_most))
    known = some["has_body_pose"] & some["has_global_orient"] & some["has_betas"]
    if not known.any():
        return
    some = to_device(take(some, known), network.mean_betas.device)
    box, intrinsics = some["box"], some["K"]
    pose, orientation = some["body_pose"][:, :NUM_BODY_JOINTS], some["global_orient"]
    if relative:
        orientation = ray_rotation(box, intrinsics).transpose(-1, -2) @ orientation
    camera = network.mean_camera[None]
    placed = some["translation"][:, 2] > 0
    if placed.any():
        camera = translation_to_crop_camera(some["translation"][placed], box[placed], intrinsics[placed])
    network.start_at(orientation, pose, some["betas"], camera)
    if isinstance(network.pose_head, TokenHead | MixerTokenHead):
        network.pose_head.start_at(tokenizer.split_ids(tokenizer.encode(pose)))


def _about(config: RegressorConfig, tokenizer: FrozenTokenizer, store: CropStore) -> dict[str, Any]:
    return {"regressor": to_dict(config), "tokenizer": tokenizer.digest, "crops": store.digest}
