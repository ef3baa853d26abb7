"""Baselines of tokenizers: k-means and PCA."""

from __future__ import annotations

import math

import pytest
import torch

from pipelines.benchmarks.baselines import KMeans, PcaRounding
from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance
from tokenizer.mocap.prior import sample


@pytest.fixture(scope="module")
def poses():
    return torch.from_numpy(sample(600, 0))


def error(tokenizer, poses):
    rotations = axis_angle_to_matrix(poses)
    return float(geodesic_distance(tokenizer.decode(tokenizer.encode(rotations)), rotations).rad2deg().mean())


def test_k_means_finds_clusters_and_names_them(poses):
    few = poses[:5].repeat(40, 1, 1)
    exact = KMeans(few, 1, 5, seed=3)
    assert exact.bits == pytest.approx(math.log2(5)) and exact.encode(axis_angle_to_matrix(poses[:5])).shape == (5, 1)
    coarse, fine = (KMeans(poses, 1, codes, seed=0) for codes in (2, 64))
    assert error(fine, poses) < error(coarse, poses)
    each = KMeans(poses, 21, 64, seed=0)
    assert each.bits == 21 * 6 and error(each, poses) < 0.5 * error(fine, poses)


def test_pca_keeps_within_its_bits_and_gets_better_with_more(poses):
    errors = []
    for bits in (50, 200, 800):
        rounding = PcaRounding(poses, bits)
        assert 0.9 * bits < rounding.bits <= bits
        ids = rounding.encode(axis_angle_to_matrix(poses))
        assert (ids >= 0).all() and (ids < rounding.cells).all()
        errors.append(error(rounding, poses))
    assert errors[0] > 1.5 * errors[1] > 2.2 * errors[2] and errors[2] < 1.5
