"""Speed, memory and precision of ViT-H on this CPU, compared with a plain implementation of the same network.

The weights are drawn from a seed: what a forward pass costs does not depend on them.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regressor.checkpoints.regressor_file import load_regressor, save_regressor
from regressor.config import preset
from regressor.network.model import Regressor, build_regressor
from regressor.network.prediction import Prediction
from regressor.network.vit import Block, ViT
from tokenizer import load_tokenizer
from tokenizer.artifact import export_tokenizer
from tokenizer.body.rotations import geodesic_distance
from tokenizer.config import preset as tokenizer_preset
from tokenizer.engine.errors import fail
from tokenizer.engine.training.processor import processor_described
from tokenizer.network.convolutions import ConvDecoder
from tokenizer.network.model import build_tokenizer

PLAIN = "plain PyTorch, fp32"
"""The named alternative: the same layers as ``nn.Linear``, ``softmax`` and ``LayerNorm`` compute them."""

_STRAY = 0.3


class PlainViT(nn.Module):
    """The same ViT without any of this project's means: ``F.linear`` alone, attention spelled out, whole batches."""

    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> Tensor:
        """Normalised crops (B,3,S,S) → features (B,width,S/16,3S/64)."""
        x = self.vit.embed(images) + self.vit.positions
        for block in self.vit.blocks:
            assert isinstance(block, Block)
            q, k, v = _linear(block.qkv, block.norm1(x)).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
            attention = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
            x = x + _linear(block.out, (attention @ v).transpose(1, 2).flatten(2))
            x = x + _linear(block.mlp.outer, F.gelu(_linear(block.mlp.inner, block.norm2(x))))
        return self.vit.norm(x).transpose(1, 2).unflatten(2, self.vit.grid)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias)


