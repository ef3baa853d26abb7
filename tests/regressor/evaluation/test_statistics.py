"""Intervals that hold what they promise, tests that find what is there and not what is not."""

from __future__ import annotations

import numpy as np
import pytest

from regressor.evaluation.statistics import bootstrap_interval, paired_test


def test_the_interval_is_that_of_the_mean():
    draw = np.random.default_rng(0)
    values = draw.normal(5.0, 2.0, (400, 1))
    low, high = bootstrap_interval(values)[0]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert np.array_equal(bootstrap_interval(values), bootstrap_interval(values)), "the same seed, the same interval"
    both = bootstrap_interval(np.concatenate([values, 2 * values], 1))
    assert np.allclose(both[1], 2 * both[0])


def test_95_percent_intervals_cover_the_truth_about_as_often():
    draw = np.random.default_rng(1)
    covered = [
        low < 0 < high
        for low, high in (bootstrap_interval(draw.normal(size=(60, 1)), resamples=400, seed=i)[0] for i in range(150))
    ]
    assert 0.88 < np.mean(covered) < 0.99


def test_frames_of_one_sequence_are_no_independent_samples():
    draw = np.random.default_rng(2)
    groups = np.repeat(np.arange(10), 100)
    values = (draw.normal(size=10)[groups] + 0.01 * draw.normal(size=1000))[:, None]
    alone, together = bootstrap_interval(values)[0], bootstrap_interval(values, groups)[0]
    assert np.ptp(together) > 5 * np.ptp(alone)
    assert np.allclose(bootstrap_interval(values, groups), bootstrap_interval(values, 7 - 3 * groups), atol=0.1)


def test_constant_values_have_no_width():
    assert bootstrap_interval(np.full((7, 1), 3.0)).tolist() == [[3.0, 3.0]]


def test_the_paired_test_golden():
    """Three samples, all worse by one: of eight sign patterns two are as extreme, p = 1/4."""
    a = np.array([1.0, 2.0, 3.0])
    result = paired_test(a, a + 1)
    assert (result.difference, result.low, result.high) == (1.0, 1.0, 1.0)
    assert result.p_value == pytest.approx(0.25, abs=0.02)
    same = paired_test(a, a)
    assert same.p_value == 1.0 and same.difference == 0.0


def test_the_paired_test_finds_a_small_difference_and_none_by_chance():
    draw = np.random.default_rng(3)
    hard = draw.gamma(2.0, 30.0, 300)
    a, b = hard + draw.normal(0, 2, 300), hard + 0.6 + draw.normal(0, 2, 300)
    test = paired_test(a, b)
    assert test.p_value < 0.01 and test.low > 0
    assert paired_test(b, a).p_value == pytest.approx(test.p_value, abs=0.005)
    by_chance = [paired_test(hard, hard + draw.normal(0, 2, 300), resamples=500, seed=i).p_value for i in range(60)]
    assert np.mean(np.array(by_chance) < 0.05) < 0.15
    whole = paired_test(a, b, np.zeros(300, int))
    assert whole.p_value == 1.0, "one group alone proves nothing"
