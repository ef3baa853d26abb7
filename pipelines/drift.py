"""The drift experiment: 3D error against 2D error, free rotations against tokens, plain against TALS."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from regressor.calibrate import camera_errors
from regressor.camera_models import camera_model
from regressor.datasets.sample import Sample
from regressor.datasets.synthetic import Painter, SyntheticConfig
from regressor.drift import Curve, PoseSpace, descend
from regressor.tals import PUBLISHED, TalsConfig
from tokenizer import load_tokenizer
from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.checkpoint import write_text_atomically
from tokenizer.engine.errors import fail
from tokenizer.mocap import prior

from .demo import surroundings
from .drift_chart import drift_chart

SPACES: tuple[PoseSpace, ...] = ("free 6D", "tokens")
WEIGHTS = (0.05, 0.0)
_QUANTILE = 0.9


@dataclass(frozen=True)
class Drift:
    """Six descents and what they rest on."""

    curves: list[Curve]
    samples: int
    steps: int
    camera: str
    thresholds: str

    def to_markdown(self) -> str:
        """One row a descent: errors at its start and at its end."""
        lines = ["| pose | 2D loss | 2D error (px at 256) | MPJPE (mm) | PA-MPJPE (mm) |", "|---|---|---|---|---|"]
        for curve in self.curves:
            cells = [
                f"{values[0]:.{digits}f} → {values[-1]:.{digits}f}"
                for values, digits in ((curve.error_2d_px, 2), (curve.mpjpe_mm, 1), (curve.pa_mpjpe_mm, 1))
            ]
            lines.append(f"| {curve.pose} | {curve.loss} | {' | '.join(cells)} |")
        about = (
            f"{self.samples} exact bodies, {self.steps} steps on 2D alone through the camera `{self.camera}`; TALS "
            f"thresholds: {self.thresholds}. MPJPE over 24 joints, pelvis on pelvis."
        )
        return "\n".join([*lines, "", about])


def run_drift(
    runs: Path, tokenizer_file: Path, *, samples: int = 200, steps: int = 100, camera: str = "reference",
    thresholds: str = "derived", seed: int = 0, progress: Callable[[int], object] | None = None,
) -> Drift:  # fmt: skip
    """Run all descents and write ``drift.json``, ``drift.md`` and ``drift.svg`` into ``runs``.

    Bodies are drawn from the embedded pose source and seen by true cameras of 24 to 85 mm. ``thresholds``: ``derived``
    (as ``pose-regressor calibrate`` does, from other bodies through the same camera) or ``published``. Raises
    ``UserError`` for anything else. ``progress`` is called after each step of each descent.
    """
    if thresholds not in ("derived", "published"):
        raise fail(f"Unknown thresholds {thresholds!r}", expected="derived or published")
    if samples < 1 or steps < 1:
        raise fail("The drift experiment needs samples and steps", got=f"{samples} and {steps}")
    tokenizer, model = load_tokenizer(tokenizer_file), camera_model(camera)
    painter = Painter(SyntheticConfig(yaw_deg=180.0, pitch_deg=14.0, roll_deg=7.0, seed=seed))
    people, others = (_people(painter, samples, 2 * seed + part) for part in (0, 1))
    if thresholds == "published":
        tals, source = PUBLISHED, "published"
    else:
        errors = camera_errors(others, model).square().numpy()
        limits = np.nanquantile(errors, _QUANTILE, axis=0).tolist()
        tals = TalsConfig(keypoints_2d=dict(zip(KEYPOINT_NAMES, limits, strict=True)))
        source = f"quantile {_QUANTILE:g} of {samples} other bodies through the same camera"
    curves = []
    for space in SPACES:
        for weight in (None, *WEIGHTS):
            curves.append(descend(
                people, painter.body, model, space, tokenizer=tokenizer, steps=steps, progress=progress,
                tals=None if weight is None else replace(tals, weight=weight),
                loss="plain" if weight is None else f"TALS, weight {weight:g}",
            ))  # fmt: skip
    drift = Drift(curves, samples, steps, camera, source)
    about = {**asdict(drift), "tokenizer": tokenizer.digest, "seed": seed, **surroundings()}
    write_text_atomically(runs / "drift.json", json.dumps(about) + "\n")
    write_text_atomically(runs / "drift.md", drift.to_markdown() + "\n")
    write_text_atomically(runs / "drift.svg", drift_chart(curves))
    return drift


@torch.no_grad()
def _people(painter: Painter, count: int, seed: int) -> Sample:
    draws = [np.random.default_rng([painter.config.seed, seed, i]) for i in range(count)]
    scene = painter.scene(prior.sample(count, seed), draws)
    return scene  # type: ignore[return-value]
