"""The 44 keypoints of annotated bodies, in 3D and seen in the image, where a data set gives bodies and few points.

1. People whose pose, orientation and place are true and known, and who lack some of the 44 in 3D or 2D.
2. Their body: the neutral one with their shape; of a female or male shape the neutral one that fits their 3D points.
3. Points that the data set annotates stay; the others are those of the body.

BEDLAM and 3DPW know 24 joints at most; TokenHMR's loss on 3D keypoints is relative to one that is not among them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.engine.training.precision import with_float64

from ..geometry.camera import project_to_crop
from ..sample import Sample, has_neutral_betas, is_true_3d

_FEWEST_TO_FIT = 8
"""3D keypoints needed to fit a shape; ten numbers of shape and three of place are asked of their coordinates."""
_SPREAD_M = 0.005
"""How far a neutral body's keypoints may lie from another's, in metres, where its shape is ordinary (a spread of 1)."""
_WORST_FIT_M = 0.05
_NEAREST_M = 0.1
"""What is nearer to the camera than that is not seen in the image."""


@torch.no_grad()
def with_posed_keypoints(sample: Sample, body: Body) -> Sample:
    """``sample`` with the 44 keypoints of the annotated bodies where it lacks some, confidence 1; the same if none.

    ``body``: the neutral one of the annotation's kind. 3D needs pose, orientation and shape, and the translation where
    some 3D is annotated; 2D needs translation and camera. Pseudo labels are left alone, and so are people whose shape
    is unknown, or female or male with fewer than 8 keypoints in 3D to fit the neutral body to.
    """
    points_2d, points_3d = sample["keypoints_2d"], sample["keypoints_3d"]
    sure_2d, sure_3d = points_2d[..., 2] > 0, points_3d[..., 3] > 0
    placed = sample["translation"][:, 2] > 0
    useful = (~sure_3d.all(1) & (placed | ~sure_3d.any(1))) | (placed & ~sure_2d.all(1))
    true = sample["has_body_pose"] & sample["has_global_orient"] & is_true_3d(sample) & useful
    neutral = has_neutral_betas(sample)
    foreign = sample["has_betas"] & ~neutral & placed & (sure_3d.sum(1) >= _FEWEST_TO_FIT)
    rows = (true & (neutral | foreign)).nonzero()[:, 0]
    if not len(rows):
        return sample
    pose, root = sample["body_pose"][rows], sample["global_orient"][rows]
    betas, place = sample["betas"][rows], sample["translation"][rows]
    usable = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    fitted = (~neutral[rows]).nonzero()[:, 0]
    if len(fitted):
        betas, place = betas.clone(), place.clone()
        betas[fitted], place[fitted], apart = fit_neutral_shape(
            points_3d[rows[fitted]], pose[fitted], root[fitted], body
        )
        usable[fitted] = apart < _WORST_FIT_M
    body_points = body.keypoints(pose, root=root, betas=betas, translation=place).to(points_3d.dtype)
    sure = usable[:, None, None].to(body_points.dtype).expand(-1, body_points.shape[1], 1)
    added_3d = torch.cat([body_points, sure], -1)
    projected = project_to_crop(body_points, sample["box"][rows], sample["K"][rows])
    in_front = placed[rows, None, None] & (body_points[..., 2:] > _NEAREST_M)
    added_2d = torch.cat([torch.where(in_front, projected, 0.0), torch.where(in_front, sure, 0.0)], -1)
    return {
        **sample,
        "keypoints_3d": _completed(points_3d, rows, added_3d),
        "keypoints_2d": _completed(points_2d, rows, added_2d.to(points_2d.dtype)),
    }


def fit_neutral_shape(points: Tensor, pose: Tensor, root: Tensor, body: Body) -> tuple[Tensor, Tensor, Tensor]:
    """The neutral body nearest to 3D keypoints (B,44,4), metres, of people of known pose (B,23,3,3) and root (B,3,3).

    → betas (B,S), translation (B,3), root mean square distance (B,) in metres over the keypoints that have confidence.
    In a given pose keypoints depend linearly on betas, so that this is least squares, with ordinary shapes preferred.
    Float64 inside, on the CPU where the device has none.
    """
    count, shapes, home = len(points), body.num_betas, with_float64(points.device)
    annotated = points
    trials = torch.cat([torch.zeros(1, shapes), torch.eye(shapes)]).to(points)
    moved_points = body.keypoints(
        pose[:, None].expand(-1, shapes + 1, -1, -1, -1),
        root=root[:, None].expand(-1, shapes + 1, -1, -1),
        betas=trials.expand(count, -1, -1),
    ).to(home, torch.float64)
    points = points.to(home)
    directions = (moved_points[:, 1:] - moved_points[:, :1]).permute(0, 2, 3, 1)  # (B,44,3,S)
    identity = torch.eye(3, dtype=torch.float64, device=points.device).expand(*directions.shape[:3], 3)
    weight = (points[..., 3] > 0).double()[..., None, None]
    rows = (torch.cat([directions, identity], -1) * weight).flatten(1, 2)
    targets = torch.where(weight[..., 0] > 0, points[..., :3].double() - moved_points[:, 0], 0.0)
    damping = torch.tensor([_SPREAD_M**2] * shapes + [1e-9] * 3, dtype=torch.float64, device=points.device).diag()
    solved = torch.linalg.solve(rows.mT @ rows + damping, rows.mT @ targets.flatten(1, 2)[..., None])[..., 0]
    apart = (rows @ solved[..., None])[..., 0] - targets.flatten(1, 2)
    spread = (apart.square().sum(1) / weight.flatten(1).sum(1).clamp_min(1)).sqrt()
    betas, place, distance = (
        values.to(annotated.dtype).to(annotated) for values in (solved[:, :shapes], solved[:, shapes:], spread)
    )
    return betas, place, distance


def _completed(points: Tensor, rows: Tensor, added: Tensor) -> Tensor:
    """Points (B,44,D), those of ``rows`` without confidence replaced by ``added`` (R,44,D)."""
    out = points.clone()
    out[rows] = torch.where(points[rows][..., -1:] > 0, points[rows], added)
    return out
