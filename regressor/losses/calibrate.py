"""Thresholds for TALS from data whose cameras and bodies are known: how far off a perfect answer looks.

The published thresholds come from one data set seen through one assumed camera. Whoever trains with another camera
model, other boxes or another baseline needs their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.camera import project
from tokenizer.body.rotations import geodesic_distance
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, keypoint_index
from tokenizer.engine.errors import fail

from ..config import TalsConfig
from ..datasets.crop_dataset import CropDataset
from ..datasets.posed_keypoints import with_posed_keypoints
from ..geometry.camera import project_to_crop
from ..geometry.camera_models import CameraModel, fit_translation
from ..network.model import Regressor, evidence_of
from ..sample import Sample, is_true_3d, to_device

_FEWEST = 4
"""2D keypoints below which a fitted camera says nothing: it has three unknowns."""
_STILL_RAD = 1e-3
"""A joint that never errs by more has not moved at all: hands that rest in the annotation and in the prediction."""
_LOOSE_DEG = 45.0
Wrap = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Row:
    """Errors of one keypoint (crop sides) or joint (radians): how many, mean, median, threshold in the same unit."""

    name: str
    count: int
    mean: float
    median: float
    threshold: float


@dataclass(frozen=True)
class Calibration:
    """Thresholds and what they rest on. ``samples`` of ``split`` were looked at; ``used`` of them knew what was needed.
    ``still``: joints that never move, which get no threshold."""

    tals: TalsConfig
    keypoints: list[Row]
    rotations: list[Row]
    samples: int
    used: int
    split: str
    still: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """Plain words where a threshold would forgive nearly everything: above 45°."""
        loose = [
            f"{row.name} {row.threshold * 180 / np.pi:.0f}°"
            for row in self.rotations
            if row.threshold * 180 / np.pi > _LOOSE_DEG
        ]
        if not loose:
            return []
        return [
            f"thresholds above {_LOOSE_DEG:g}° hardly ask for anything: {', '.join(loose)}. Is the baseline "
            "trained, and are these the bodies it was trained on?"
        ]

    def to_markdown(self) -> str:
        """Two tables: keypoints in per cent of the crop's side, joints in degrees."""
        lines = [f"{self.tals.source}. {self.used:,} of {self.samples:,} samples of split {self.split!r} used.", ""]
        lines += [f"Warning: {text}\n" for text in self.warnings()]
        if self.still:
            lines += [f"No threshold for {', '.join(self.still)}: they never move in these data.", ""]
        for title, unit, scale, rows in (
            ("keypoint", "% of the crop", 100.0, self.keypoints),
            ("joint", "degrees", 180 / np.pi, self.rotations),
        ):
            if rows:
                lines += [f"| {title} | samples | mean ({unit}) | median | threshold |", "|---|---|---|---|---|"]
                for row in rows:
                    figures = (row.mean * scale, row.median * scale, row.threshold * scale)
                    lines.append(f"| {row.name} | {row.count:,} | " + " | ".join(f"{f:.2f}" for f in figures) + " |")
                lines.append("")
        return "\n".join(lines).rstrip()


def camera_errors(sample: Sample, camera: CameraModel) -> Tensor:
    """Distance (B,44), crop units, of the true 3D keypoints seen through ``camera`` from their true 2D.

    Each body stands where it is seen best. NaN where 2D or 3D is unknown, and in samples with too few keypoints. On the
    CPU, in float64 inside, wherever the sample is.
    """
    sample = cast(Sample, {name: values.cpu() for name, values in sample.items() if name != "image"})  # type: ignore[attr-defined]
    valid = _both_known(sample)
    points = torch.where(valid[..., None], sample["keypoints_3d"][..., :3], 0.0)
    # Where the camera really stood says nothing here: only the body's form enters.
    points = points - points.sum(1, keepdim=True) / valid.sum(1)[:, None, None].clamp_min(1)
    target = torch.where(valid[..., None], sample["keypoints_2d"][..., :2], 0.0)
    K = camera(sample)
    translation = fit_translation(points, target, valid.double(), K)
    projected = project(points.double() + translation[:, None], K.double())
    enough = valid.sum(1, keepdim=True) >= _FEWEST
    return torch.where(valid & enough, (projected - target).norm(dim=-1), torch.nan).float()


@torch.no_grad()
def baseline_errors(sample: Sample, baseline: Regressor, body: Body) -> tuple[Tensor, Tensor]:
    """→ distance (B,44), crop units, of the true 3D keypoints from their true 2D, seen through the camera that
    ``baseline`` predicts, pelvis on its pelvis; and the angle (B,24), radians, of its rotations from the true ones.

    NaN where something is unknown. The first of the 24 is the global orientation.
    """
    prediction = baseline(evidence_of(sample), box=sample["box"], K=sample["K"], body=body)
    pelvis = keypoint_index("mpii_pelvis")
    own = prediction.keypoints(body)[:, pelvis] + prediction.camera_translation()
    true = sample["keypoints_3d"]
    points = true[..., :3] - true[:, pelvis : pelvis + 1, :3] + own[:, None]
    projected = project_to_crop(points, prediction.box, prediction.K)
    valid = _both_known(sample) & (true[:, pelvis, 3:] > 0)
    apart = torch.where(valid, (projected - sample["keypoints_2d"][..., :2]).norm(dim=-1), torch.nan)
    angle = torch.cat(
        [
            geodesic_distance(prediction.global_orient, sample["global_orient"][:, None]),
            geodesic_distance(prediction.body_pose, sample["body_pose"]),
        ],
        1,
    )
    true_3d = is_true_3d(sample)[:, None]
    known = torch.cat([sample["has_global_orient"][:, None], sample["has_body_pose"][:, None].expand(-1, 23)], 1)
    return apart, torch.where(known & true_3d, angle, torch.nan)


