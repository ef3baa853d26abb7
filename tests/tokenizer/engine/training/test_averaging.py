"""The average of weights."""

from __future__ import annotations

import torch

from tokenizer.engine.training.averaging import WeightAverage


def test_weight_average_follows():
    module = torch.nn.Linear(1, 1)
    average = WeightAverage(module, 0.9)
    with torch.no_grad():
        before = average.module.weight.clone()
        module.weight.add_(1.0)
    average.update(module, 10_000)
    assert torch.allclose(average.module.weight, before + 0.1, atol=1e-6)
    assert not average.module.weight.requires_grad
