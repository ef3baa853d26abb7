"""Reconstruction error, code usage and token stability of a tokenizer whose answers are known."""

from __future__ import annotations

import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.evaluation.reconstruction import evaluate_tokenizer, token_stability


class Lossless:
    """Remembers the poses; token ids count them modulo 4."""

    num_codes = 8

    def encode(self, rotations):
        self.rotations = rotations
        return (torch.arange(len(rotations)) % 4)[:, None].repeat(1, 2)

    def decode(self, ids):
        return self.rotations


POSES = 0.3 * torch.randn(8, 21, 3, generator=torch.Generator().manual_seed(0))


def test_a_lossless_tokenizer_has_no_error_and_its_true_code_usage(open_body):
    measured = evaluate_tokenizer(Lossless(), POSES, open_body)
    assert measured["poses"] == 8
    assert measured["mpjpe_mm"] == pytest.approx(0, abs=1e-3) == measured["mpvpe_mm"]
    assert measured["codes_used"] == 4 and measured["codes_used_share"] == 0.5
    assert measured["perplexity"] == pytest.approx(4)


def test_an_empty_split_gives_an_empty_dictionary(open_body):
    assert evaluate_tokenizer(Lossless(), POSES[:0], open_body) == {}


class FirstJoint(Lossless):
    """One token that never changes, one that changes with the slightest rotation of the first joint."""

    still = axis_angle_to_matrix(POSES)[:, 0, 0, 0]

    def encode(self, rotations):
        moved = (rotations[:, 0, 0, 0] != self.still[: len(rotations)]).long()
        return torch.stack([torch.zeros_like(moved), moved], 1)


def test_token_stability_is_the_share_of_tokens_that_stay():
    assert token_stability(FirstJoint(), POSES, 3.0).tolist() == [1.0, 0.0]
