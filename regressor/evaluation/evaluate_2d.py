"""What can be said where no body is annotated: how far predicted keypoints fall from the annotated ones in the image.

This is no measure of 3D: a body can follow 2D and stand wrongly in depth (TokenHMR's first finding; ``make drift``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.errors import fail

from ..losses.keypoint_errors import PCK_AT, keypoint_distances, keypoint_scores, seen_keypoints
from ..network.model import Regressor, evidence_of
from ..sample import Sample, num_samples, to_device
from .results import compact_json
from .statistics import bootstrap_interval

FORMAT = "pose-token-hmr/evaluation-2d"
FORMAT_VERSION = 1
RULES = (
    "Distance in the image between annotated 2D keypoints and those of the predicted body seen through its predicted "
    "camera, in per cent of the side of the square box; PCK@a: share of keypoints within that part of the side. Means "
    "over the keypoints of a sample, then over samples."
)
_HEADS = {"keypoints_2d_pct": "2D error (% of the box)", **{name: f"PCK@{at:g} (%)" for name, at in PCK_AT.items()}}


@dataclass
class KeypointReport:
    """``about``: data, digests. ``rows``: regressor → figures of each scored sample (N,). ``keypoints``: regressor →
    mean error of every keypoint that is annotated anywhere, by name, per cent. ``samples``, of which ``unscored`` have
    no keypoint and ``bodies`` know some 3D. ``groups`` (N,) int: samples of one sequence."""

    about: dict[str, Any]
    rows: dict[str, dict[str, Tensor]]
    keypoints: dict[str, dict[str, float]]
    samples: int
    unscored: int
    bodies: int
    groups: np.ndarray | None = None

    def notice(self) -> str:
        """Plain words on what these figures are not."""
        if not self.bodies:
            return "There is no 3D truth in these data: nothing here says how good the bodies are in 3D."
        return f"No 3D error is taken here; {self.bodies:,} of the samples know something of their bodies."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        intervals, means = {}, {}
        for row, figures in self.rows.items():
            means[row] = {name: float(values.mean()) for name, values in figures.items()}
            table = np.stack([values.double().numpy() for values in figures.values()], 1)
            intervals[row] = dict(zip(figures, bootstrap_interval(table, self.groups).tolist(), strict=True))
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "protocol_name": "2d",
            "protocol": RULES,
            "notice": self.notice(),
            "samples": self.samples,
            "samples_without_keypoints": self.unscored,
            "samples_with_bodies": self.bodies,
            **self.about,
            "means": means,
            "intervals": intervals,
            "per_keypoint_pct": self.keypoints,
            "per_sample": {
                row: {name: np.round(v.double().numpy(), 3).tolist() for name, v in figures.items()}
                for row, figures in self.rows.items()
            },
        }

    def to_json(self) -> str:
        """``to_dict`` as text."""
        return compact_json(self.to_dict())

    def to_markdown(self) -> str:
        """The notice, and tables of errors with intervals, and by keypoint."""
        plain = self.to_dict()
        lines = [f"**{plain['notice']}**", "", "| | " + " | ".join(_HEADS.values()) + " |", "|---" * 4 + "|"]
        for row, means in plain["means"].items():
            cells = []
            for name in _HEADS:
                low, high = plain["intervals"][row][name]
                cells.append(f"{means[name]:.1f} [{low:.1f}, {high:.1f}]")
            lines.append(f"| {row} | {' | '.join(cells)} |")
        grouped = "samples" if self.groups is None else "whole sequences"
        without = f", {self.unscored:,} of them without a keypoint and not scored" if self.unscored else ""
        lines += [
            "",
            f"{RULES} In square brackets: 95 %, bootstrap over {grouped}. {self.samples:,} samples{without}.",
            "",
            "| keypoint (% of the box) | " + " | ".join(self.rows) + " |",
            "|---" * (len(self.rows) + 1) + "|",
        ]
        for name in next(iter(self.keypoints.values())):
            lines.append(f"| {name} | " + " | ".join(f"{self.keypoints[row][name]:.1f}" for row in self.rows) + " |")
        return "\n".join(lines)


@torch.no_grad()
def evaluate_keypoints(
    regressors: dict[str, Regressor],
    batches: Iterable[Sample],
    body: Body,
    about: dict[str, Any],
    sequences: Sequence[str] | None = None,
) -> KeypointReport:
    """2D errors of ``regressors`` by row name on all ``batches``. ``sequences``: the name of each sample's sequence.

    Raises ``UserError`` where no keypoint is annotated, and for non-finite predictions.
    """
    apart: dict[str, list[Tensor]] = {row: [] for row in regressors}
    marks, bodies = [], 0
    for sample in batches:
        marks.append(seen_keypoints(sample))
        bodies += int((sample["has_body_pose"] | sample["has_global_orient"]).sum())
        for row, regressor in regressors.items():
            on_device = to_device(sample, regressor.network.mean_betas.device)
            prediction = regressor(evidence_of(on_device), box=on_device["box"], K=on_device["K"], body=body)
            distances = keypoint_distances(prediction, on_device, body).cpu()
            if not distances.isfinite().all():
                raise fail(f"Non-finite predictions in row {row!r}", got=f"among {num_samples(sample)} samples")
            apart[row].append(distances)
    visible = torch.cat(marks)
    scored = visible.any(1)
    if not scored.any():
        raise fail("These samples cannot be scored", got="neither bodies nor 2D keypoints in them")
    rows, keypoints = {}, {}
    for row, parts in apart.items():
        distances = torch.cat(parts)
        rows[row] = keypoint_scores(distances[scored], visible[scored])
        by_keypoint = 100 * torch.where(visible, distances, 0.0).sum(0) / visible.sum(0)
        keypoints[row] = {name: float(by_keypoint[i]) for i, name in enumerate(KEYPOINT_NAMES) if visible[:, i].any()}
    groups = None
    if sequences is not None:
        groups = np.unique(np.array(list(sequences))[scored.numpy()], return_inverse=True)[1]
    return KeypointReport(about, rows, keypoints, len(visible), int((~scored).sum()), bodies, groups)
