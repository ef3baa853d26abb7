"""Loss scaling, and the precisions it belongs to."""

from __future__ import annotations

import math

import pytest
import torch

from tokenizer.engine.cli_options import note_on_precision
from tokenizer.engine.errors import UserError
from tokenizer.engine.training import precision, scaling
from tokenizer.engine.training.precision import resolve_precision
from tokenizer.engine.training.processor import instruction_set, processor_described, processor_name
from tokenizer.engine.training.scaling import LossScale

CPU = torch.device("cpu")


def stepped(scale, weight, optimizer, factor):
    """One step down the gradient ``factor``; whether it was done."""
    weight.grad = None
    scale.scale((factor * weight).sum()).backward()
    scale.unscale(optimizer)
    norm = float(torch.nn.utils.clip_grad_norm_([weight], math.inf))
    assert not scale.should_abort(norm)
    return scale.step(optimizer, norm)


@pytest.fixture
def weight():
    return torch.nn.Parameter(torch.tensor([1.0]))


def test_steps_are_those_without_a_scale(weight):
    plain = torch.nn.Parameter(weight.detach().clone())
    for parameter, kind in ((weight, "fp16"), (plain, "fp32")):
        optimizer, scale = torch.optim.SGD([parameter], lr=0.1), LossScale(CPU, kind)
        assert stepped(scale, parameter, optimizer, 3.0) and stepped(scale, parameter, optimizer, 1e-7)
    assert torch.equal(weight, plain) and weight.item() == pytest.approx(0.7)


def test_an_overflow_costs_the_step_and_halves_the_scale(weight):
    optimizer, scale = torch.optim.SGD([weight], lr=0.1), LossScale(CPU, "fp16", first=4.0)
    assert not stepped(scale, weight, optimizer, 2e38)
    assert weight.item() == 1 and scale.figures() == {"loss_scale": 2.0, "skipped_steps": 1}
    other = LossScale(CPU, "fp16")
    other.load_state_dict(scale.state_dict())
    assert stepped(other, weight, optimizer, 1.0) and weight.item() == pytest.approx(0.9)
    assert other.figures() == {"loss_scale": 2.0, "skipped_steps": 1}


def test_only_many_overflows_in_a_row_are_too_many(weight, monkeypatch):
    monkeypatch.setattr(scaling, "_IN_A_ROW", 3)
    optimizer, scale = torch.optim.SGD([weight], lr=0.1), LossScale(CPU, "fp16")
    for factor in (math.inf, math.inf, 1.0, math.inf, math.nan, math.inf):
        stepped(scale, weight, optimizer, factor)
    assert scale.skipped == 5 and scale.should_abort(math.inf) and not scale.should_abort(1.0)


def test_other_precisions_skip_nothing_and_bear_nothing(weight):
    scale = LossScale(CPU, "bf16")
    assert scale.scale(weight).item() == 1 and scale.figures() == {} and scale.should_abort(math.inf)


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_a_cpu_computes_in_half_and_a_device_that_cannot_is_refused(kind):
    assert resolve_precision(kind, CPU) == kind
    with precision.autocast(CPU, kind):
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype == precision.HALF[kind]
    with pytest.raises(UserError, match=f"meta does not compute in {kind}.*fp32"):
        resolve_precision(kind, torch.device("meta"))


def test_without_autocast_the_context_does_not_count():
    with precision.autocast(CPU, "bf16"), precision.without_autocast(CPU):
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype == torch.float32
    with precision.without_autocast(torch.device("meta")):
        pass


def test_auto_takes_no_emulated_bf16(monkeypatch):
    """A card before Ampere says that it supports bf16, and emulates it; asked without emulation it says no."""
    for native in (False, True):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, native=native: including_emulation or native,
        )
        assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if native else "fp32")


def test_tensor_cores_are_for_networks_on_cuda_alone():
    before = torch.get_float32_matmul_precision()
    with precision.allow_tf32(CPU):
        assert torch.get_float32_matmul_precision() == before
    with pytest.raises(ZeroDivisionError), precision.allow_tf32(torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high"
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == before


def test_emulated_half_precision_is_said(monkeypatch, capsys):
    """Which it is, is measured: with the instructions bf16 is faster, without them several times slower."""
    seconds = {torch.float32: 1.0, torch.bfloat16: 6.6, torch.float16: 0.5}
    monkeypatch.setattr(precision, "_product_seconds", seconds.__getitem__)
    monkeypatch.setattr(precision, "processor_described", lambda: "Zen 3, AVX2")
    said = precision.slow_precision("bf16", CPU)
    assert said is not None and "bf16 takes 6.6 times as long as fp32 on this CPU (Zen 3, AVX2)" in said
    for choice, device in (("fp16", CPU), ("fp32", CPU), ("auto", CPU), ("bf16", torch.device("cuda"))):
        assert precision.slow_precision(choice, device) is None
    note_on_precision("bf16", "cpu")
    assert capsys.readouterr().err == f"Note: {said}\n"


def test_the_processor_has_a_name_and_instructions():
    assert instruction_set() == torch.backends.cpu.get_cpu_capability()
    assert processor_described() == f"{processor_name()}, {instruction_set()}" and processor_name()
