"""A prediction: log-probabilities and ids of whole tokens from their digits, and the camera's translation."""

from __future__ import annotations

import pytest
import torch

from regressor.network.prediction import Prediction
from tokenizer.engine.errors import UserError


def prediction(logits=None, **changes):
    values = {
        "global_orient": torch.eye(3).view(1, 1, 3, 3),
        "body_pose": torch.eye(3).expand(1, 23, 3, 3),
        "betas": torch.zeros(1, 10),
        "camera": torch.tensor([[1.0, 0.0, 0.0]]),
        "box": torch.tensor([[0.0, 0.0, 200.0, 200.0]]),
        "K": torch.tensor([[[500.0, 0.0, 100.0], [0.0, 500.0, 100.0], [0.0, 0.0, 1.0]]]),
        "factor_logits": logits,
    }
    return Prediction(**{**values, **changes})


def test_tokens_combine_their_digits_first_factor_fastest():
    """Probabilities (0.25, 0.75) and (0.1, 0.2, 0.7) of two digits: id = first + 2 · second."""
    logits = [torch.tensor([[[0.25, 0.75]]]).log() + 3, torch.tensor([[[0.1, 0.2, 0.7]]]).log() - 1]
    both = prediction(logits)
    expected = torch.tensor([[[0.025, 0.075, 0.05, 0.15, 0.175, 0.525]]])
    torch.testing.assert_close(both.token_logits.exp(), expected)
    assert both.token_ids.tolist() == [[5]] == both.token_logits.argmax(-1).tolist()


def test_a_6d_head_has_no_tokens():
    for name in ("token_logits", "token_ids"):
        with pytest.raises(UserError, match="predicts no tokens; got a 6D pose head"):
            getattr(prediction(), name)


def test_translation_is_that_of_the_weak_perspective_in_the_full_image():
    """s = 1 spans two metres with the 200 px of the box: 2 m · 500 px / 200 px = 5 m away, on the axis or beside it."""
    torch.testing.assert_close(prediction().camera_translation(), torch.tensor([[0.0, 0.0, 5.0]]))
    moved = prediction(box=torch.tensor([[100.0, 0.0, 300.0, 200.0]]), camera=torch.tensor([[1.0, 0.0, 0.25]]))
    torch.testing.assert_close(moved.camera_translation(), torch.tensor([[1.0, 0.25, 5.0]]))


def test_points_are_those_of_the_body_turned_by_the_orientation(open_body):
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0])).view(1, 1, 3, 3)
    turned = prediction(global_orient=half_turn)
    joints, rest = turned.joints(open_body), prediction().joints(open_body)
    pelvis = rest[:, :1]
    torch.testing.assert_close(joints, (rest - pelvis) @ half_turn[0].mT + pelvis)
    assert turned.keypoints(open_body).shape == (1, 44, 3)
    subset = torch.tensor([0, 5])
    torch.testing.assert_close(turned.vertices(open_body, subset), turned.vertices(open_body)[:, subset])
