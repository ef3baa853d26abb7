"""How right bodies of real people are: a calibrated clip of four views, photographs with 2D keypoints, simulated val.

1. ``multiview``: frames 0, 10, … 90 of each camera, each view alone with its K. PA-MPJPE over 12 limb joints against
   those triangulated from all views; cam03 and cam04 are for scoring alone.
2. ``photos``: COCO people with at least 8 keypoints and 96 px. Who is found, and PCK@0.1 of the box: keypoints of the
   body, and the detector's own, with 95 % intervals (bootstrap over people).
3. ``simulated``: simulated val v1 with 2D alone, before and after fitting.
4. ``seconds``: one person, one photograph, everything loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from regressor.datasets.image_files import read_image
from regressor.datasets.keypoints.samples import open_evidence
from regressor.geometry.camera import assumed_intrinsics
from regressor.network.model import Regressor, evidence_of
from regressor.network.prediction import Prediction
from regressor.people.detection.detected_person import DetectedPerson
from regressor.people.detection.detector import DetectionOptions, Detector
from regressor.people.fitting import DEFAULT_FIT, FitOptions, fit
from regressor.people.points import detected_points, predict_points
from regressor.people.predict import People
from tokenizer import Body
from tokenizer.body.camera import project
from tokenizer.body.keypoints import DETECTOR_POINTS
from tokenizer.body.metrics import mpjpe, pa_mpjpe
from tokenizer.engine.errors import fail
from tokenizer.engine.files.text_files import read_json

from .figures import Figure, Goal

LIMBS = tuple(
    f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
TUNED, SCORED = ("cam01", "cam02"), ("cam03", "cam04")
_COCO = DETECTOR_POINTS[:11] + DETECTOR_POINTS[15:21]
_LEAST_KEYPOINTS, _LEAST_PX, _PCK, _FOUND = 8, 96, 0.1, 0.2
_RESAMPLED = 2000
_BATCH = 250
Landmarks = Literal["full", "heavy"]


@dataclass(frozen=True)
class Seen:
    """One view of somebody: who was detected, K (3,3), and the true limb joints (12,3) m in world axes."""

    camera: str
    person: DetectedPerson
    K: Tensor
    truth: np.ndarray


def detect_views(folder: Path, landmarks: Landmarks) -> list[Seen]:
    """Detect the person in the annotated frames of every camera of the calibrated clip in ``folder``.

    Points are undistorted. Raise ``UserError`` where a frame cannot be read, or nobody is found in it.
    """
    about = _json(folder / "calibration.json")
    detector = Detector(landmarks)
    views = []
    for camera in about["cameras"]:
        K, distortion = np.array(camera["K"]), np.array(camera["distortion"])
        for number, frame in _frames(folder / camera["video"], [int(key) for key in about["joints"]]):
            people = detector.people(frame)
            if not people:
                raise fail(f"Nobody is found in frame {number} of {camera['video']}")
            person = max(people, key=lambda person: person.box[3] - person.box[1])
            points = cv2.undistortPoints(person.points[:, None].astype(np.float64), K, distortion, P=K)[:, 0]
            joints = about["joints"][str(number)]
            truth = np.array([joints[name] for name in LIMBS])
            seen = replace(person, points=points.astype(np.float32))
            views.append(Seen(Path(camera["video"]).stem, seen, torch.tensor(K).float(), truth))
    return views


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise fail(f"Cannot read {path}", got=error, expected="the JSON that belongs to these pictures") from None
    return content


def _frames(video: Path, numbers: Sequence[int]) -> list[tuple[int, np.ndarray]]:
    capture = cv2.VideoCapture(str(video))
    frames = []
    for number in range(max(numbers) + 1):
        there, frame = capture.read()
        if not there:
            raise fail(f"Cannot read frame {number} of {video}", expected="a video that OpenCV reads")
        if number in numbers:
            frames.append((number, np.ascontiguousarray(frame[..., ::-1])))
    capture.release()
    return frames


def multiview(
    views: Sequence[Seen], regressor: Regressor, body: Body, fitting: FitOptions | None
) -> dict[str, dict[str, float]]:
    """Return PA-MPJPE in mm by camera: of the bodies, and of the detector's own 3D landmarks."""
    people = [predict_points(regressor, body, detected_points([v.person], v.K, assumed=False), fitting) for v in views]
    rows = [DETECTOR_POINTS.index(name) for name in LIMBS]
    errors: dict[str, dict[str, list[float]]] = {}
    for view, person in zip(views, people, strict=True):
        truth = torch.from_numpy(view.truth).float()
        assert view.person.points_3d is not None
        own = torch.from_numpy(view.person.points_3d[[view.person.names.index(name) for name in LIMBS]]).float()
        camera = errors.setdefault(view.camera, {"body": [], "detector": []})
        camera["body"].append(1000 * float(pa_mpjpe(_points(person.prediction, body)[0, rows], truth)))
        camera["detector"].append(1000 * float(pa_mpjpe(own, truth)))
    return {camera: {row: float(np.mean(values)) for row, values in rows.items()} for camera, rows in errors.items()}


