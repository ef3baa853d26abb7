"""People in photographs: boxes in, bodies out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.camera import project
from tokenizer.body.rotations import matrix_to_axis_angle

from .boxes import Box, check_box
from .camera import prediction_box
from .datasets.crops import cut_crop, whole_pixel_box
from .model import Regressor, normalise
from .prediction import Prediction

SYNTHETIC_WARNING = (
    "This regressor was trained on synthetic people only (domain {domain!r}): it has never seen a photograph, "
    "real clothes or a real background. On a real photo expect a plausible body in a wrong pose."
)


@dataclass
class People:
    """The people of one image: their prediction and, in camera axes, vertices (B,V,3) and joints (B,24,3) translated to
    where they stand, metres."""

    prediction: Prediction
    vertices: Tensor
    joints: Tensor


@torch.no_grad()
def predict_people(
    regressor: Regressor, body: Body, image: np.ndarray, boxes: Sequence[Box], K: Tensor, *, where: str = "the image"
) -> People:
    """People in an image (H,W,3) uint8 RGB, one for each box around a person, tight or not.

    What the network sees of a box: ``prediction_box``. K (3,3) px. Raises ``UserError`` for a box without area or
    outside the image.
    """
    height, width = image.shape[:2]
    aspect = regressor.config.backbone.aspect
    squares = []
    for given in boxes:
        box = prediction_box(torch.tensor(check_box(given, width, height, where)), aspect).numpy()
        squares.append(whole_pixel_box(box) if aspect == 1 else box)
    size = regressor.config.image_size
    crops = np.stack([cut_crop(image, square, size) for square in squares])
    device = regressor.network.mean_betas.device
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2).to(device)
    square = torch.from_numpy(np.stack(squares)).float().to(device)
    prediction = regressor(normalise(batch), box=square, K=K.float().to(device).expand(len(squares), 3, 3))
    offset = prediction.camera_translation()[:, None]
    return People(prediction, prediction.vertices(body) + offset, prediction.joints(body) + offset)


def person_arrays(people: People, number: int) -> dict[str, np.ndarray]:
    """What is saved of one of ``people``, as plain arrays; lengths in metres, pixels of the whole image:

    ``global_orient`` (3,3), ``body_pose`` (23,3,3): rotation matrices; ``poses`` (72,): the same as axis-angle,
    radians; ``betas`` (10,); ``translation`` (3,) m; ``K`` (3,3) and ``box`` (4,) px of the image; ``vertices`` (V,3)
    and ``joints`` (24,3) m, camera axes; ``joints_2d`` (24,2) px; ``token_ids`` (T,) where the regressor has tokens.
    """
    prediction = people.prediction
    rotations = torch.cat([prediction.global_orient, prediction.body_pose], 1)[number]
    tensors: dict[str, Tensor] = {
        "global_orient": rotations[0],
        "body_pose": rotations[1:],
        "poses": matrix_to_axis_angle(rotations).flatten(),
        "betas": prediction.betas[number],
        "translation": prediction.camera_translation()[number],
        "K": prediction.K[number],
        "box": prediction.box[number],
        "vertices": people.vertices[number],
        "joints": people.joints[number],
        "joints_2d": project(people.joints, prediction.K)[number],
    }
    if prediction.factor_logits is not None:
        tensors["token_ids"] = prediction.token_ids[number]
    return {name: value.cpu().numpy() for name, value in tensors.items()}


def synthetic_warning(regressor: Regressor) -> str | None:
    """Plain words where a regressor has only ever seen synthetic people; None where it has seen others."""
    domain = regressor.provenance.get("crops_attributes", {}).get("domain")
    return SYNTHETIC_WARNING.format(domain=domain) if domain in ("suit", "varied") else None
