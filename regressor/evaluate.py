"""Errors of a regressor on a split, beside baselines that look at no image. Every sample counts, none is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body, FrozenTokenizer
from tokenizer.body.metrics import mpjpe, pa_mpjpe, pve
from tokenizer.body.rotations import geodesic_distance
from tokenizer.body.skeleton import NUM_BODY_JOINTS, index
from tokenizer.engine.errors import fail
from tokenizer.engine.precision import resolve_device

from .batches import num_samples, take, to_device
from .datasets.sample import Sample
from .datasets.store import CropStore
from .model import Regressor, normalise
from .weights import load_regressor

PROTOCOL = (
    "Millimetres. MPJPE: mean distance over the 24 SMPL joints, camera axes, pelvis joints put on each other; "
    "PA-MPJPE: the same joints after the best similarity (Umeyama, no reflection); PVE: all {vertices:,} vertices, "
    "pelvis joints put on each other. Predicted shape against annotated shape. Boxes: those of the annotation. "
    "Every sample of the split counts once; means over samples."
)
REFERENCE_ROW = "mean pose, true orientation"
Wrap = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Means:
    """What a training split says before any image: joints (24,3) about the pelvis in camera axes; body_pose (23,3,3)
    and orientation (3,3), chordal means; betas (10,)."""

    joints: Tensor
    body_pose: Tensor
    orientation: Tensor
    betas: Tensor


@dataclass
class Report:
    """``rows``: name → per-sample errors in mm (N,), keys ``mpjpe_mm``, ``pa_mpjpe_mm``, ``pve_mm`` (absent where a
    row has no mesh); ``about``: protocol, data, digests."""

    about: dict[str, Any]
    rows: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def means(self) -> dict[str, dict[str, float]]:
        """Mean of every figure of every row."""
        return {row: {name: float(v.mean()) for name, v in errors.items()} for row, errors in self.rows.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with ratios to the row ``REFERENCE_ROW``."""
        means = self.means()
        base = means[REFERENCE_ROW]
        ratios = {row: {name: value / base[name] for name, value in figures.items()} for row, figures in means.items()}
        return {**self.about, "errors_mm": means, "ratio_to": REFERENCE_ROW, "ratios": ratios}

    def to_markdown(self) -> str:
        """A table with one row each; in brackets the ratio to ``REFERENCE_ROW``."""
        plain = self.to_dict()
        lines = ["| | MPJPE | PA-MPJPE | PVE |", "|---|---|---|---|"]
        for row, figures in plain["errors_mm"].items():
            cells = [
                f"{figures[name]:.1f} ({plain['ratios'][row][name]:.2f})" if name in figures else "–"
                for name in ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm")
            ]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        lines += ["", f"In brackets: ratio to “{REFERENCE_ROW}”. {self.about['protocol']}"]
        return "\n".join(lines)