def _points(prediction: Prediction, body: Body, translation: Tensor | None = None) -> Tensor:
    """The 25 points (B,25,3) of predicted bodies in camera axes."""
    with torch.no_grad():
        return body.detector_points(
            prediction.body_pose,
            root=prediction.global_orient[:, 0],
            betas=prediction.betas,
            translation=translation,
        )[1]


@dataclass(frozen=True)
class AnnotatedPerson:
    """Somebody in a photograph: COCO keypoints (17,3) px with visibility, and the longer side of the box, px."""

    keypoints: np.ndarray
    side: float


def annotated_people(annotation: Path) -> dict[str, list[AnnotatedPerson]]:
    """Return the people of COCO's keypoint annotation that can be scored, by file name."""
    content = _json(annotation)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    people: dict[str, list[AnnotatedPerson]] = {name: [] for name in names.values()}
    for entry in content["annotations"]:
        keypoints = np.array(entry["keypoints"], np.float64).reshape(17, 3)
        side = max(entry["bbox"][2:])
        if (keypoints[:, 2] > 0).sum() >= _LEAST_KEYPOINTS and side >= _LEAST_PX:
            people[names[entry["image_id"]]].append(AnnotatedPerson(keypoints, side))
    return people


def photographs(
    folder: Path, regressor: Regressor, body: Body, fitting: FitOptions | None, landmarks: Landmarks
) -> dict[str, Any]:
    """Return how many annotated people are found, and PCK@0.1 in per cent of bodies and detector with intervals."""
    detector = Detector(landmarks)
    rows = [DETECTOR_POINTS.index(name) for name in _COCO]
    hits: dict[str, list[tuple[int, int]]] = {"body": [], "detector": []}
    asked = 0
    for name, annotated in sorted(annotated_people(folder / "person_keypoints.json").items()):
        image = read_image(folder / name)
        people = detector.people(image)
        asked += len(annotated)
        if not people or not annotated:
            continue
        K = assumed_intrinsics(image.shape[1], image.shape[0])
        points = detected_points(people, K, assumed=True)
        bodies = predict_points(regressor, body, points, fitting)
        placed = _points(bodies.prediction, body, bodies.prediction.camera_translation())
        of_bodies = project(placed, K)[:, rows].numpy()
        own = np.stack([[person.points[person.names.index(key)] for key in _COCO] for person in people])
        for truth in annotated:
            number = _match(own, truth)
            if number is not None:
                hits["body"].append(_pck(of_bodies[number], truth))
                hits["detector"].append(_pck(own[number], truth))
    scores = {row: _share(counts) for row, counts in hits.items()}
    return {"people": asked, "found": len(hits["body"]), **scores}


def _match(candidates: np.ndarray, truth: AnnotatedPerson) -> int | None:
    """The nearest candidate (of N,17,2), None where half of its keypoints are farther away than 0.2 of the box."""
    seen = truth.keypoints[:, 2] > 0
    apart = np.linalg.norm(candidates[:, seen] - truth.keypoints[seen, :2], axis=-1) / truth.side
    number = int(np.median(apart, axis=1).argmin())
    return number if np.median(apart[number]) < _FOUND else None


def _pck(points: np.ndarray, truth: AnnotatedPerson) -> tuple[int, int]:
    seen = truth.keypoints[:, 2] > 0
    apart = np.linalg.norm(points[seen] - truth.keypoints[seen, :2], axis=-1) / truth.side
    return int((apart < _PCK).sum()), int(seen.sum())


