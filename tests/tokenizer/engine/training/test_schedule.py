"""Learning-rate schedules, by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tokenizer.engine.training.schedule import linear_ramp, warmup_cosine, warmup_share


def test_schedule_golden():
    at = [warmup_cosine(step / 10, 0.1, warmup=0.2) for step in range(10)]
    assert at[:2] == pytest.approx([1 / 3, 2 / 3])
    assert at[2] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5 / 8)))
    assert all(a > b for a, b in pairwise(at[2:])) and at[-1] > 0
    assert warmup_share(100, 4000) == 0.025 and warmup_share(100, 200) == 0.25
    assert [warmup_share(warmup, 4000, 60.0) for warmup in (0, 100, 400, 2000)] == [0, 0.05, 0.1, 0.25]


def test_growth_by_hand():
    assert [linear_ramp(progress, 0.5) for progress in (0, 0.25, 0.5, 1)] == [0, 0.5, 1, 1]
    assert [linear_ramp(progress, 1) for progress in (0, 0.25, 1)] == [0, 0.25, 1] and linear_ramp(0, 0) == 1
