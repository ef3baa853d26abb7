"""Gradients of a step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from narrow_networks import paper_like

from regressor.config import PUBLISHED_LOSS, LossConfig
from regressor.network.model import build_regressor
from regressor.training.gradients import unused_parameters


@pytest.mark.parametrize(
    ("zero", "unreached"),
    [
        ((), set()),
        (("token", "soft_argmax"), set()),
        (("keypoints_2d", "keypoints_3d"), {"camera.weight", "camera.bias"}),
    ],
)
def test_what_no_term_reaches_is_known(tokenizer, tiny_config, open_body, zero, unreached):
    """In the networks of all presets, narrower: with their own losses, and with weights of 0."""
    weights = {f"{name}_weight": 0.0 for name in zero}
    small = [tiny_config, replace(tiny_config, head=replace(tiny_config.head, pose="rot6d", bounded=True))]
    for config in [*small, *(replace(paper_like(tiny_config), loss=loss) for loss in (LossConfig(), PUBLISHED_LOSS))]:
        config = replace(config, loss=replace(config.loss, **weights))
        regressor = build_regressor(config, tokenizer).train()
        assert unused_parameters(regressor, open_body, tokenizer).keys() == unreached
        assert regressor.network.backbone.training and all(w.grad is None for w in regressor.parameters())
