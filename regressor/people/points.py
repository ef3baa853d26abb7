"""People by their keypoints: what a detector found → what a keypoint regressor sees → bodies, fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.keypoints import DETECTOR_POINTS
from tokenizer.body.skeleton import NUM_BODY_JOINTS
from tokenizer.engine.errors import fail

from ..datasets.keypoints.detector import HAS_HINT
from ..geometry.boxes import Box
from ..geometry.camera import assumed_intrinsics, pixels_to_crop
from ..geometry.rays import box_of_points
from ..network.keypoint_encoder import PointEvidence
from ..network.model import Regressor
from .detection.detected_person import DetectedPerson
from .fitting import DEFAULT_FIT, FitOptions, fit
from .predict import People, crops_of, people_of, predict_crops

_TOES = {"foot_index": 1.0, "big_toe": 0.6, "small_toe": 0.4}
"""What other detectors find of the tip of a foot, and what it counts."""
_LEAST = 0.15
"""Less sure points are not used."""


@dataclass(frozen=True)
class DetectedPoints:
    """What the network is to see of B people: their ``evidence``, the square ``boxes`` (B,4) px around it, ``K``
    (B,3,3) px of their images, and whose camera is ``assumed`` (B,) bool."""

    evidence: PointEvidence
    boxes: Tensor
    K: Tensor
    assumed: Tensor

    @classmethod
    def join(cls, parts: Sequence[DetectedPoints]) -> DetectedPoints:
        """People of several images, one after the other."""
        fields = zip(*(part.evidence for part in parts), strict=True)
        return cls(
            PointEvidence(*(torch.cat(values) for values in fields)),
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.K for part in parts]),
            torch.cat([part.assumed for part in parts]),
        )


def detected_points(people: Sequence[DetectedPerson], K: Tensor, *, assumed: bool) -> DetectedPoints:
    """Return what a keypoint regressor sees of the people of one image with K (3,3), known or assumed."""
    points, hints, has_hints = (np.stack(values) for values in zip(*map(_arrays, people), strict=True))
    pixels, confidence = torch.from_numpy(points[..., :2]), torch.from_numpy(points[..., 2])
    boxes = box_of_points(pixels, confidence)
    seen = torch.cat([pixels_to_crop(pixels, boxes), confidence[..., None]], -1)
    evidence = PointEvidence(seen, torch.from_numpy(hints), torch.from_numpy(has_hints))
    count = len(people)
    return DetectedPoints(evidence, boxes, K.float().cpu().expand(count, 3, 3), torch.full((count,), assumed))


def _arrays(person: DetectedPerson) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A person's points as (25,3) px and confidence, 3D landmarks (25,3) about the hips, and which there are (25,)."""
    rows = {name: row for row, name in enumerate(person.names)}
    points = np.zeros((len(DETECTOR_POINTS), 3), np.float32)
    hints, has = np.zeros((len(DETECTOR_POINTS), 3), np.float32), np.zeros(len(DETECTOR_POINTS), bool)
    for place, name in enumerate(DETECTOR_POINTS):
        side, _, part = name.rpartition("_")
        sources = {f"{side}_{toe}": weight for toe, weight in _TOES.items()} if part == "toes" else {name: 1.0}
        known = {
            rows[key]: weight for key, weight in sources.items() if key in rows and person.confidence[rows[key]] > 0
        }
        if not known:
            continue
        weights = np.array(list(known.values())) / sum(known.values())
        confidence = float(person.confidence[list(known)].min())
        # A detector that hardly believes in a point still places it better than none would be.
        confidence = min(0.1 + 0.9 * confidence, 1.0)
        if confidence <= _LEAST or not np.isfinite(person.points[list(known)]).all():
            continue
        points[place] = (*(weights @ person.points[list(known)]), confidence)
        if person.points_3d is not None and person.has_3d is not None and HAS_HINT[place] and name in rows:
            hints[place], has[place] = person.points_3d[rows[name]], person.has_3d[rows[name]]
    hips = [DETECTOR_POINTS.index("left_hip"), DETECTOR_POINTS.index("right_hip")]
    if person.points_3d is None or not all(f"{side}_hip" in rows for side in ("left", "right")):
        return points, np.zeros_like(hints), np.zeros_like(has)
    middle = np.mean([person.points_3d[rows[DETECTOR_POINTS[hip]]] for hip in hips], axis=0)
    return points, np.where(has[:, None], hints - middle, 0).astype(np.float32), has


def predict_points(
    regressor: Regressor, body: Body, points: DetectedPoints, fitting: FitOptions | None = None
) -> People:
    """Return the people of one image or several; ``fitting``: how they are fitted to the points, None: not at all.

    Token ids are those of the poses as they come out: the likeliest ids of soft tokens decode to another pose.
    """
    device = regressor.network.mean_betas.device
    evidence = PointEvidence(*(values.to(device) for values in points.evidence))
    with torch.no_grad():
        prediction = regressor(evidence, box=points.boxes.to(device), K=points.K.to(device), body=body)
    if fitting is not None:
        prediction = fit(regressor, prediction, evidence, body, fitting, assumed_camera=points.assumed.to(device))
    with torch.no_grad():
        ids = None
        if prediction.factor_logits is not None:
            ids = regressor.tokenizer.encode(prediction.body_pose[:, :NUM_BODY_JOINTS], check=False)
        return people_of(prediction, body, ids)


def predict_people(
    regressor: Regressor,
    body: Body,
    image: np.ndarray,
    people: Sequence[DetectedPerson] | Sequence[Box],
    K: Tensor | None = None,
    *,
    fitting: FitOptions | None = DEFAULT_FIT,
    where: str = "the image",
) -> People:
    """Return the bodies of people in an image (H,W,3) uint8 RGB, in their order.

    ``people``: those that ``detect_people`` found; a regressor that sees images takes boxes around them, too. ``K``
    (3,3) px: None assumes a diagonal field of view of 55 degrees. ``fitting``: how a keypoint regressor's bodies are
    fitted to the keypoints, None: not at all. Raise ``UserError`` for boxes given to a keypoint regressor, boxes
    outside the image, and where there is nobody.
    """
    if not len(people):
        raise fail(f"There is nobody in {where}", next_step="Look whether `detect_people` found anybody")
    height, width = image.shape[:2]
    camera = assumed_intrinsics(width, height) if K is None else K
    detected = [person for person in people if isinstance(person, DetectedPerson)]
    if regressor.config.backbone.kind == "keypoints":
        if len(detected) < len(people):
            raise fail("A keypoint regressor needs keypoints", got="boxes", expected="people of `detect_people`")
        return predict_points(regressor, body, detected_points(detected, camera, assumed=K is None), fitting)
    boxes = [person.box if isinstance(person, DetectedPerson) else person for person in people]
    return predict_crops(regressor, body, crops_of(regressor, image, boxes, camera, where))