def bench_vit(
    batches: Sequence[int] = (1, 4),
    *,
    repeats: int = 3,
    threads: int = 1,
    preset_name: str = "vit-h",
    precisions: Sequence[Literal["fp32", "bf16"]] = ("fp32", "bf16"),
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure the forward pass from crop to body, each precision in a process of its own, and return all figures.

    ``rows``: one dict a way of computing and batch size with seconds an image, by the clock and of the processor: the
    smallest of ``repeats`` runs, in turns with the plain implementation's; ``peak_gib``: of a whole process
    that loads and predicts, PyTorch included; ``load_s``; ``rotation_deg``: the largest difference of any predicted
    rotation from fp32 of this project, and ``rotation_median_deg``. ``say`` is called with progress in words.
    """
    tell = say or (lambda text: None)
    with tempfile.TemporaryDirectory() as folder:
        tell(f"Drawing the weights of {preset_name} into {folder}")
        _in_process(_draw, preset_name, folder)
        results = []
        for precision in precisions:
            tell(f"Measuring {precision}, {threads} thread{'s' * (threads > 1)}")
            results.append(_in_process(_measure, folder, precision, list(batches), repeats, threads))
    exact = results[0]["rotations"]
    rows: list[dict[str, Any]] = []
    for result in results:
        for row in result["rows"]:
            turned = geodesic_distance(result["rotations"][row["way"], row["batch"]], exact["fp32", row["batch"]])
            rows.append(
                {
                    **row,
                    "rotation_deg": float(turned.rad2deg().max()),
                    "rotation_median_deg": float(turned.rad2deg().median()),
                }
            )
    memory = {precision: result["peak_gib"] for precision, result in zip(precisions, results)}
    loading = {precision: result["load_s"] for precision, result in zip(precisions, results)}
    return {
        "preset": preset_name,
        "threads": threads,
        "cpu": processor_described(),
        "rows": rows,
        "peak_gib": memory,
        "load_s": loading,
    }


def to_markdown(figures: dict[str, Any]) -> str:
    """The figures as a table, with ratios to the plain implementation at the same batch size."""
    plain = {row["batch"]: row["cpu_s"] for row in figures["rows"] if row["way"] == PLAIN}
    lines = [
        f"{figures['preset']}, {figures['threads']} thread(s), {figures['cpu']}",
        "",
        "| | batch | s an image | processor s an image | times as fast | turn from fp32: median, largest |",
        "|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        times = plain[row["batch"]] / row["cpu_s"]
        turn = f"{row['rotation_median_deg']:.3f}°, {row['rotation_deg']:.3f}°"
        lines.append(
            f"| {row['way']} | {row['batch']} | {row['wall_s']:.2f} | {row['cpu_s']:.2f} | {times:.2f} | {turn} |"
        )
    memory = ", ".join(f"{value:.2f} GiB in {name}" for name, value in figures["peak_gib"].items())
    return "\n".join([*lines, "", f"Peak memory of a process that loads and predicts: {memory}."])


@torch.no_grad()
def _draw(preset_name: str, folder: str) -> None:
    """Weights under which every part matters: of unit gain, with peaked token probabilities, and rotations that stray
    from the mean pose as those of bodies do."""
    torch.manual_seed(0)
    paper = tokenizer_preset("paper")
    vocabulary = build_tokenizer(paper.network, paper.quantizer).eval()
    codes = vocabulary.quantizer.codebook.normal_()
    assert isinstance(vocabulary.decoder, ConvDecoder)
    out = vocabulary.decoder.out
    rotations = vocabulary.decode_rot6d(codes[torch.randint(len(codes), (8, vocabulary.quantizer.num_tokens))])
    for parameter in out.parameters():
        parameter.mul_(_STRAY / rotations.std())
    export_tokenizer(vocabulary, paper, Path(folder, "tokenizer.h5"))
    config, frozen = preset(preset_name), load_tokenizer(Path(folder, "tokenizer.h5"))
    network = build_regressor(config, frozen, empty=True).network
    state = {}
    for name, value in network.state_dict().items():
        if name.startswith("mean_") and name.endswith("6d"):
            state[name] = torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(value.shape).clone()
        elif value.ndim > 1:
            gain = 4 if name == "pose_head.classes.weight" else 1
            state[name] = torch.randn(value.shape).mul_(gain * value[0].numel() ** -0.5)
        else:
            state[name] = torch.full(value.shape, float("norm" in name and name.endswith("weight")))
    network.load_state_dict(state, assign=True)
    raw = network.eval()(torch.randn(1, 3, config.image_size, config.image_size))
    assert network.hands is not None and raw.hands6d is not None
    network.orientation.weight.mul_(_STRAY / (raw.orientation6d - network.mean_orientation6d).std())
    network.hands.weight.mul_(_STRAY / (raw.hands6d - network.mean_hands6d).std())
    save_regressor(Path(folder, "regressor.pt"), network, config, frozen, {})


def _measure(
    folder: str, precision: Literal["fp32", "bf16"], batches: list[int], repeats: int, threads: int
) -> dict[str, Any]:
    torch.set_num_threads(threads)
    began = time.perf_counter()
    regressor = load_regressor(
        Path(folder, "regressor.pt"), tokenizer=Path(folder, "tokenizer.h5"), precision=precision
    )
    result: dict[str, Any] = {"load_s": time.perf_counter() - began, "rows": [], "rotations": {}}
    size = regressor.config.image_size
    images = torch.randn(max(batches), 3, size, size, generator=torch.Generator().manual_seed(1))
    vit: nn.Module = regressor.network.backbone
    assert isinstance(vit, ViT)
    with torch.inference_mode():
        for batch in batches:
            _rotations(regressor(images[:batch]))
        result["peak_gib"] = peak_memory_gib()
        ways = {precision: vit, **({PLAIN: PlainViT(vit)} if precision == "fp32" else {})}
        for batch in batches:
            best: dict[str, tuple[float, float]] = {}
            for _ in range(repeats):
                for way, backbone in ways.items():
                    regressor.network.backbone = backbone  # type: ignore[assignment]
                    seconds, prediction = _timed(regressor, images[:batch])
                    result["rotations"][way, batch] = _rotations(prediction)
                    best[way] = min(best.get(way, seconds), seconds, key=lambda pair: pair[1])
            for way, (wall, cpu) in best.items():
                result["rows"].append({"way": way, "batch": batch, "wall_s": wall / batch, "cpu_s": cpu / batch})
    return result


def _timed(regressor: Regressor, images: Tensor) -> tuple[tuple[float, float], Prediction]:
    wall, cpu = time.perf_counter(), time.process_time()
    prediction = regressor(images)
    return (time.perf_counter() - wall, time.process_time() - cpu), prediction


def _rotations(prediction: Prediction) -> Tensor:
    return torch.cat([prediction.global_orient, prediction.body_pose], 1).clone()


def peak_memory_gib() -> float:
    """Return the peak memory of this process, in GiB; NaN where the system does not report it (Windows)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        try:
            import resource
        except ImportError:
            return float("nan")
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    # Where there is such a file: getrusage would count the parent's memory at the moment of the start as ours.
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match.group(1)) / 2**20 if match else float("nan")


def _in_process(job: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``job`` in a fresh process, whose memory is its own. Raises ``UserError`` when that dies."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(job, *arguments).result()
        except BrokenProcessPool:
            raise fail(
                "The measuring process ended at once", got="perhaps out of memory", next_step="Try a smaller --preset"
            ) from None
