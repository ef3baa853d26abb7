"""Errors of a regressor on a split, and of baselines that ignore the image. Every sample counts, none is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body, FrozenTokenizer
from tokenizer.body.skeleton import NUM_BODY_JOINTS, keypoint_index
from tokenizer.engine.errors import fail
from tokenizer.engine.training.memory import memory_errors
from tokenizer.engine.training.precision import Precision, resolve_device

from ..checkpoints.regressor_file import check_body, load_regressor
from ..config import RegressorConfig
from ..datasets.crop_dataset import CropDataset
from ..datasets.keypoints.samples import check_evidence
from ..network.model import Regressor, evidence_of
from ..sample import Sample, num_samples, take, to_device
from .baselines import Means, training_means
from .evaluate_2d import KeypointReport, evaluate_keypoints
from .protocols import BodyPoints, Protocol, protocol
from .results import REFERENCE_ROW, Report
from .robustness import changes
from .scoring_bodies import genders_of

_BODY_FLAGS = ("has_body_pose", "has_global_orient", "has_betas")
_ANNOTATIONS = 4096
"""Samples whose annotation is read at once."""
BEST_ROW = "true pose through the tokens (best possible with these tokens)"
Wrap = Callable[[Iterable[int]], Iterable[int]]
Scores = dict[str, list[dict[str, Tensor]]]


@dataclass(frozen=True)
class Evaluator:
    """How samples are scored: the rule, the body of predictions, true bodies by gender, the vocabulary (the best that
    its tokens can do is a row), and what the baselines know (None: no baselines)."""

    protocol: Protocol
    body: Body
    tokenizer: FrozenTokenizer
    means: Means | None = None
    true_bodies: dict[str, Body] | None = None
    robustness: bool = False


def true_points(sample: Sample, evaluator: Evaluator) -> BodyPoints:
    """The annotated bodies of ``sample``, each of its gender, posed as the rule needs them."""
    points = _of_their_gender(sample, evaluator)
    if points.keypoints is not None:
        # Annotated keypoints may stand anywhere: their pelvis goes to that of the body, which keeps the mesh's place.
        extra, pelvis = keypoint_index("lsp_right_ankle"), keypoint_index("mpii_pelvis")
        annotated = sample["keypoints_3d"]
        complete = (annotated[:, extra:, 3] > 0).all(1)[:, None, None]
        shifted = annotated[..., :3] - annotated[:, pelvis, None, :3] + points.keypoints[:, pelvis, None]
        points.keypoints = torch.where(complete, shifted, points.keypoints)
    return points


def _of_their_gender(sample: Sample, evaluator: Evaluator) -> BodyPoints:
    """The bodies of ``sample``, each of its gender, posed as the rule needs them."""
    bodies = evaluator.true_bodies or {"neutral": evaluator.body}
    points: BodyPoints | None = None
    for name, rows in genders_of(sample, bodies, neutral_is_female=evaluator.protocol.neutral_is_female).items():
        body = bodies[name]
        if len(body.v_template) != len(evaluator.body.v_template):
            raise fail(
                "True bodies have another mesh than the predicted ones",
                got=f"{len(body.v_template)} vertices",
                expected=f"{len(evaluator.body.v_template)}",
            )
        of_gender = _pose(body, sample["body_pose"], sample["global_orient"], sample["betas"], evaluator.protocol)
        points = of_gender if points is None else points.replaced(rows, of_gender)
    assert points is not None
    return points


@torch.no_grad()
def score_batch(
    regressors: dict[str, Regressor], sample: Sample, evaluator: Evaluator, scores: Scores, first: int
) -> None:
    """Append to ``scores`` those of one batch, on the CPU, whose first sample is number ``first`` of its split.

    Rows: ``regressors`` by name (and each after every change of ``robustness``, as ``name, change``), the baselines,
    the best possible with these tokens: those of the true pose, with true orientation and shape. Raises ``UserError``
    for non-finite predictions: a dropped sample would flatter.
    """
    device = next(iter(regressors.values())).network.mean_betas.device
    inputs = {"": sample}
    if evaluator.robustness:
        inputs |= {f", {name}": change(sample, first) for name, change in changes().items()}
    on_device = to_device(sample, device)
    pose, orientation, betas = on_device["body_pose"], on_device["global_orient"], on_device["betas"]
    truth = true_points(on_device, evaluator)

    def add(row: str, predicted: BodyPoints) -> None:
        errors = {name: values.cpu() for name, values in evaluator.protocol.score(predicted, truth).items()}
        broken = ~torch.isfinite(errors["mpjpe_mm"])
        if broken.any():
            at = first + int(broken.nonzero()[0])
            raise fail(
                f"Non-finite predictions in row {row!r}",
                got=f"{int(broken.sum())} of them, the first for sample {at}",
                next_step="Nothing is left out here: look at this regressor and these samples",
            )
        scores.setdefault(row, []).append(errors)

    for name, regressor in regressors.items():
        for suffix, variant in inputs.items():
            variant = to_device(variant, device)
            prediction = regressor(evidence_of(variant), box=variant["box"], K=variant["K"], body=evaluator.body)
            rotations = (prediction.body_pose, prediction.global_orient[:, 0])
            add(name + suffix, _pose(evaluator.body, *rotations, prediction.betas, evaluator.protocol))
    if evaluator.means is not None:
        means, rules = evaluator.means, evaluator.protocol
        mean_pose, mean_betas = means.body_pose.expand_as(pose), means.betas.expand_as(betas)
        turned = means.orientation.expand_as(orientation)
        add("mean 3D joints", BodyPoints(means.joints.expand(len(pose), -1, -1)))
        add("mean pose, mean orientation", _pose(evaluator.body, mean_pose, turned, mean_betas, rules))
        add(REFERENCE_ROW, _pose(evaluator.body, mean_pose, orientation, mean_betas, rules))
    through_tokens = evaluator.tokenizer.decode(evaluator.tokenizer.encode(pose[:, :NUM_BODY_JOINTS]))
    rebuilt = torch.cat([through_tokens, pose[:, NUM_BODY_JOINTS:]], 1)
    add(BEST_ROW, _of_their_gender({**on_device, "body_pose": rebuilt}, evaluator))


def evaluate_batches(
    regressors: dict[str, Regressor],
    batches: Iterable[Sample],
    evaluator: Evaluator,
    about: dict[str, Any],
    sequences: Sequence[str] | None = None,
) -> Report:
    """Score ``regressors`` by row name on all ``batches``; see ``score_batch``.

    Samples must know pose, orientation and shape of everybody. ``sequences``: the name of each sample's sequence.
    """
    scores: Scores = {}
    count = 0
    for sample in batches:
        score_batch(regressors, sample, evaluator, scores, count)
        count += num_samples(sample)
    rows = {row: _joined(parts) for row, parts in scores.items()}
    joints = {row: errors.pop("joints_mm") for row, errors in rows.items()}
    names = {"protocol": evaluator.protocol.rules, "protocol_name": evaluator.protocol.name, "samples": count}
    return Report({**names, **about}, rows, joints, evaluator.protocol.joint_names, list(regressors), sequences)


def evaluate_split(
    regressors: dict[str, Regressor],
    samples: Sample,
    means: Means | None,
    tokenizer: FrozenTokenizer,
    body: Body,
    about: dict[str, Any],
    *,
    batch: int = 32,
    **fields: Any,
) -> Report:
    """``evaluate_batches`` of samples in memory by the protocol ``synthetic``; ``fields``: of ``Evaluator``."""
    evaluator = Evaluator(
        **{"protocol": protocol("synthetic", body), **fields}, body=body, tokenizer=tokenizer, means=means
    )
    parts = (take(samples, slice(start, start + batch)) for start in range(0, num_samples(samples), batch))
    return evaluate_batches(regressors, parts, evaluator, about)


@dataclass(frozen=True)
class EvaluationOptions:
    """How ``evaluate_files`` runs. ``only_2d``: score 2D keypoints alone; ``robustness``: also score changed images;
    ``batch``: images at a time; ``progress``: wraps the batches, as ``tqdm`` does."""

    only_2d: bool = False
    robustness: bool = False
    device: str = "auto"
    precision: Precision = "fp32"
    batch: int = 32
    progress: Wrap | None = None


DEFAULT_OPTIONS = EvaluationOptions()


@memory_errors("in evaluation", "Try --precision bf16, or --device cpu")
def evaluate_files(
    regressor_files: Sequence[Path],
    store: CropDataset,
    split: str,
    tokenizer: FrozenTokenizer,
    body: Body,
    options: EvaluationOptions = DEFAULT_OPTIONS,
    *,
    rules: Protocol | None = None,
    true_bodies: dict[str, Body] | None = None,
) -> Report | KeypointReport:
    """Score exported regressors on a split of crops, by ``rules`` (default: ``synthetic``).

    The protocol ``synthetic`` adds baselines from the train split. With ``options.only_2d``, and where the split begins
    with people whose bodies are not annotated, only 2D keypoints are scored (``evaluate_2d``). ``true_bodies``: the
    female and male bodies by gender. Raise ``UserError`` for an empty split, crops of another size, a regressor of
    another body, people whose pose, orientation or shape is not annotated, or genders without bodies.
    """
    only_2d, robustness, batch, progress = options.only_2d, options.robustness, options.batch, options.progress
    target = resolve_device(options.device)
    rules = rules or protocol("synthetic", body)
    regressors = _load_regressors(regressor_files, tokenizer, body, str(target), options.precision)
    first = next(iter(regressors.values())).config
    check_evidence({str(store.path): store}, first)
    if not store.count(split):
        raise fail(f"{store.path} has no crops in split {split!r}")
    store, boxes = _as_seen(store.at_size(first.image_size), first)
    beginning = store.annotation(np.arange(min(batch, store.count(split))), split)
    only_2d = only_2d or not any(beginning[flag].any() for flag in _BODY_FLAGS)  # type: ignore[literal-required]
    if only_2d and robustness:
        raise fail("Robustness is measured in 3D", got="2D keypoints alone", next_step="Leave out --robustness")
    means = None
    if rules.name == "synthetic" and not only_2d:
        means = training_means(_Annotation(store, "train", true_bodies), body.to(target)).to(target)
    evaluator = Evaluator(
        rules,
        body.to(target),
        tokenizer.to(target),
        means,
        {name: true.to(target) for name, true in (true_bodies or {}).items()} or None,
        robustness,
    )

    def batches() -> Iterator[Sample]:
        starts: Iterable[int] = range(0, store.count(split), batch)
        for start in progress(starts) if progress else starts:
            sample = store.sample(np.arange(start, min(start + batch, store.count(split))), split)
            if not only_2d:
                _check(sample, store, split, true_bodies)
            yield sample

    about = {
        "crops": store.digest,
        "split": split,
        "domain": store.attributes.get("domain"),
        "tokenizer": tokenizer.digest,
        "body": body.kind,
        "precision": next(iter(regressors.values())).precision,
        "true_bodies": sorted(true_bodies) if true_bodies else ["neutral"],
        "bodies": f"{body.kind}; predicted neutral; true {', '.join(sorted(true_bodies or ['neutral']))}",
        "data": _data(store, split),
        "boxes": boxes,
        "regressors": {row: str(path) for row, path in zip(regressors, regressor_files, strict=True)},
    }
    if only_2d:
        return evaluate_keypoints(regressors, batches(), evaluator.body, about, store.sequences(split))
    return evaluate_batches(regressors, batches(), evaluator, about, store.sequences(split))


def _load_regressors(
    files: Sequence[Path], tokenizer: FrozenTokenizer, body: Body, device: str, precision: Precision
) -> dict[str, Regressor]:
    """Return regressors by the name of their row. Raise ``UserError`` unless all see crops of one size and shape."""
    regressors: dict[str, Regressor] = {}
    for path in files:
        regressor = load_regressor(path, tokenizer=tokenizer, device=device, precision=precision)
        check_body(path, regressor.provenance, body.kind)
        size = next(iter(regressors.values()), regressor).config.image_size
        if regressor.config.image_size != size:
            raise fail(
                f"Regressor {path} sees crops of another size",
                got=f"{size} px",
                expected=f"{regressor.config.image_size} px",
            )
        row = "regressor, " + ("tokens" if regressor.config.head.pose == "tokens" else "continuous 6D")
        regressors[row if row not in regressors else f"{row} ({path})"] = regressor
    if len({regressor.config.backbone.aspect for regressor in regressors.values()}) > 1:
        raise fail(
            "These regressors look at crops of several shapes",
            got=", ".join(regressors),
            next_step="Score them one by one, and `compare` the results",
        )
    return regressors


def _as_seen(store: CropDataset, config: RegressorConfig) -> tuple[CropDataset, str]:
    """Return the crops that a regressor of ``config`` sees at prediction, and a description of their boxes.

    Raise ``UserError`` where they cannot be cut at its size.
    """
    if store.size != config.image_size:
        raise fail(
            "The regressor sees crops of another size", got=f"{store.size} px", expected=f"{config.image_size} px"
        )
    boxes = store.attributes.get("boxes", "those of the annotation")
    if config.backbone.aspect == 1:
        return store, boxes
    widened = store.as_predicted(config.backbone.aspect)
    if widened is not store:
        boxes += ", widened to 192:256, as published"
    elif store.attributes.get("format", "synthetic") != "synthetic":
        boxes += ", not widened to 192:256 as published: `prepare` again, earlier versions kept squares alone"
    return widened, boxes


@dataclass(frozen=True)
class _Annotation:
    """What is known of a whole split, without its images, in batches, as often as it is asked for."""

    store: CropDataset
    split: str
    true_bodies: dict[str, Body] | None

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, self.store.count(self.split), _ANNOTATIONS):
            rows = np.arange(start, min(start + _ANNOTATIONS, self.store.count(self.split)))
            sample = self.store.annotation(rows, self.split)
            _check(sample, self.store, self.split, self.true_bodies)
            yield sample


def _data(store: CropDataset, split: str) -> str:
    sources = ", ".join(store.attributes.get("sources", [])) or str(store.path)
    kind = store.attributes.get("format") or f"synthetic people, {store.attributes.get('domain')}"
    return f"{kind} ({sources}), split {split}"


def _check(sample: Sample, store: CropDataset, split: str, true_bodies: dict[str, Body] | None) -> None:
    unknown = [flag for flag in _BODY_FLAGS if not sample[flag].all()]  # type: ignore[literal-required]
    if unknown:
        raise fail(
            f"Split {split!r} of {store.path} cannot be scored in 3D",
            next_step="Evaluator 2D with --protocol 2d",
            got=f"samples without {', '.join(unknown)}",
            expected="everybody's pose, orientation and shape annotated",
        )
    if "gender" in sample:
        missing = genders_of(sample).keys() - {"neutral"} - set(true_bodies or {})
        if missing:
            got = f"no {' and no '.join(sorted(missing))} body"
            raise fail(
                f"Split {split!r} of {store.path} wants true bodies by gender",
                got=got,
                next_step="Give the folder of SMPL_FEMALE, SMPL_MALE and SMPL_NEUTRAL with --body",
            )


def _pose(body: Body, pose: Tensor, root: Tensor, betas: Tensor, rules: Protocol) -> BodyPoints:
    keypoints = body.keypoints(pose, root=root, betas=betas) if rules.keypoints else None
    return BodyPoints(body.joints(pose, root=root, betas=betas), body.vertices(pose, root=root, betas=betas), keypoints)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
