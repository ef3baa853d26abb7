"""Quantizers: hand-written golden values, then properties."""

from __future__ import annotations

import math

import pytest
import torch

from tokenizer.network.quantizers import EmaVQ, LayeredFSQ, ResidualVQ, join_digits, split_ids


def test_digits_golden_and_round_trip():
    assert split_ids(torch.tensor([0, 1, 7, 8, 2047]), (8, 8, 8, 4)).tolist() == [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [7, 0, 0, 0],
        [0, 1, 0, 0],
        [7, 7, 7, 3],
    ]
    ids = torch.arange(2048)
    assert torch.equal(join_digits(split_ids(ids, (8, 8, 8, 4)), (8, 8, 8, 4)), ids)


def test_layered_fsq_golden():
    """One scalar, radix 4, two layers: 0.3 lies in cell [0, .5) (digit 2), and there in the third quarter (digit 2)."""
    quantizer = LayeredFSQ((4,), groups=1, layers=2)
    out = quantizer(torch.atanh(torch.tensor([[[0.3]], [[-0.99]], [[0.99]]])))
    assert out.ids.tolist() == [[2, 2], [0, 0], [3, 3]]
    assert quantizer.codebook.flatten().tolist() == [-0.75, -0.25, 0.25, 0.75]
    value = (out.values * quantizer.layer_scale[:, None].flatten(0, 1)).sum(1)
    assert value.flatten().tolist() == pytest.approx([0.3125, -0.9375, 0.9375])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layered_fsq_error_is_at_most_half_a_cell(layers):
    quantizer = LayeredFSQ((8, 4), groups=3, layers=layers)
    latents = torch.randn(50, 3, 2)
    out = quantizer(latents)
    value = (out.values.unflatten(1, (layers, 3)) * quantizer.layer_scale[:, None]).sum(1)
    cell = 2 / torch.tensor([8.0, 4.0]).pow(layers)
    assert ((value - latents.tanh()).abs() <= cell / 2 + 1e-5).all()
    assert torch.allclose(quantizer.codebook[out.ids], out.values, atol=1e-6)


def test_layered_fsq_is_straight_through():
    quantizer = LayeredFSQ((8, 8), groups=2, layers=2)
    latents = torch.randn(5, 2, 2, requires_grad=True)
    values = quantizer(latents).values.unflatten(1, (2, 2))
    (values * quantizer.layer_scale[:, None]).sum().backward()
    assert torch.allclose(latents.grad, 1 - latents.detach().tanh() ** 2, atol=1e-6)


def test_ema_vq_golden_step():
    """Two codes at 0 and 10; latents 1, 2 and 9: one step with decay 0.5 moves each code to its averaged mean."""
    quantizer = EmaVQ(1, 2, 1, decay=0.5, restart_below=0.0)
    quantizer.codebook.copy_(torch.tensor([[0.0], [10.0]]))
    quantizer.code_sum.copy_(quantizer.codebook)
    quantizer.ready.fill_(True)
    out = quantizer(torch.tensor([[[1.0]], [[2.0]], [[9.0]]]))
    assert out.ids.flatten().tolist() == [0, 0, 1]
    assert quantizer.code_count.tolist() == [1.5, 1.0]
    assert quantizer.codebook.flatten().tolist() == pytest.approx([1.5 / 1.5, 9.5 / 1.0])
    assert float(out.commitment) == pytest.approx((1 + 4 + 1) / 3)


def test_ema_vq_initialises_from_the_batch_restarts_dead_codes_and_rests_in_eval():
    quantizer = EmaVQ(4, 16, 3, decay=0.99, restart_below=1.0)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(32, 4, 3, generator=generator)
    quantizer(latents, generator)
    rows = latents.flatten(0, 1)
    assert (torch.cdist(quantizer.codebook, rows).min(1).values < 2.0).all()
    quantizer.code_count.zero_()
    quantizer(latents, generator)
    assert (torch.cdist(quantizer.codebook, rows).min(1).values < 2e-3).sum() == 16
    frozen = {name: value.clone() for name, value in quantizer.eval().state_dict().items()}
    quantizer(latents)
    assert all(torch.equal(value, frozen[name]) for name, value in quantizer.state_dict().items())


def test_ema_vq_statistics_live_in_the_state_dict():
    """The original does not save them: a resumed run re-initialises its codebook."""
    assert {"codebook", "code_sum", "code_count", "ready"} <= set(EmaVQ(1, 4, 2, 0.9, 1.0).state_dict())


def test_codes_of_both_kinds_are_explicit_tables():
    for quantizer in (LayeredFSQ((8, 8, 8, 4), 4, 2), EmaVQ(4, 64, 8, 0.99, 1.0)):
        assert quantizer.codebook.shape == (quantizer.num_codes, quantizer.dim)
        assert math.prod(quantizer.levels) == quantizer.num_codes


def test_residual_vq_golden():
    """Codes −1, 0, 1 and 2 layers of one dimension: what is left of 0.8 after 1 is −0.2, three times that is −0.6."""
    quantizer = ResidualVQ(groups=1, layers=2, num_codes=3, dim=1, decay=0.9, restart_below=0.0).eval()
    quantizer.codebook.copy_(torch.tensor([[-1.0], [0.0], [1.0]]))
    out = quantizer(torch.tensor([[[0.8]], [[0.1]]]))
    assert out.ids.tolist() == [[2, 0], [1, 1]]
    assert quantizer.layer_scale.tolist() == [[1.0], [pytest.approx(1 / 3)]]
    value = (out.values * quantizer.layer_scale).sum(1)
    assert value.flatten().tolist() == pytest.approx([2 / 3, 0.0])
    assert out.commitment.item() == pytest.approx(((0.8 - 2 / 3) ** 2 + 0.1**2) / 2)


def test_residual_vq_learns_codes_for_every_layer():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(512, 2, 3)
    errors = []
    for layers in (1, 2, 3):
        quantizer = ResidualVQ(groups=2, layers=layers, num_codes=64, dim=3, decay=0.8, restart_below=0.1)
        for _ in range(40):
            out = quantizer(latents, generator)
        out = quantizer.eval()(latents)
        value = (out.values.unflatten(1, (layers, 2)) * quantizer.layer_scale[:, None]).sum(1)
        errors.append((value - latents).square().mean().item())
        assert out.commitment.item() == pytest.approx(errors[-1], rel=1e-4)
        assert torch.allclose(quantizer.codebook[out.ids], out.values, atol=1e-5)
        assert out.ids.shape == (512, 2 * layers)
    assert errors[1] < 0.25 * errors[0] and errors[2] < 0.25 * errors[1]


def test_residual_vq_is_straight_through():
    quantizer = ResidualVQ(groups=2, layers=3, num_codes=8, dim=2, decay=0.9, restart_below=0.0)
    latents = torch.randn(20, 2, 2, requires_grad=True)
    values = quantizer(latents, torch.Generator().manual_seed(0)).values.unflatten(1, (3, 2))
    (values * quantizer.layer_scale[:, None]).sum().backward()
    assert torch.allclose(latents.grad, torch.ones_like(latents))
