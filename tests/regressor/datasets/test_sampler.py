"""The order of training samples: every sample once an epoch, shares kept, any position found again."""

from __future__ import annotations

import numpy as np
import pytest

from regressor.datasets.sampler import ShuffledSampler, WeightedSampler


@pytest.mark.parametrize(("counts", "shuffle_buffer"), [([7], 1), ([3, 5, 2, 4, 6], 2), ([1] * 9, 4), ([4, 4], 16)])
def test_each_epoch_has_every_sample_once_in_an_order_of_its_own(counts, shuffle_buffer):
    total = sum(counts)
    rows = ShuffledSampler(counts, [0, 1], shuffle_buffer).rows(np.arange(3 * total)).reshape(3, total)
    assert (np.sort(rows, 1) == np.arange(total)).all()
    assert total < 9 or len({tuple(row) for row in rows}) == 3
    assert not np.array_equal(rows[0], ShuffledSampler(counts, [1, 1], shuffle_buffer).rows(np.arange(total)))


def test_any_position_is_found_again():
    order = ShuffledSampler([30, 10, 20, 5], [3], 2)
    whole = order.rows(np.arange(400))
    places = np.random.default_rng(0).permutation(400)
    assert np.array_equal(ShuffledSampler([30, 10, 20, 5], [3], 2).rows(places), whole[places])


def test_few_shards_are_needed_at_a_time():
    """Within a shuffle buffer's worth of samples no more than its shards occur, and they are mixed."""
    rows = ShuffledSampler([10] * 12, [0], 3).rows(np.arange(120)) // 10
    groups = rows.reshape(4, 30)
    assert all(len(set(group)) == 3 for group in groups.tolist())
    assert all(np.count_nonzero(np.diff(group)) > 10 for group in groups)


def test_data_sets_have_their_weights_and_are_counted():
    sampler = WeightedSampler([0.5, 0.3, 0.2, 1e-9], [0])
    chosen, before = sampler.datasets(np.arange(30_000))
    share = np.bincount(chosen) / 30_000
    assert share == pytest.approx([0.5, 0.3, 0.2, 1e-4], abs=2e-4), "the rarest comes, too"
    assert np.abs(np.cumsum(chosen == 0) - np.arange(1, 30_001) / 2).max() < 200, "not one after the other"
    for number in range(4):
        assert np.array_equal(before[chosen == number], np.arange((chosen == number).sum()))
    again = sampler.datasets(np.array([29_999, 3]))
    assert again[0].tolist() == [chosen[29_999], chosen[3]] and again[1].tolist() == [before[29_999], before[3]]
