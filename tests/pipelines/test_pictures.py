"""Pictures of crops: a test person is cut to its box, and the page's cards carry true errors."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch

from pipelines.pictures import enlarge, predicted_images, save_test_person
from regressor.datasets.crop_store import open_crop_store, write_crops
from regressor.network.model import normalise
from regressor.training.validation import joint_errors
from tokenizer.engine.errors import UserError


def test_a_test_person_fills_the_picture(tmp_path, annotated_people):
    """The margin of a crop, a tenth of the box at each side, is cut off: what lies in it is not in the picture."""
    people = {name: values.numpy() for name, values in annotated_people(2, size=120).items()}
    people["image"][:] = 0
    people["image"][1, 0, 10:110, 10:110] = 255  # red, as large as the box
    with write_crops(tmp_path / "crops.h5", 120, {"train": 0, "val": 0, "test": 2}, {}) as writer:
        writer.append("test", people)
    save_test_person(tmp_path / "crops.h5", tmp_path / "person.png", 1, size=60)
    picture = cv2.imread(str(tmp_path / "person.png"))[..., ::-1]
    assert picture.shape == (60, 60, 3)
    assert (picture == (255, 0, 0)).all()
    with pytest.raises(UserError, match="has no test image 2; expected 0 to 1"):
        save_test_person(tmp_path / "crops.h5", tmp_path / "other.png", 2)


def test_enlarging_keeps_flat_colours():
    assert (enlarge(np.full((4, 4, 3), 77, np.uint8), 9) == 77).all()


def test_cards_of_predictions_carry_the_errors_of_their_rows(crops_file, regressor, open_body):
    store = open_crop_store(crops_file)
    html = predicted_images(store, regressor.eval(), open_body, count=2)
    people = store.sample(np.arange(2), "test")
    with torch.no_grad():
        prediction = regressor(normalise(people["image"]), box=people["box"], K=people["K"])
    truth = open_body.joints(people["body_pose"], root=people["global_orient"], betas=people["betas"])
    errors = joint_errors(prediction.joints(open_body), truth)
    expected = [f"{error:.0f}" for name in ("mpjpe_mm", "pa_mpjpe_mm") for error in errors[name]]
    shown = re.findall(r"<b>(\d+) mm</b>, (\d+) mm after alignment", html)
    assert [row[0] for row in shown] + [row[1] for row in shown] == expected
    assert html.count("data:image/") == 8, "image, true, predicted and side of each"
