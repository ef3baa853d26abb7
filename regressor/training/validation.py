"""Figures of a regressor on a held-out split, quick enough to be taken while it trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.metrics import mpjpe, pa_mpjpe
from tokenizer.body.rotations import geodesic_distance
from tokenizer.body.skeleton import index
from tokenizer.engine.errors import fail
from tokenizer.engine.training.budget import num_validation_samples
from tokenizer.engine.training.run import RunFolder

from ..config import RegressorConfig
from ..datasets.mixtures import Mixture
from ..evaluation.scoring_bodies import genders_of
from ..losses.keypoint_errors import keypoint_distances, keypoint_scores, seen_keypoints
from ..losses.masking import expand_like, mask_invalid
from ..network.model import Regressor, evidence_of
from ..sample import Sample, has_neutral_betas, num_samples, take, to_device
from .panels import Panels


def joint_errors(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Joints (B,24,3) against (B,24,3), metres → ``mpjpe_mm`` and ``pa_mpjpe_mm``, (B,) each."""
    root = index("pelvis")
    predicted, target = (joints - joints[:, root : root + 1] for joints in (predicted, target))
    return {"mpjpe_mm": 1000 * mpjpe(predicted, target), "pa_mpjpe_mm": 1000 * pa_mpjpe(predicted, target)}


def known_figures(samples: Sample) -> dict[str, Tensor]:
    """The figures of ``score_predictions``, and which of ``samples`` know what it takes, (N,) bool; those that nobody
    knows are left out. Where only shape is unknown, or of a gender without a body, the mean shape is used."""
    has_pose = samples["has_body_pose"] & samples["has_global_orient"]
    knowing = {
        "mpjpe_mm": has_pose,
        "pa_mpjpe_mm": has_pose,
        "orientation_deg": samples["has_global_orient"],
        "keypoints_2d_pct": seen_keypoints(samples).any(1),
    }
    return {name: rows for name, rows in knowing.items() if rows.any()}


@torch.no_grad()
def score_predictions(
    regressor: Regressor,
    samples: Sample,
    body: Body,
    *,
    true_bodies: Mapping[str, Body] | None = None,
    batch: int = 128,
) -> dict[str, Tensor]:
    """``joint_errors``, ``orientation_deg`` and ``keypoints_2d_pct`` (see ``keypoint_scores``): quick, for validation.

    Each of the samples that know what it takes, in order, on the CPU; see ``known_figures``. Truth is of the annotated
    gender where ``true_bodies`` has it, see ``note_on_genders``.
    """
    device = next(regressor.parameters()).device
    by_figure: dict[str, list[Tensor]] = {}
    for start in range(0, num_samples(samples), batch):
        crops = to_device(take(samples, slice(start, start + batch)), device)
        prediction = regressor(evidence_of(crops), box=crops["box"], K=crops["K"], body=body)
        pose = _or_rest(crops["body_pose"], crops["has_body_pose"])
        root = _or_rest(crops["global_orient"], crops["has_global_orient"])
        truth = body.joints(pose, root=root, betas=mask_invalid(crops["betas"], has_neutral_betas(crops)))
        for name, rows in genders_of(crops).items():
            if name != "neutral" and true_bodies and name in true_bodies:
                theirs = true_bodies[name].joints(
                    pose, root=root, betas=mask_invalid(crops["betas"], crops["has_betas"])
                )
                truth = torch.where(expand_like(rows, theirs), theirs, truth)
        scores = {
            **joint_errors(prediction.joints(body), truth),
            "orientation_deg": geodesic_distance(prediction.global_orient[:, 0], root).rad2deg(),
            **keypoint_scores(keypoint_distances(prediction, crops, body), seen_keypoints(crops)),
        }
        for name, rows in known_figures(crops).items():
            by_figure.setdefault(name, []).append(scores[name][rows].cpu())
    return {name: torch.cat(parts) for name, parts in by_figure.items()}


def note_on_genders(samples: Sample, true_bodies: Mapping[str, Body] | None) -> str | None:
    """Plain words where 3D errors on ``samples`` cannot be those of female and male shapes; None where they can."""
    missing = {
        name: int(rows.sum())
        for name, rows in genders_of(samples).items()
        if name != "neutral" and name not in (true_bodies or {})
    }
    if not missing:
        return None
    counts = " and ".join(f"{count:,} {name}" for name, count in missing.items())
    return (
        f"val has shapes of {counts} bodies, whose models are not in --body: the mean shape of the neutral body "
        "is used instead. Give the folder of all three models with --body"
    )


class Validation:
    """The held-out samples of a training, the figures of the averaged weights on them, and pictures of a few people.

    ``criterion``: the figure, ``val_*``, that chooses the best weights. Crops are those of evaluation and prediction,
    so that weights are chosen on what is scored. Notes about the choice go into the log of the run. Raise ``UserError``
    where the val split is annotated with neither bodies nor 2D keypoints.
    """

    def __init__(
        self,
        mixture: Mixture,
        config: RegressorConfig,
        run: RunFolder,
        true_bodies: Mapping[str, Body],
        device: torch.device,
    ) -> None:
        crops, budget_s = mixture.as_predicted(config.backbone.aspect), config.optim.budget_s
        self._run = run
        self._samples = crops.some("val", num_validation_samples(config.data.val_samples, budget_s))
        self._panels = Panels(crops, num_validation_samples(config.pictures, budget_s, least=0))
        self._true_bodies = {name: body.to(device) for name, body in true_bodies.items()}
        self.criterion = f"val_{choose_criterion(config, self._samples)}"
        if self.criterion != f"val_{config.best_by}":
            run.note(f"The best weights are chosen by {self.criterion}: val lacks the annotation for {config.best_by}")
        if note := note_on_genders(self._samples, true_bodies):
            run.note(note)

    def figures(self, step: int, regressor: Regressor, body: Body) -> dict[str, float]:
        """Return the mean figures as ``val_*``, and save the pictures of this step."""
        scores = score_predictions(regressor, self._samples, body, true_bodies=self._true_bodies)
        self._panels.save(self._run, step, regressor, body)
        return {f"val_{name}": float(values.mean()) for name, values in scores.items()}


def choose_criterion(config: RegressorConfig, samples: Sample) -> str:
    """Return the figure that chooses the best weights: ``config.best_by``, or one that ``samples`` are annotated for.

    Raise ``UserError`` where they are annotated for none.
    """
    figures = known_figures(samples)
    if not figures:
        raise fail(
            "The val split cannot judge a regressor",
            got="neither bodies nor 2D keypoints in it",
            next_step="Train on annotated crops",
        )
    return next(name for name in (config.best_by, "keypoints_2d_pct", *figures) if name in figures)


def _or_rest(rotations: Tensor, has: Tensor) -> Tensor:
    """Rotations (B,...,3,3), at rest for the samples that do not have one (B,)."""
    return torch.where(expand_like(has, rotations), rotations, torch.eye(3, device=rotations.device))
