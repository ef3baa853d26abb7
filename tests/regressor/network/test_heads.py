"""Heads: logits factor by factor, distances in code space, where they begin."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from regressor.network.heads import MixerTokenHead, Rot6dHead, TokenHead, code_coordinates


def grid_codebook(levels):
    """Codes of finite scalar quantization: digits, first factor fastest, centred in cells of (-1, 1)."""
    ids = torch.arange(math.prod(levels))
    columns = []
    for level in levels:
        columns.append((ids % level + 0.5) / level * 2 - 1)
        ids = ids // level
    return torch.stack(columns, -1)


def test_digits_of_a_scalar_lie_on_a_line_in_order():
    coordinates = code_coordinates(grid_codebook((4,)).expand(4, 3))
    assert coordinates.shape == (4, 1)
    steps = coordinates[1:, 0] - coordinates[:-1, 0]
    assert torch.allclose(steps, steps[:1].expand(3)) and steps[0] != 0
    assert torch.allclose(coordinates.square().mean(), torch.tensor(1.0))
    assert code_coordinates(torch.randn(30, 5)).shape == (30, 5)
    assert code_coordinates(torch.zeros(3, 2)).isfinite().all()


@pytest.mark.parametrize("form", ["metric", "free"])
def test_sizes_are_sums_of_levels_not_products(form):
    levels = (4, 4, 2)
    head = TokenHead(16, 6, levels, grid_codebook(levels), form)
    assert head.out.out_features == (6 * 6 if form == "metric" else 6 * 10)
    logits = head(torch.randn(3, 16))
    assert [tuple(part.shape) for part in logits] == [(3, 6, 4), (3, 6, 4), (3, 6, 2)]
    assert all(part.dtype == torch.float32 for part in logits)


def test_metric_logits_golden():
    """One scalar of two digits at ±1, a point at +1 with precision 1: squared distances 4 and 0."""
    head = TokenHead(1, 1, (2,), torch.tensor([[-0.5], [0.5]]))
    place = head.get_buffer("coordinates_0")
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.copy_(torch.tensor([float(place[1]), math.log(math.e - 1)]))
    assert torch.allclose(head(torch.zeros(1, 1))[0], torch.tensor([[[-2.0, 0.0]]]), atol=1e-6)


def test_metric_logits_of_a_codebook_without_factors():
    codebook = torch.randn(20, 4)
    head = TokenHead(8, 3, (20,), codebook)
    assert head.out.out_features == 3 * 5
    (logits,) = head(torch.randn(2, 8))
    assert logits.shape == (2, 3, 20)


@pytest.mark.parametrize("form", ["metric", "free"])
def test_the_head_begins_at_the_frequencies_of_its_digits(form):
    levels = (4, 2)
    generator = torch.Generator().manual_seed(0)
    digits = [torch.randint(level, (500, 3), generator=generator) for level in levels]
    digits[0][:, 1] = 2
    head = TokenHead(8, 3, levels, grid_codebook(levels), form)
    head.init_from_statistics(digits)
    with torch.no_grad():
        head.out.weight.zero_()
    probabilities = [logits.detach().softmax(-1)[0] for logits in head(torch.zeros(1, 8))]
    assert int(probabilities[0][1].argmax()) == 2 and float(probabilities[0][1].max()) > 0.95
    if form == "free":
        for probability, digit in zip(probabilities, digits, strict=True):
            frequency = torch.nn.functional.one_hot(digit, probability.shape[-1]).float().mean(0)
            assert torch.allclose(probability, frequency, atol=5e-3)


def test_rot6d_head_begins_at_no_offset():
    head = Rot6dHead(8)
    assert head(torch.zeros(2, 8)).shape == (2, 21, 6) and not head(torch.zeros(2, 8)).any()


class Largest(TorchDispatchMode):
    """Notes the most numbers that any tensor has while it is on."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.most = max(self.most, out.numel())
        return out


@pytest.mark.parametrize("form", ["metric", "free", "mixer"])
def test_beginning_takes_no_memory_by_the_code(form):
    """A column a code and token, as one-hot vectors have it, is 15 GiB for 4,096 people and the paper's tokenizer."""
    levels, count, tokens = (64, 2), 200, 6
    digits = [torch.randint(level, (count, tokens), generator=torch.Generator().manual_seed(0)) for level in levels]
    head = (
        MixerTokenHead(8, tokens, levels)
        if form == "mixer"
        else TokenHead(8, tokens, levels, torch.cat([torch.arange(64.0), torch.arange(64.0) + 100])[:, None], form)
    )
    with Largest() as seen:
        head.init_from_statistics(digits)
    assert seen.most <= max(count * tokens, sum(levels) * tokens)
    one_hot = [torch.nn.functional.one_hot(digit, level).float() for digit, level in zip(digits, levels)]
    if form == "mixer":
        expected = (torch.cat([part.mean((0, 1)) for part in one_hot]) + 1e-4).log()
        assert torch.allclose(head.classes.bias, expected, atol=1e-5)
        return
    if form == "free":
        parts = [(part.mean(0) + 1e-3).log() for part in one_hot]
    else:
        parts = []
        for number, part in enumerate(one_hot):
            places = part @ head.get_buffer(f"coordinates_{number}")
            precision = 1 / places.var(0, correction=0).mean(-1, keepdim=True).clamp_min(1e-2)
            parts += [places.mean(0), precision + torch.log(-torch.expm1(-precision))]
    assert torch.allclose(head.out.bias, torch.cat(parts, -1).flatten(), atol=1e-5)


def test_mixer_head_begins_at_frequencies():
    head = MixerTokenHead(24, 6, (3,))
    torch.nn.init.zeros_(head.classes.weight)
    head.init_from_statistics([torch.tensor([[0, 0, 0, 1, 1, 2]])])
    probabilities = head(torch.randn(2, 24))[0].softmax(-1)
    assert probabilities.shape == (2, 6, 3)
    assert torch.allclose(probabilities[0, 0], torch.tensor([3, 2, 1]) / 6, atol=1e-3)
