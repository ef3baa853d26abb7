"""Samples of a keypoint regressor, made on the fly from a pose store: nothing is rendered, nothing is stored."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tokenizer import Body
from tokenizer.body.camera import project
from tokenizer.body.skeleton import NUM_JOINTS
from tokenizer.engine.config import to_dict
from tokenizer.engine.errors import fail
from tokenizer.engine.files.file_kinds import kind_of
from tokenizer.mocap.store import PoseStore, Source, open_store

from ...config import SIMULATED_VAL, RegressorConfig, SimulationConfig
from ...geometry.camera import pixels_to_crop, ray_rotation
from ...geometry.rays import box_of_points
from ...sample import Sample, join, take, without_images
from ..crop_dataset import CropDataset, open_crops
from ..cropping import PictureOf
from ..loader import Stream, prefetch
from ..mixtures import Mixture
from .detector import detect_points, landmarks_3d
from .views import Draw, Views, draw_poses, draw_views

NUM_VAL = 2000
"""People of simulated val v1."""
_BLOCK = 500
_VAL_RULES = {
    "val": SIMULATED_VAL,
    "val-2d": replace(SIMULATED_VAL, hints=0.0),
    "val-3d": replace(SIMULATED_VAL, hints=1.0),
}
_SLACK = 0.02
"""Shares of the longer side by which a point may lie outside the image and still be found."""


def simulate(body: Body, poses: Tensor, rows: Tensor, config: SimulationConfig, seed: int) -> Sample:
    """Draw people in the poses (N,21,3) at ``rows`` (B,), seen by a camera and by a detector that errs."""
    draw = Draw(seed)
    views = draw_views(body, draw_poses(poses, rows, config, draw), config, draw)
    placed = {"root": views.root, "betas": views.betas, "translation": views.translation}
    _, points = body.detector_points(views.body_pose, **placed)
    keypoints = body.keypoints(views.body_pose, **placed)
    pixels = project(points, views.K)
    box, detected = _detect(pixels, views, config, draw)
    hints, has_hints = landmarks_3d(points @ ray_rotation(box, views.K), detected[..., 2], config, draw)
    told = views.K.clone()
    error = torch.exp(config.focal_error * draw.normal(len(views)) * draw.share(0.5, len(views)))
    told[:, 0, 0], told[:, 1, 1] = told[:, 0, 0] * error, told[:, 1, 1] * error
    seen = torch.ones(len(views), keypoints.shape[1], 1)
    known = torch.ones(len(views), dtype=torch.bool)
    hands = torch.eye(3).expand(len(views), NUM_JOINTS - 1 - views.body_pose.shape[1], 3, 3)
    return {
        "image": torch.zeros(len(views), 3, 0, 0, dtype=torch.uint8),
        "keypoints_2d": torch.cat([pixels_to_crop(project(keypoints, views.K), box), seen], -1),
        "keypoints_3d": torch.cat([keypoints, seen], -1),
        "global_orient": views.root,
        "body_pose": torch.cat([views.body_pose, hands], 1),
        "betas": views.betas,
        "translation": views.translation,
        "has_global_orient": known,
        "has_body_pose": known.clone(),
        "has_betas": known.clone(),
        "box": box,
        "image_size": views.image_size,
        "K": told,
        "points_2d": torch.cat([pixels_to_crop(detected[..., :2], box), detected[..., 2:]], -1),
        "points_3d": hints,
        "has_points_3d": has_hints,
    }


def _detect(pixels: Tensor, views: Views, config: SimulationConfig, draw: Draw) -> tuple[Tensor, Tensor]:
    """True pixels (B,25,2) → the square box (B,4) around what was detected, and that (B,25,3): pixels, confidence."""
    slack = _SLACK * views.image_size.amax(1)[:, None, None]
    inside = ((pixels > -slack) & (pixels < views.image_size[:, None] + slack)).all(-1)
    about = box_of_points(pixels, inside.float())
    centre, half = (about[:, None, :2] + about[:, None, 2:]) / 2, (about[:, None, 2:3] - about[:, None, :1]) / 2
    detected = detect_points((pixels - centre) / half, inside, config, draw)
    detected = torch.cat([detected[..., :2] * half + centre, detected[..., 2:]], -1)
    return box_of_points(detected[..., :2], detected[..., 2]), detected


class PoseSamples:
    """A pose store as a ``CropDataset`` of a keypoint regressor.

    Its train split is seen anew at every step; of its val split there are ``NUM_VAL`` people, always the same
    (simulated val v1: ``SIMULATED_VAL``). In ``val-2d`` nobody of them has 3D landmarks, in ``val-3d`` everybody has.
    """

    remote = False
    size = 0

    def __init__(self, store: PoseStore, body: Body) -> None:
        self.path: Path | str = store.path
        self.note = store.note
        self._store, self._body = store, copy.deepcopy(body).cpu()
        self.digest = store.digest
        self.attributes: dict[str, Any] = {
            "format": "simulated keypoints",
            "poses": store.digest,
            "val": {"version": 1, "people": NUM_VAL, "settings": to_dict(SIMULATED_VAL)},
        }
        self._poses: dict[str, tuple[Tensor, np.ndarray]] = {}
        self._val: dict[str, Sample] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_val": {}}

    @property
    def splits(self) -> list[str]:
        """Names of the splits."""
        val = _VAL_RULES if self._frames("val") else ()
        return [*(["train"] if self._frames("train") else []), *val]

    def count(self, split: str) -> int:
        """Return how many samples a split holds: poses of train, people of val."""
        self._require(split)
        return NUM_VAL if split in _VAL_RULES else self._frames(split)

    def part_counts(self, split: str) -> list[int]:
        """Return how many samples lie together: all."""
        return [self.count(split)]

    def sequences(self, split: str) -> list[str] | None:
        """Return None: every sample is a person of its own."""
        return None

    def at_size(self, size: int) -> PoseSamples:
        """Return itself: there are no images."""
        return self

    def as_predicted(self, aspect: float) -> PoseSamples:
        """Return itself: boxes are those of the points."""
        return self

    def only(self, split: str) -> PoseSamples:
        """Return itself, where it has that split."""
        self._require(split)
        return self

    def check(self) -> None:
        """Raise ``UserError`` unless the content of the store is that of its digest."""
        self._store.check()

    def people(self, indices: np.ndarray, split: str) -> tuple[Sample, PictureOf]:
        """Raise ``UserError``: there are no pictures."""
        raise fail(f"{self.path} holds poses and no images", next_step="Use it with --preset keypoints")

    def annotation(self, indices: np.ndarray, split: str) -> Sample:
        """Return the samples at ``indices`` (N,), without images, which there are none of."""
        return without_images(self.sample(indices, split))

    def sample(self, indices: np.ndarray, split: str) -> Sample:
        """Return the samples at ``indices`` (N,); those of train as one draw of views shows them."""
        count = self.count(split)
        if len(indices) and not 0 <= indices.min() <= indices.max() < count:
            raise fail(f"Split {split!r} of {self.path} has {count} samples", got=f"{indices.min()} to {indices.max()}")
        if split in _VAL_RULES:
            if split not in self._val:
                self._val[split] = join([self._val_block(split, number) for number in range(NUM_VAL // _BLOCK)])
            return take(self._val[split], torch.from_numpy(indices))
        poses, _ = self.weighted_poses(split)
        return simulate(self._body, poses, torch.from_numpy(indices), SIMULATED_VAL, int(indices[0]))

    def weighted_poses(self, split: str) -> tuple[Tensor, np.ndarray]:
        """Return the poses (N,21,3) of a split, axis-angle, and weights (N,) that sum to 1.

        A source counts by the square root of its independent poses, so that rare movements are seen more often: one a
        second of motion, and all that were drawn.
        """
        if split not in self._poses:
            sources = [source for source in self._store.sources if source.split == split and source.frames]
            weights = np.concatenate([np.full(source.frames, _weight(source)) for source in sources])
            self._poses[split] = (torch.from_numpy(self._store.poses(split)), weights / weights.sum())
        return self._poses[split]

    def _val_block(self, split: str, number: int) -> Sample:
        poses, weights = self.weighted_poses("val")
        rows = draw_rows(weights, _BLOCK, number)
        return simulate(self._body, poses, rows, _VAL_RULES[split], number)

    def _frames(self, split: str) -> int:
        return sum(source.frames for source in self._store.sources if source.split == split)

    def _require(self, split: str) -> None:
        if split not in self.splits:
            raise fail(f"{self.path} has no poses in split {split!r}", expected=" or ".join(self.splits))


def _weight(source: Source) -> float:
    """Of each frame of a source."""
    apart = 1.0 if source.drawn or source.fps <= 0 else source.fps
    return float((source.frames / apart) ** 0.5 / source.frames)


def draw_rows(weights: np.ndarray, count: int, seed: int) -> Tensor:
    """Return ``count`` rows drawn by ``weights`` (N,), with replacement; the same for the same seed."""
    places = np.random.default_rng(seed).random(count) * weights.sum()
    rows = np.searchsorted(np.cumsum(weights), places, side="right").clip(max=len(weights) - 1)
    return torch.from_numpy(rows)


class KeypointStream(Dataset[Any]):
    """``stream[step]`` is this process's share of the batch of a step, its rows ``own``, as ``loader.Stream`` has it.

    Every process draws the whole batch, which costs less than agreeing on it, and keeps its rows.
    """

    def __init__(self, mixture: Mixture, config: RegressorConfig, body: Body, own: slice) -> None:
        self._config, self._own = config, own
        self._body = copy.deepcopy(body).cpu()
        parts = [cast(PoseSamples, mixture.stores[name]).weighted_poses("train") for name in mixture.shares]
        self._poses = torch.cat([poses for poses, _ in parts])
        shares = mixture.shares.values()
        self._weights = np.concatenate([share * weights for share, (_, weights) in zip(shares, parts, strict=True)])

    def __getitem__(self, step: int) -> Sample:
        return self.rows(step, self._own)

    def rows(self, step: int, own: slice) -> Sample:
        """Return the rows ``own`` of the batch of ``step``."""
        return take(self._draw(self._config.optim.batch, step), own)

    def annotation(self, at_most: int) -> Sample:
        """Return samples that no step sees, for the statistics that training starts from."""
        return self._draw(at_most, -1)

    def batches(self, first: int, last: int, workers: int, device: torch.device) -> Iterator[Sample]:
        """Yield the batches of the steps ``first`` to ``last`` - 1, made by ``workers`` processes, or here."""
        return prefetch(self, range(first, last), workers, device)

    def _draw(self, count: int, step: int) -> Sample:
        seed = int(hashlib.sha256(json.dumps([self._config.seed, step]).encode()).hexdigest()[:15], 16)
        rows = draw_rows(self._weights, count, seed)
        return simulate(self._body, self._poses, rows, self._config.simulation, seed)


def open_evidence(path: str | Path, body: Body, *, points: bool = False) -> CropDataset:
    """Open image crops, or a pose store as what a keypoint regressor sees of ``body`` in its poses.

    ``points``: a pose store is expected. Raise ``UserError`` as ``open_store`` and ``open_crops`` do.
    """
    kind = kind_of(path)
    of_poses = kind == "a pose store" or (points and kind != "a crop store" and not Path(path).is_dir())
    return PoseSamples(open_store(path), body) if of_poses else open_crops(path)


def stream_of(mixture: Mixture, config: RegressorConfig, body: Body, own: slice) -> Stream | KeypointStream:
    """Return the training batches of a mixture: of images, or of points where the backbone sees points."""
    kind = KeypointStream if config.backbone.kind == "keypoints" else Stream
    return kind(mixture, config, body, own)


def check_evidence(stores: Mapping[str, CropDataset], config: RegressorConfig) -> None:
    """Raise ``UserError`` where data, by name, cannot be seen by the backbone: poses by one of images, or crops by one
    of points."""
    wanted = config.backbone.kind == "keypoints"
    other = [name for name, store in stores.items() if isinstance(store, PoseSamples) != wanted]
    if other:
        raise fail(
            f"A backbone of kind {config.backbone.kind!r} cannot see {', '.join(other)}",
            got="image crops" if wanted else "a pose store",
            expected="a pose store" if wanted else "image crops",
            next_step="Give the other kind of data, or another --preset or regressor",
        )