def _share(counts: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    """Per cent of hits, and the limits of its 95 % interval, people drawn again with seed 0."""
    table = np.array(counts, np.float64).reshape(-1, 2)
    if not len(table):
        return float("nan"), float("nan"), float("nan")
    drawn = table[np.random.default_rng(0).integers(len(table), size=(_RESAMPLED, len(table)))].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return 100 * table[:, 0].sum() / table[:, 1].sum(), 100 * float(low), 100 * float(high)


def simulated(
    poses: Path, regressor: Regressor, body: Body, fitting: FitOptions | None, split: str = "val-2d"
) -> dict[str, float]:
    """Return ``mpjpe_mm`` and ``pa_mpjpe_mm`` on simulated val v1 of a pose store, everybody counted."""
    dataset = open_evidence(poses, body)
    sums = np.zeros(3)
    for start in range(0, dataset.count(split), _BATCH):
        sample = dataset.sample(np.arange(start, start + _BATCH), split)
        evidence = evidence_of(sample)
        with torch.no_grad():
            prediction = regressor(evidence, box=sample["box"], K=sample["K"], body=body)
        if fitting is not None:
            assert not isinstance(evidence, Tensor)
            prediction = fit(regressor, prediction, evidence, body, fitting)
        with torch.no_grad():
            joints = prediction.joints(body)
            truth = body.joints(sample["body_pose"], root=sample["global_orient"], betas=sample["betas"])
            joints, truth = joints - joints[:, :1], truth - truth[:, :1]
            sums += [len(joints), float(mpjpe(joints, truth).sum()), float(pa_mpjpe(joints, truth).sum())]
    return {"mpjpe_mm": 1000 * sums[1] / sums[0], "pa_mpjpe_mm": 1000 * sums[2] / sums[0]}


def seconds(
    photo: Path, regressor: Regressor, body: Body, fitting: FitOptions | None, landmarks: Landmarks, repeats: int = 7
) -> float:
    """Return the median seconds from the pixels of a photograph of one person to the body, everything loaded, through
    one window."""
    detector, image = Detector(landmarks, DetectionOptions(half_size=False)), read_image(photo)
    K = assumed_intrinsics(image.shape[1], image.shape[0])

    def once() -> People:
        people = detector.people(image)[:1]
        return predict_points(regressor, body, detected_points(people, K, assumed=True), fitting)

    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        once()
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


GOALS = {
    ("heavy", TUNED): 53.0,
    ("heavy", SCORED): 68.0,
    ("full", TUNED): 80.0,
    ("full", SCORED): 67.0,
}
"""Millimetres of PA-MPJPE after fitting, at most, by landmark model and cameras."""
_MM, _PERCENT = "{:.1f} mm", "{:.1f} %"


def bench_people(
    real: Path,
    regressor: Regressor,
    body: Body,
    *,
    poses: Path | None = None,
    photo: Path | None = None,
    models: Sequence[Landmarks] = ("heavy", "full"),
    say: Callable[[str], object] = lambda text: None,
) -> list[Figure]:
    """Return all figures with their goals.

    ``real``: folder of ``multiview`` and ``photos``; ``poses``: pose store of simulated val; ``photo``: of one person.
    """
    figures: list[Figure] = []
    ways: dict[str, FitOptions | None] = {"before fitting": None, "fitted": DEFAULT_FIT}
    for model in models:
        say(f"The calibrated clip, {model}")
        views = detect_views(real / "multiview", model)
        errors = {way: multiview(views, regressor, body, fitting) for way, fitting in ways.items()}
        for cameras in (TUNED, SCORED):
            what = f"PA-MPJPE, {model}, {cameras[0]} and {cameras[1]}"
            own = _mean(errors["fitted"], cameras, "detector")
            figures.append(Figure(f"{what}, the detector's 3D", own, _MM))
            for way, by_camera in errors.items():
                goal = Goal("at most", GOALS[model, cameras]) if way == "fitted" else None
                figures.append(Figure(f"{what}, {way}", _mean(by_camera, cameras, "body"), _MM, goal))
        say(f"Photographs, {model}")
        figures += _of_photographs(photographs(real / "photos", regressor, body, DEFAULT_FIT, model), model)
    if poses is not None:
        say("Simulated val v1")
        for (way, fitting), most in zip(ways.items(), (64.0, 59.0), strict=True):
            error = simulated(poses, regressor, body, fitting)
            figures.append(Figure(f"MPJPE, simulated val-2d, {way}", error["mpjpe_mm"], _MM, Goal("at most", most)))
            figures.append(Figure(f"PA-MPJPE, simulated val-2d, {way}", error["pa_mpjpe_mm"], _MM))
    if photo is not None:
        say("Seconds")
        for (way, fitting), most in zip(ways.items(), (0.2, 0.5), strict=True):
            taken = seconds(photo, regressor, body, fitting, models[0])
            figures.append(Figure(f"one person, {models[0]}, {way}", taken, "{:.2f} s", Goal("at most", most)))
    return figures


def _of_photographs(scores: dict[str, Any], model: str) -> list[Figure]:
    """Who is found, and how right the keypoints of those are, with the limits of their intervals."""
    share = 100 * scores["found"] / max(scores["people"], 1)
    rows = [Figure(f"people found, {model}, of {scores['people']}", share, _PERCENT, Goal("at least", 75.0))]
    for row in ("body", "detector"):
        value, low, high = scores[row]
        rows.append(Figure(f"PCK@0.1, {model}, {row} (95 %: {low:.1f} to {high:.1f})", value, _PERCENT))
    return rows


def _mean(errors: dict[str, dict[str, float]], cameras: Sequence[str], row: str) -> float:
    """The mean over ``cameras`` of a row of ``multiview``."""
    return float(np.mean([errors[camera][row] for camera in cameras]))