@dataclass(frozen=True)
class CalibrationOptions:
    """``quantile`` of the errors below which they count little; ``weight``: how little; ``source``: where thresholds
    come from, in words; ``at_most`` samples are looked at, ``batch`` at a time. Raise ``UserError`` for a quantile
    outside (0, 1)."""

    quantile: float = 0.9
    weight: float = 0.05
    source: str = ""
    at_most: int | None = None
    batch: int = 128

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise fail("The quantile is impossible", got=self.quantile, expected="between 0 and 1, e.g. 0.9")


DEFAULT_OPTIONS = CalibrationOptions()


def calibrate(
    store: CropDataset,
    split: str,
    *,
    camera: CameraModel | None = None,
    baseline: Regressor | None = None,
    body: Body | None = None,
    options: CalibrationOptions = DEFAULT_OPTIONS,
    progress: Wrap | None = None,
) -> Calibration:
    """Derive thresholds from a split: the quantile of each keypoint's and joint's errors.

    Samples without 3D keypoints get those of their annotated ``body``, if it is given.
    With ``camera``, 2D thresholds are those of bodies placed where this camera fits them best. With ``baseline``
    (and the ``body`` of the annotation) rotation thresholds come from its predictions, and so do, without ``camera``,
    those of 2D: from its predicted cameras. Pseudo labels are left out. Raises ``UserError`` where nothing is left to
    look at.
    """
    quantile, batch = options.quantile, options.batch
    if body is not None:
        body = body.to("cpu" if baseline is None else next(baseline.parameters()).device)
    if (baseline is None and camera is None) or (baseline is not None and body is None):
        raise fail(
            "Thresholds come from a camera model or from a baseline with its body", expected="one of the two, or both"
        )
    if baseline is not None:
        store = store.at_size(baseline.config.image_size)
    count = min(store.count(split), options.at_most or store.count(split))
    apart, angles = [], []
    starts: Iterable[int] = range(0, count, batch)
    for start in progress(starts) if progress else starts:
        sample = store.sample(np.arange(start, min(start + batch, count)), split)
        if baseline is not None:
            sample = to_device(sample, next(baseline.parameters()).device)
        if body is not None:
            sample = with_posed_keypoints(sample, body)
        if baseline is not None and body is not None:
            pixels, turned = baseline_errors(sample, baseline, body)
            angles.append(turned.cpu())
        if camera is not None:
            pixels = camera_errors(sample, camera)
        apart.append(pixels.cpu())
    if not apart or torch.cat(apart).isnan().all():
        raise fail(
            f"Nothing to calibrate on in split {split!r} of {store.path}",
            got=f"{count} samples",
            expected="samples with true 2D and 3D keypoints, or with the body that has them",
            next_step="Give the body of the annotation, SMPL's, with --body",
        )
    distances = torch.cat(apart).double().numpy()
    keypoints = _rows(distances, KEYPOINT_NAMES, quantile)
    turns = torch.cat(angles).double().numpy() if angles else np.full((1, len(JOINT_NAMES)), np.nan)
    largest = np.where(np.isnan(turns), -1, turns).max(0)
    still = (largest >= 0) & (largest < _STILL_RAD)
    rotations = _rows(np.where(still, np.nan, turns), JOINT_NAMES, quantile)
    tals = TalsConfig(
        keypoints_2d={row.name: row.threshold**2 for row in keypoints},
        rotations={row.name: row.threshold for row in rotations},
        weight=options.weight,
        source=options.source or f"calibrated: quantile {quantile:g} on {store.digest[:12]}, {split}",
    )
    used = int((~np.isnan(distances)).any(1).sum())
    names = tuple(name for name, rests in zip(JOINT_NAMES, still, strict=True) if rests)
    return Calibration(tals, keypoints, rotations, count, used, split, names)


def _both_known(sample: Sample) -> Tensor:
    annotated = (sample["keypoints_2d"][..., 2] > 0) & (sample["keypoints_3d"][..., 3] > 0)
    return annotated & is_true_3d(sample)[:, None]


def _rows(errors: np.ndarray, names: tuple[str, ...], quantile: float) -> list[Row]:
    """One row for every column of errors (N,len(names)) that is known anywhere; NaN is unknown."""
    rows = []
    for name, column in zip(names, errors.T, strict=True):
        valid = column[~np.isnan(column)]
        if len(valid):
            figures = (valid.mean(), np.median(valid), np.quantile(valid, quantile))
            rows.append(Row(name, len(valid), *map(float, figures)))
    return rows
