"""Fitting in token space: from a keypoint regressor's answer to a body that agrees with what was detected.

1. Start at the regressor's token values (before decoding), orientation, shape, and the place that fits the points.
2. Some steps of Adam (Kingma & Ba, 2015) on all of them at once, many people in a batch. What counts: 2D distances in
   the viewing ray's axes, robust (Geman-McClure, annealed as in Zhou et al., "Fast Global Registration", 2016); 3D
   landmarks, at a low weight, up to a scale in closed form; the offset from the start.
3. Where the camera is assumed, 2D errors below what the assumption alone explains hardly count (TALS: Dwivedi et al.,
   CVPR 2024, section 3.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from tokenizer import Body, FrozenTokenizer
from tokenizer.body.keypoints import DETECTOR_POINTS
from tokenizer.body.rotations import matrix_to_rot6d, rot6d_to_matrix
from tokenizer.body.skeleton import NUM_BODY_JOINTS
from tokenizer.engine.errors import fail

from ..geometry.camera import ray_rotation, translation_to_crop_camera
from ..geometry.rays import half_extent, place_on_rays, rays_of_points
from ..network.keypoint_encoder import PointEvidence
from ..network.model import Regressor
from ..network.prediction import Prediction

_HIPS = (DETECTOR_POINTS.index("left_hip"), DETECTOR_POINTS.index("right_hip"))
_LEAST_CONFIDENCE = 0.25
"""Less sure points are guesses."""
_NEAREST = 0.2
_SCALES = (0.9, 1.4)
"""What the scale of 3D landmarks may be: they are of a person of mean size."""
_DEPTH_WEIGHT = 0.8
_HINT_SIGMA = 0.15
"""Metres; the same for the errors of 3D landmarks as half extents are for those in 2D."""


@dataclass(frozen=True)
class FitOptions:
    """``steps`` of Adam at ``rate``; ``space``: what of the pose is changed, the values of its tokens or 6D rotations.

    Weights: ``hints`` of 3D landmarks, ``prior`` of the pose's offset from the regressor's (``prior_6d`` where 6D is
    changed), ``orientation`` likewise, ``betas`` of shape. ``sigma``: error of a sure point, half extents.
    ``tolerance``: 2D error, half extents, that an assumed camera explains; ``tolerated``: how much errors below it
    still count.
    """

    steps: int = 40
    rate: float = 0.03
    space: Literal["tokens", "rot6d"] = "tokens"
    hints: float = 0.2
    prior: float = 3.0
    prior_6d: float = 9.0
    orientation: float = 0.9
    betas: float = 0.2
    sigma: float = 0.08
    tolerance: float = 0.02
    tolerated: float = 0.05


DEFAULT_FIT = FitOptions()


def fit(
    regressor: Regressor,
    prediction: Prediction,
    evidence: PointEvidence,
    body: Body,
    options: FitOptions = DEFAULT_FIT,
    *,
    assumed_camera: Tensor | bool = False,
) -> Prediction:
    """Return ``prediction``, of a keypoint regressor from this ``evidence``, changed until it fits the evidence.

    ``assumed_camera`` (B,) bool, or one for all: whose K is a guess. The logits remain those of the regressor: ids of
    the fitted pose are those that the tokenizer encodes it to. Raise ``UserError`` for a regressor without tokens where
    tokens are to be changed.
    """
    turn = ray_rotation(prediction.box, prediction.K)
    state = _State(regressor, prediction, turn, options)
    target = _Target(evidence, prediction, options, assumed_camera)
    with torch.enable_grad():
        state.place(body, target)
        optimizer = torch.optim.Adam(state.groups(options.rate))
        for step in range(options.steps):
            progress = step / options.steps
            for group in optimizer.param_groups:
                group["lr"] = group["first"] * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
            optimizer.zero_grad()
            pose, root, betas, place = state.body()
            _, points = body.detector_points(pose, root=root, betas=betas)
            loss = target.loss(points, place, progress) + state.prior(root, options)
            loss.sum().backward()
            optimizer.step()
    with torch.no_grad():
        pose, root, betas, place = state.body()
        return replace(
            prediction,
            global_orient=(turn @ root)[:, None],
            body_pose=torch.cat([pose, prediction.body_pose[:, NUM_BODY_JOINTS:]], 1),
            betas=betas.detach(),
            camera=translation_to_crop_camera((turn @ place[..., None])[..., 0], prediction.box, prediction.K),
        )


class _State:
    """What is changed: token values or 6D, orientation (6D, in the ray's axes), betas, and the place as x/z, y/z, log
    z."""

    def __init__(self, regressor: Regressor, prediction: Prediction, turn: Tensor, options: FitOptions) -> None:
        self._tokenizer = regressor.tokenizer
        self._first_root = (turn.transpose(-1, -2) @ prediction.global_orient[:, 0]).detach()
        self._first_pose = prediction.body_pose[:, :NUM_BODY_JOINTS].detach()
        if options.space == "tokens":
            self._start = _token_values(regressor.tokenizer, prediction)
            self._weight = options.prior
        else:
            self._start = matrix_to_rot6d(self._first_pose)
            self._weight = options.prior_6d
        self._of_tokens = options.space == "tokens"
        self._offset = torch.zeros_like(self._start).requires_grad_()
        self._root6d = matrix_to_rot6d(self._first_root).clone().requires_grad_()
        self._betas = prediction.betas.detach().clone().requires_grad_()
        self._place = torch.zeros(len(self._betas), 3, device=self._betas.device)

    @torch.no_grad()
    def place(self, body: Body, target: _Target) -> None:
        """Put the body of the start onto the points."""
        _, points = body.detector_points(self._first_pose, root=self._first_root, betas=self._betas)
        place = place_on_rays(points, target.rays, target.confidence.clamp_min(0.02))
        depth = place[:, 2:].clamp_min(0.5)
        self._place = torch.cat([place[:, :2] / depth, depth.log()], 1).requires_grad_()

    def groups(self, rate: float) -> list[dict[str, object]]:
        """Return Adam's groups: orientation and place move at half the rate."""
        slow = [self._root6d, self._place]
        return [
            {"params": [self._offset, self._betas], "lr": rate, "first": rate},
            {"params": slow, "lr": rate / 2, "first": rate / 2},
        ]

    def body(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return pose (B,21,3,3), orientation in the ray's axes (B,3,3), betas (B,10), and place (B,3) m."""
        values = self._start + self._offset
        pose = self._tokenizer.decode_values(values) if self._of_tokens else rot6d_to_matrix(values)
        depth = self._place[:, 2:].exp()
        return pose, rot6d_to_matrix(self._root6d), self._betas, torch.cat([self._place[:, :2] * depth, depth], 1)

    def prior(self, root: Tensor, options: FitOptions) -> Tensor:
        """Return what the change from the start costs, (B,)."""
        change = self._weight * self._offset.square().flatten(1).sum(1)
        turned = options.orientation * (root - self._first_root).square().flatten(1).sum(1)
        return change + turned + options.betas * self._betas.square().sum(1)


class _Target:
    """What the body is to agree with, in the axes of the viewing ray."""

    def __init__(
        self, evidence: PointEvidence, prediction: Prediction, options: FitOptions, assumed_camera: Tensor | bool
    ) -> None:
        self._options = options
        self.rays = rays_of_points(evidence.points[..., :2], prediction.box, prediction.K)
        self._extent = half_extent(prediction.box, prediction.K)[:, None]
        self.confidence = evidence.points[..., 2]
        self._seen = self.confidence * (self.confidence > _LEAST_CONFIDENCE)
        self._hints = evidence.hints
        self._has_hints = evidence.has_hints.float()
        assumed = torch.as_tensor(assumed_camera, device=self.rays.device)
        self._tolerance = torch.where(assumed, options.tolerance, 0.0).expand(len(self.rays))[:, None]

    def loss(self, points: Tensor, place: Tensor, progress: float) -> Tensor:
        """Points (B,25,3) m at ``place`` (B,3) → (B,)."""
        options = self._options
        placed = points + place[:, None]
        projected = placed[..., :2] / placed[..., 2:].clamp_min(_NEAREST)
        squared = ((projected - self.rays) / self._extent[..., None]).square().sum(-1)
        counted = torch.where(squared.detach() < self._tolerance**2, options.tolerated, 1.0)
        sigma = max(options.sigma, 0.5 * (1 - progress / 0.6))
        in_2d = (self._seen.square() * counted * geman_mcclure(squared, sigma)).sum(1) / (sigma * options.sigma)
        return in_2d + options.hints * self._in_3d(points)

    def _in_3d(self, points: Tensor) -> Tensor:
        about = points - points[:, _HIPS].mean(1, keepdim=True)
        weights = (self._has_hints * self.confidence)[..., None]
        with torch.no_grad():
            # The scale that fits best: landmarks are of a person of mean size.
            dot = (about * self._hints * weights).sum((1, 2))
            scale = (dot / (self._hints.square() * weights).sum((1, 2)).clamp_min(1e-6)).clamp(*_SCALES)
        apart = about - scale[:, None, None] * self._hints
        squared = apart[..., :2].square().sum(-1) + (_DEPTH_WEIGHT * apart[..., 2]).square()
        sure = self._has_hints * (0.2 + 0.8 * self._seen)
        return (sure * geman_mcclure(squared, _HINT_SIGMA)).sum(1) / _HINT_SIGMA**2


def geman_mcclure(squared: Tensor, sigma: float) -> Tensor:
    """Squared errors → the robust σ²·r²/(r²+σ²), same shape (Geman & McClure, 1987)."""
    return sigma**2 * squared / (squared + sigma**2)


@torch.no_grad()
def _token_values(tokenizer: FrozenTokenizer, prediction: Prediction) -> Tensor:
    """Return the expected values (B,T,D) of the tokens of a prediction, which decode to its pose."""
    if prediction.factor_logits is None:
        raise fail("This regressor predicts no tokens", got="a 6D pose head", next_step="Fit with space='rot6d'")
    return tokenizer.soft_values([logits.softmax(-1) for logits in prediction.factor_logits])
