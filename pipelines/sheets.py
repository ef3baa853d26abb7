"""Sheets of pictures: poses through the tokenizer, test images through the regressor."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from regressor.camera import crop_intrinsics
from regressor.datasets.store import CropStore
from regressor.evaluate import joint_errors
from regressor.model import Regressor, normalise
from regressor.overlay import BODY_COLOUR, lay_over, paint, side_view
from tokenizer import Body, FrozenTokenizer
from tokenizer.body.metrics import mpjpe
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import fail
from tokenizer.mocap.store import PoseStore

from .page import card, cards, strip
from .pictures import TRUTH, data_uri, enlarge, figures

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_AT_MOST = 4000
_FIGURE = (300, 220)
_CROP = 224


@torch.no_grad()
def tokenized_poses(store: PoseStore, tokenizer: FrozenTokenizer, body: Body) -> str:
    """Validation poses at fixed quantiles of the error, before and after tokens (html)."""
    before = axis_angle_to_matrix(_validation(store))
    after = tokenizer.decode(tokenizer.encode(before))
    error = 1000 * mpjpe(body.joints(after)[:, 1:24], body.joints(before)[:, 1:24])
    order = error.argsort()
    chosen = order[[round(q * (len(order) - 1)) for q in _QUANTILES]]
    pictures = zip(
        figures(body, before[chosen], _FIGURE, TRUTH), figures(body, after[chosen], _FIGURE, BODY_COLOUR), strict=True
    )
    return cards(
        card(strip([(data_uri(a), "before"), (data_uri(b), "after")]), f"<b>{error[number]:.1f} mm</b>, {_share(q)}")
        for q, number, (a, b) in zip(_QUANTILES, chosen, pictures, strict=True)
    )


@torch.no_grad()
def code_counts(store: PoseStore, tokenizer: FrozenTokenizer) -> Tensor:
    """How often each code (K,) occurs in all tokens of the validation poses."""
    poses = torch.from_numpy(store.poses("val"))
    counts = torch.zeros(tokenizer.num_codes, dtype=torch.int64)
    for chunk in poses.split(2048):
        ids = tokenizer.encode(axis_angle_to_matrix(chunk))
        counts += torch.bincount(ids.flatten(), minlength=tokenizer.num_codes)
    return counts


@torch.no_grad()
def predicted_images(store: CropStore, regressor: Regressor, body: Body, count: int = 8) -> str:
    """The first test images: as they are, with the true and with the predicted body, and both from the side (html)."""
    sample = store.sample(np.arange(min(count, store.count("test"))), "test")
    prediction = regressor(normalise(sample["image"]), box=sample["box"], K=sample["K"])
    true_pose = {"root": sample["global_orient"], "betas": sample["betas"]}
    true_joints = body.joints(sample["body_pose"], **true_pose)
    error = joint_errors(prediction.joints(body), true_joints)
    truth = body.vertices(sample["body_pose"], **true_pose, translation=sample["translation"])
    predicted = prediction.vertices(body) + prediction.camera_translation()[:, None]
    K = crop_intrinsics(sample["K"], sample["box"], _CROP)
    size = (_CROP, _CROP)
    layers = [paint(truth, body.faces, K, size, TRUTH), paint(predicted, body.faces, K, size, BODY_COLOUR)]
    about = (truth - true_joints[:, :1] - sample["translation"][:, None],
             predicted - prediction.joints(body)[:, :1] - prediction.camera_translation()[:, None])  # fmt: skip
    sides = [side_view(mesh, body.faces, _CROP, colour, reach=1.15)
             for mesh, colour in zip(about, (TRUTH, BODY_COLOUR), strict=True)]  # fmt: skip
    items = []
    for i, image in enumerate(sample["image"].permute(0, 2, 3, 1).numpy()):
        large = enlarge(image, _CROP)
        blank = np.full_like(large, 236)
        both = lay_over(lay_over(blank, sides[0][i], 1.0), sides[1][i], 0.75)
        pictures = [(large, "image"), (lay_over(large, layers[0][i]), "true"),
                    (lay_over(large, layers[1][i]), "predicted"), (both, "side")]  # fmt: skip
        caption = f"<b>{error['mpjpe_mm'][i]:.0f} mm</b>, {error['pa_mpjpe_mm'][i]:.0f} mm after alignment"
        items.append(card(strip([(data_uri(picture), label) for picture, label in pictures]), caption))
    return cards(items, "two")


def _validation(store: PoseStore) -> Tensor:
    poses = store.poses("val")
    if not len(poses):
        raise fail(f"{store.path} has no validation poses")
    return torch.from_numpy(poses[:: math.ceil(len(poses) / _AT_MOST)])


def _share(quantile: float) -> str:
    return f"larger than in {100 * quantile:.0f} % of poses"