def joint_errors(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Joints (B,24,3) against (B,24,3), metres → ``mpjpe_mm`` and ``pa_mpjpe_mm``, (B,) each."""
    root = index("pelvis")
    predicted, target = (joints - joints[:, root : root + 1] for joints in (predicted, target))
    return {"mpjpe_mm": 1000 * mpjpe(predicted, target), "pa_mpjpe_mm": 1000 * pa_mpjpe(predicted, target)}


@torch.no_grad()
def score_predictions(regressor: Regressor, samples: Sample, body: Body, *, batch: int = 128) -> dict[str, Tensor]:
    """``joint_errors`` and ``orientation_deg`` of every sample, (N,) each on the CPU: quick, for validation."""
    device = next(regressor.parameters()).device
    parts: list[dict[str, Tensor]] = []
    for start in range(0, num_samples(samples), batch):
        some = to_device(take(samples, slice(start, start + batch)), device)
        prediction = regressor(normalise(some["image"]), box=some["box"], K=some["K"])
        truth = body.joints(some["body_pose"], root=some["global_orient"], betas=some["betas"])
        turned = geodesic_distance(prediction.global_orient[:, 0], some["global_orient"]).rad2deg()
        parts.append({**joint_errors(prediction.joints(body), truth), "orientation_deg": turned})
    return _joined(parts)


def chordal_mean(rotations: Tensor) -> Tensor:
    """Rotations (N,...,3,3) → the rotation (...,3,3) at least mean squared chordal distance (Hartley et al., 2013)."""
    u, _, vh = torch.linalg.svd(rotations.double().mean(0))
    sign = torch.linalg.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return ((u * flip[..., None, :]) @ vh).to(rotations.dtype)


@torch.no_grad()
def training_means(samples: Sample, body: Body) -> Means:
    """The image-blind knowledge of a training split, for the baselines."""
    root = index("pelvis")
    joints = body.joints(samples["body_pose"], root=samples["global_orient"], betas=samples["betas"])
    return Means(
        joints=(joints - joints[:, root : root + 1]).mean(0),
        body_pose=chordal_mean(samples["body_pose"]),
        orientation=chordal_mean(samples["global_orient"]),
        betas=samples["betas"].mean(0),
    )


@torch.no_grad()
def evaluate_split(
    regressors: dict[str, Regressor],
    samples: Sample,
    means: Means,
    tokenizer: FrozenTokenizer,
    body: Body,
    about: dict[str, Any],
    *,
    batch: int = 32,
    progress: Wrap | None = None,
) -> Report:
    """Score ``regressors`` by row name, the three baselines of ``means``, and the vocabulary's ceiling: the true pose
    after encoding and decoding, with true orientation and shape.

    ``samples`` must know pose, orientation and shape of everybody (synthetic crops do).
    """
    device = next(iter(regressors.values())).network.mean_betas.device
    root = index("pelvis")
    parts: dict[str, list[dict[str, Tensor]]] = {}
    starts: Iterable[int] = range(0, num_samples(samples), batch)
    for start in progress(starts) if progress else starts:
        some = to_device(take(samples, slice(start, start + batch)), device)
        count = num_samples(some)
        pose, orientation, betas = some["body_pose"], some["global_orient"], some["betas"]
        true_joints = body.joints(pose, root=orientation, betas=betas)
        true_mesh = body.vertices(pose, root=orientation, betas=betas) - true_joints[:, root : root + 1]

        def add(row: str, pose: Tensor, orientation: Tensor, betas: Tensor) -> None:
            joints = body.joints(pose, root=orientation, betas=betas)
            mesh = body.vertices(pose, root=orientation, betas=betas) - joints[:, root : root + 1]
            errors = {**joint_errors(joints, true_joints), "pve_mm": 1000 * pve(mesh, true_mesh)}  # noqa: B023
            parts.setdefault(row, []).append(errors)

        for row, regressor in regressors.items():
            prediction = regressor(normalise(some["image"]), box=some["box"], K=some["K"])
            add(row, prediction.body_pose, prediction.global_orient[:, 0], prediction.betas)
        mean_pose, mean_betas = means.body_pose.expand_as(pose), means.betas.expand_as(betas)
        parts.setdefault("mean 3D joints", []).append(joint_errors(means.joints.expand(count, -1, -1), true_joints))
        add("mean pose, mean orientation", mean_pose, means.orientation.expand_as(orientation), mean_betas)
        add(REFERENCE_ROW, mean_pose, orientation, mean_betas)
        through_tokens = tokenizer.decode(tokenizer.encode(pose[:, :NUM_BODY_JOINTS]))
        rebuilt = torch.cat([through_tokens, pose[:, NUM_BODY_JOINTS:]], 1)
        add("true pose through the tokens (ceiling)", rebuilt, orientation, betas)
    protocol = PROTOCOL.format(vertices=len(body.v_template))
    report = Report({"protocol": protocol, "samples": num_samples(samples), **about})
    report.rows = {row: _joined(errors) for row, errors in parts.items()}
    return report


def evaluate_files(
    regressor_files: Sequence[Path],
    store: CropStore,
    split: str,
    tokenizer: FrozenTokenizer,
    body: Body,
    *,
    device: str = "auto",
    progress: Wrap | None = None,
) -> Report:
    """``evaluate_split`` of exported regressors on a split of a crop store, baselines from its train split.

    Raises ``UserError`` for an empty split, crops of another size, or people whose pose, orientation or shape is not
    known.
    """
    target = resolve_device(device)
    if not store.count(split):
        raise fail(f"{store.path} has no crops in split {split!r}")
    samples, training = (store.sample(np.arange(store.count(name)), name) for name in (split, "train"))
    for name, some in ((split, samples), ("train", training)):
        unknown = [flag for flag in ("has_body_pose", "has_global_orient", "has_betas") if not some[flag].all()]
        if unknown:
            raise fail(f"Split {name!r} of {store.path} cannot be scored", got=f"samples without {', '.join(unknown)}")
    regressors: dict[str, Regressor] = {}
    for path in regressor_files:
        regressor = load_regressor(path, tokenizer=tokenizer, device=str(target))
        if regressor.config.image_size != store.size:
            raise fail(f"Regressor {path} sees crops of another size", got=f"{store.size} px",
                       expected=f"{regressor.config.image_size} px")  # fmt: skip
        row = "regressor, " + ("tokens" if regressor.config.head.pose == "tokens" else "continuous 6D")
        regressors[row if row not in regressors else f"{row} ({path})"] = regressor
    means = training_means(training, body)
    about = {
        "crops": store.digest, "split": split, "domain": store.attributes.get("domain"), "tokenizer": tokenizer.digest,
        "body": body.kind,
        "regressors": {row: str(path) for row, path in zip(regressors, regressor_files, strict=True)},
    }  # fmt: skip
    on_device = Means(*(getattr(means, field.name).to(target) for field in fields(means)))
    return evaluate_split(
        regressors, samples, on_device, tokenizer.to(target), body.to(target), about, progress=progress
    )


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
