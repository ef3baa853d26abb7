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

from ..datasets.cropping import cut_crop, whole_pixel_box
from ..geometry.boxes import Box, check_box
from ..geometry.camera import prediction_box
from ..network.model import Regressor, normalise
from ..network.prediction import Prediction

SYNTHETIC_WARNING = (
    "This regressor was trained on synthetic people only (domain {domain!r}): it has never seen a photograph, "
    "real clothes or a real background. On a real photo expect a plausible body in a wrong pose."
)

STILL_FPS = 30.0
"""Frames a second that are written for a photograph: readers of AMASS' files ask for some."""
_BODY, _SMPLH = 66, 156
"""Numbers of a pose that are of the root and the body, of all that SMPL-H has."""


@dataclass
class People:
    """The people of one image: their prediction and, in camera axes, vertices (B,V,3) and joints (B,24,3) translated to
    where they stand, metres; ``token_ids`` (B,T) of their poses, where the regressor has tokens."""

    prediction: Prediction
    vertices: Tensor
    joints: Tensor
    token_ids: Tensor | None = None


@dataclass(frozen=True)
class Crops:
    """What the network is to see: ``images`` (B,S,S,3) uint8 RGB of the ``boxes`` (B,4) px, square, of images with K
    (B,3,3) px."""

    images: np.ndarray
    boxes: np.ndarray
    K: Tensor

    @classmethod
    def join(cls, parts: Sequence[Crops]) -> Crops:
        """Crops of several images, one after the other."""
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            torch.cat([part.K for part in parts]),
        )


def crops_of(regressor: Regressor, image: np.ndarray, boxes: Sequence[Box], K: Tensor, where: str) -> Crops:
    """Crops of people in an image (H,W,3) uint8 RGB, one for each box around a person, tight or not; K (3,3) px.

    What the network sees of a box: ``prediction_box``. Raises ``UserError`` for a box without area or outside the
    image.
    """
    height, width = image.shape[:2]
    aspect = regressor.config.backbone.aspect
    squares = []
    for person_box in boxes:
        box = prediction_box(torch.tensor(check_box(person_box, width, height, where)), aspect).numpy()
        squares.append(whole_pixel_box(box) if aspect == 1 else box)
    size = regressor.config.image_size
    images = np.stack([cut_crop(image, square, size) for square in squares])
    return Crops(images, np.stack(squares), K.float().cpu().expand(len(squares), 3, 3))


@torch.no_grad()
def predict_crops(regressor: Regressor, body: Body, crops: Crops) -> People:
    """The people in crops of one image or several."""
    device = regressor.network.mean_betas.device
    batch = torch.from_numpy(crops.images).permute(0, 3, 1, 2).to(device)
    boxes = torch.from_numpy(crops.boxes).float().to(device)
    prediction = regressor(normalise(batch), box=boxes, K=crops.K.to(device))
    return people_of(prediction, body, prediction.token_ids if prediction.factor_logits is not None else None)


def people_of(prediction: Prediction, body: Body, token_ids: Tensor | None) -> People:
    """Return the people of a prediction, with their meshes where they stand."""
    offset = prediction.camera_translation()[:, None]
    return People(prediction, prediction.vertices(body) + offset, prediction.joints(body) + offset, token_ids)


def person_arrays(people: People, number: int, body: Body) -> dict[str, np.ndarray]:
    """What is saved of one of ``people``, as plain arrays that others read. Camera axes of OpenCV; float32.

    smplx's: ``global_orient`` (3,), ``body_pose`` (69,): axis-angle, radians; ``transl`` (3,) m; ``betas`` (10,),
    SMPL's: zeros for the open body, whose shape is ``open_body_betas`` (10,); ``body_model`` is the kind of body.
    AMASS', a clip of one frame: ``poses`` (1,156) of SMPL-H, hands at rest; ``trans`` (1,3); ``gender``;
    ``mocap_framerate`` and ``mocap_frame_rate``, which a photograph has not: ``STILL_FPS``.
    Besides: ``K`` (3,3) and ``box`` (4,) px of the image; ``vertices`` (V,3) and ``joints`` (24,3) m; ``joints_2d``
    (24,2) px; ``token_ids`` (T,) where the regressor has tokens. Of the version before: ``translation`` (3,), and
    ``rotation_matrices`` (24,3,3), the root first.
    """
    prediction = people.prediction
    rotations = torch.cat([prediction.global_orient, prediction.body_pose], 1)[number]
    axis_angle = matrix_to_axis_angle(rotations.float()).flatten().cpu()
    translation, betas = prediction.camera_translation()[number], prediction.betas[number]
    shape = {"betas": betas}
    if body.kind == "open":
        shape = {"betas": torch.zeros_like(betas), "open_body_betas": betas}
    tensors: dict[str, Tensor] = {
        "global_orient": axis_angle[:3],
        "body_pose": axis_angle[3:],
        "transl": translation,
        **shape,
        "poses": torch.cat([axis_angle[:_BODY], axis_angle.new_zeros(_SMPLH - _BODY)])[None],
        "trans": translation[None],
        "K": prediction.K[number],
        "box": prediction.box[number],
        "vertices": people.vertices[number],
        "joints": people.joints[number],
        "joints_2d": project(people.joints, prediction.K)[number],
        "translation": translation,
        "rotation_matrices": rotations,
    }
    arrays: dict[str, np.ndarray] = {name: value.float().cpu().numpy() for name, value in tensors.items()}
    if people.token_ids is not None:
        arrays["token_ids"] = people.token_ids[number].cpu().numpy()
    rate = np.array(STILL_FPS)
    words = {"gender": np.array(body.gender), "body_model": np.array(body.kind)}
    return {**arrays, **words, "mocap_framerate": rate, "mocap_frame_rate": rate}


def synthetic_warning(regressor: Regressor) -> str | None:
    """Plain words where a regressor has only ever seen synthetic people; None where it has seen others."""
    domain = regressor.provenance.get("crops_attributes", {}).get("domain")
    return SYNTHETIC_WARNING.format(domain=domain) if domain in ("suit", "varied") else None
