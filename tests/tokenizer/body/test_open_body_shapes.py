"""Random adults whose weights of phenotypes are what the assets expect."""

from __future__ import annotations

import numpy as np

from tokenizer.body.open_body_shapes import sample_phenotypes


def test_weights_of_a_phenotype_sum_to_one_and_lie_between_zero_and_one():
    weights = sample_phenotypes(200, 0)
    assert all(values.shape == (200,) and values.min() >= 0 and values.max() <= 1 for values in weights.values())
    for words in (
        ("minmuscle", "averagemuscle", "maxmuscle"),
        ("minheight", "maxheight"),
        ("female", "male"),
        ("african", "asian", "caucasian"),
        ("young", "old"),
    ):
        assert np.allclose(sum(weights[word] for word in words), 1), words


def test_every_second_adult_is_a_man_and_a_seed_gives_the_same_adults():
    weights = sample_phenotypes(10, 3)
    assert (weights["male"] > 0.9).tolist() == [False, True] * 5
    again, other = sample_phenotypes(10, 3), sample_phenotypes(10, 4)
    assert all(np.array_equal(weights[word], again[word]) for word in weights)
    assert not np.array_equal(weights["old"], other["old"])
