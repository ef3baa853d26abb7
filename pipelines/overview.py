"""The picture at the top of the README: image, predicted tokens, and the body they decode to."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import torch

from regressor.datasets.crop_dataset import CropDataset
from regressor.export.overlay import overlay, side_view
from regressor.geometry.camera import crop_intrinsics
from regressor.network.model import Regressor, evidence_of
from tokenizer import Body
from tokenizer.body.figures import lay_over, suit_colours

from .pictures import enlarge

_EDGE = 320
_GAP = 28
_COLUMNS = 5
_INK = (46, 40, 36)


@torch.no_grad()
def overview(store: CropDataset, regressor: Regressor, body: Body, numbers: list[int]) -> np.ndarray:
    """A row for each of the test images ``numbers`` → (H,W,3) uint8 RGB: the image, its predicted token ids with a
    colour for each code, the predicted body where it stands, and the same from its side."""
    sample = store.sample(np.array(numbers), "test")
    prediction = regressor(evidence_of(sample), box=sample["box"], K=sample["K"], body=body)
    about = prediction.vertices(body)
    vertices = about + prediction.camera_translation()[:, None]
    K = crop_intrinsics(sample["K"], sample["box"], _EDGE)
    white = np.full((_EDGE, _EDGE, 3), 255, np.uint8)
    sides = side_view(about - prediction.joints(body)[:, :1], body.faces, _EDGE, suit_colours(body), reach=1.15)
    rows = []
    for i, image in enumerate(sample["image"].permute(0, 2, 3, 1).numpy()):
        large = enlarge(image, _EDGE)
        tokens = token_table(prediction.token_ids[i].tolist(), regressor.tokenizer.num_codes)
        front, side = overlay(large, vertices[i], body.faces, K[i], suit_colours(body)), lay_over(white, sides[i], 1.0)
        space = np.full((_EDGE, _GAP, 3), 255, np.uint8)
        rows += [np.concatenate([large, space, tokens, space, front, space, side], 1)]
        rows += [np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)]
    return np.concatenate(rows[:-1])


def token_table(ids: list[int], num_codes: int) -> np.ndarray:
    """Ids in a table of five columns → (320,W,3) uint8 RGB; the hue encodes the id."""
    lines = -(-len(ids) // _COLUMNS)
    height, width = _EDGE // lines, 64
    table = np.full((_EDGE, width * _COLUMNS, 3), 255, np.uint8)
    for number, code in enumerate(ids):
        x, y = number % _COLUMNS * width, number // _COLUMNS * height
        colour = [round(255 * value) for value in colorsys.hsv_to_rgb(0.85 * code / num_codes, 0.35, 0.97)]
        table[y + 2 : y + height - 2, x + 2 : x + width - 2] = colour
        (wide, high), _ = cv2.getTextSize(str(code), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
        at = (x + (width - wide) // 2, y + (height + high) // 2)
        cv2.putText(table, str(code), at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    return table
