"""How much of what a device can multiply a training step uses: model FLOPs a second over its measured matrix rate.

FLOPs are those of the network's own products and convolutions, forward and backward, as PyTorch's counter finds them
in its graph: what is computed again to save memory, the body model, the loss and the optimizer count in time alone.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from regressor.config import RegressorConfig, preset
from regressor.datasets.made_up import made_up_sample
from regressor.network.model import build_regressor
from regressor.sample import to_device
from regressor.training.gradients import forward_backward
from regressor.training.optimizer import frozen_parts, make_optimizer
from tokenizer import FrozenTokenizer, load_body, load_tokenizer
from tokenizer.artifact import export_tokenizer
from tokenizer.config import preset as tokenizer_preset
from tokenizer.engine.config import resolve
from tokenizer.engine.training.averaging import WeightAverage
from tokenizer.engine.training.gpu import GpuUse, described
from tokenizer.engine.training.precision import HALF, Precision, resolve_device, resolve_precision
from tokenizer.engine.training.scaling import LossScale
from tokenizer.network.model import build_tokenizer

_SIDE = {"cuda": 8192}
_CPU_SIDE = 1024


def bench_step(
    preset_name: str = "vit-h",
    batch: int = 48,
    *,
    steps: int = 10,
    warmup: int = 3,
    device: str = "auto",
    precision: Precision = "auto",
    assignments: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure training steps of a preset on made-up samples that are already on the device, with the open body.

    A step: forward, loss, backward, clipping, AdamW, average. Returns ``step_s``, the median of ``steps`` after
    ``warmup`` others; ``step_flops`` of the network; ``matrix_flops_per_s``, that of one large product in the same
    precision; ``share``, of the latter; with the settings, and on a GPU its memory and use. ``assignments``: further
    settings, KEY=VALUE. ``say`` is called with progress in words.
    """
    tell = say or (lambda text: None)
    target = resolve_device(device)
    config = resolve(preset(preset_name), assignments=assignments)
    config = replace(config, optim=replace(config.optim, batch=batch), precision=resolve_precision(precision, target))
    assert config.precision != "auto"
    frozen = _vocabulary().to(target)
    tell(f"Counting the FLOPs of {preset_name}")
    flops = step_flops(config, frozen)
    tell(f"Measuring the matrix rate in {config.precision}")
    rate = matrix_flops_per_s(target, HALF.get(config.precision, torch.float32))

    tell(f"Building {preset_name} on {target}")
    body = load_body("open").to(target)
    regressor = build_regressor(config, frozen, config.precision).to(target).train()
    network = regressor.network
    for part in frozen_parts(network, config.backbone.trainable):
        part.eval()
    optimizer, _ = make_optimizer(network, config.optim)
    average, scale = WeightAverage(network, config.optim.average), LossScale(target, config.precision)
    gpu = GpuUse(target)
    sample = to_device(made_up_sample(batch, config.image_size), target)
    seconds = []
    for step in range(warmup + steps):
        began = time.perf_counter()
        forward_backward(regressor, sample, body, frozen, config, step, scale)
        scale.unscale(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.optim.clip or math.inf)
        scale.step(optimizer, float(norm))
        average.update(network, step)
        _wait(target)
        seconds.append(time.perf_counter() - began)
        tell(f"Step {step + 1}/{warmup + steps}: {seconds[-1]:.3f} s")
    step_s = statistics.median(seconds[warmup:])
    return {
        "preset": preset_name,
        "batch": batch,
        "settings": list(assignments),
        "precision": config.precision,
        "device": torch.cuda.get_device_name(target) if target.type == "cuda" else str(target),
        "step_s": step_s,
        "step_flops": flops,
        "matrix_flops_per_s": rate,
        "share": flops / step_s / rate,
        **gpu.figures(),
    }


def step_flops(config: RegressorConfig, frozen: FrozenTokenizer) -> int:
    """FLOPs of the network, forward and backward, for a batch of ``config.optim.batch``; two a multiplication.

    Counted on one sample without content, hence the same on every device and at once.
    """
    plain = replace(config, backbone=replace(config.backbone, gradient_checkpointing=False))
    network = build_regressor(plain, frozen, empty=True).network.to("meta")
    frozen_parts(network, config.backbone.trainable)
    images = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    with FlopCounterMode(display=False) as counter:
        raw = network(images, torch.empty(1, 3, device="meta"))
        pose = raw.pose if isinstance(raw.pose, list) else [raw.pose]
        outputs = [raw.orientation6d, raw.betas, raw.camera, *pose, raw.soft_argmax_keypoints, raw.hands6d]
        torch.stack([output.sum() for output in outputs if output is not None]).sum().backward()
    return config.optim.batch * counter.get_total_flops()


def matrix_flops_per_s(device: torch.device, dtype: torch.dtype, side: int | None = None, repeats: int = 10) -> float:
    """The best rate of ``repeats`` products of two square matrices with ``side`` rows, after one that does not count.

    Without ``side``, 8,192 rows on a GPU and 1,024 elsewhere.
    """
    side = side or _SIDE.get(device.type, _CPU_SIDE)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times[1:])


def to_text(figures: dict[str, Any]) -> str:
    """The figures in words, with the arithmetic of the share."""
    flops, step_s, rate = figures["step_flops"], figures["step_s"], figures["matrix_flops_per_s"]
    with_settings = "".join(f", {setting}" for setting in figures["settings"])
    lines = [
        f"{figures['preset']}, batch {figures['batch']}, {figures['precision']}{with_settings}, on {figures['device']}",
        f"A step takes {1000 * step_s:.1f} ms: {figures['batch'] / step_s:.1f} images/s",
        f"{flops / 1e12:.4g} TFLOP a step / {step_s:.4g} s = {flops / step_s / 1e12:.4g} TFLOP/s",
        f"of {rate / 1e12:.4g} TFLOP/s, a large matrix product: {figures['share']:.1%}",
    ]
    return "\n".join([*lines, *filter(None, [described(figures)])])


def _vocabulary() -> FrozenTokenizer:
    """An untrained one of the paper's sizes."""
    torch.manual_seed(0)
    paper = tokenizer_preset("paper")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tokenizer.h5")
        export_tokenizer(build_tokenizer(paper.network, paper.quantizer).eval(), paper, file)
        return load_tokenizer(file)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
