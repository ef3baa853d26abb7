"""Pictures of crops: enlarged, saved as files, and test images with their predicted bodies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from regressor.datasets.crop_dataset import CropDataset, open_crops
from regressor.export.mesh import write_image
from regressor.export.overlay import both_sides
from regressor.geometry.camera import crop_intrinsics, square_box
from regressor.network.model import Regressor, evidence_of
from regressor.training.validation import joint_errors
from tokenizer import Body
from tokenizer.body.figures import TRUE_COLOUR, lay_over, paint, suit_colours
from tokenizer.engine.errors import fail
from tokenizer.engine.pages.page import card, cards, strip
from tokenizer.engine.pages.pictures import data_uri


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """A square uint8 image at ``size`` px."""
    larger: np.ndarray = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    return larger


def save_test_person(crops: Path, out: Path, number: int, size: int = 480) -> None:
    """Write test image ``number`` of a crop store as a PNG of ``size`` px that the person fills.

    Crops have a margin around the person; a predictor that is given the whole picture adds it again. Raises
    ``UserError`` for a number that is not there.
    """
    store = open_crops(crops)
    count = store.count("test")
    if not 0 <= number < count:
        raise fail(f"{crops} has no test image {number}", expected=f"0 to {count - 1}")
    image = store.sample(np.array([number]), "test")["image"][0].permute(1, 2, 0).numpy()
    left, _, right, _ = square_box(torch.tensor([0.0, 0.0, 1.0, 1.0])).tolist()
    edge = round((1 - 1 / (right - left)) / 2 * len(image))
    inner = enlarge(np.ascontiguousarray(image[edge : len(image) - edge, edge : len(image) - edge]), size)
    write_image(out, inner)


_CROP = 224


@torch.no_grad()
def predicted_images(store: CropDataset, regressor: Regressor, body: Body, count: int = 8) -> str:
    """The first test images: as they are, with the true and with the predicted body, and both from the side (html)."""
    sample = store.sample(np.arange(min(count, store.count("test"))), "test")
    prediction = regressor(evidence_of(sample), box=sample["box"], K=sample["K"], body=body)
    true_pose = {"root": sample["global_orient"], "betas": sample["betas"]}
    true_joints = body.joints(sample["body_pose"], **true_pose)
    error = joint_errors(prediction.joints(body), true_joints)
    truth = body.vertices(sample["body_pose"], **true_pose, translation=sample["translation"])
    predicted = prediction.vertices(body) + prediction.camera_translation()[:, None]
    K = crop_intrinsics(sample["K"], sample["box"], _CROP)
    size = (_CROP, _CROP)
    layers = [
        paint(truth, body.faces, K, size, suit_colours(body, TRUE_COLOUR)),
        paint(predicted, body.faces, K, size, suit_colours(body)),
    ]
    sides = both_sides(
        predicted - prediction.joints(body)[:, :1] - prediction.camera_translation()[:, None],
        truth - true_joints[:, :1] - sample["translation"][:, None],
        body,
        _CROP,
    )
    items = []
    for i, image in enumerate(sample["image"].permute(0, 2, 3, 1).numpy()):
        large = enlarge(image, _CROP)
        pictures = [
            (large, "image"),
            (lay_over(large, layers[0][i]), "true"),
            (lay_over(large, layers[1][i]), "predicted"),
            (sides[i], "side"),
        ]
        caption = f"<b>{error['mpjpe_mm'][i]:.0f} mm</b>, {error['pa_mpjpe_mm'][i]:.0f} mm after alignment"
        items.append(card(strip([(data_uri(picture), label) for picture, label in pictures]), caption))
    return cards(items, "two")
