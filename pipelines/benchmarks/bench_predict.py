"""What a photograph costs ``pose-regressor predict``: processor time of the network, the mesh and the picture.

1. A regressor of the preset ``small`` with weights drawn at random, a body upright in the middle of each picture.
2. The same images with everything, without pictures, without meshes and pictures; one by one and together.
3. The picture drawn by the exact renderer, as it was before, in the same run: so that the ratio holds on any machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from regressor.config import preset
from regressor.export.mesh import write_image, write_obj
from regressor.export.overlay import overlay, side_view
from regressor.network.model import Regressor, build_regressor
from regressor.people.jobs import Job, Jobs
from regressor.people.photos import Outputs, PredictOptions, predict_files
from tokenizer import Body, FrozenTokenizer, load_body, load_tokenizer
from tokenizer.artifact import export_tokenizer
from tokenizer.body.camera import intrinsics
from tokenizer.body.figures import paint
from tokenizer.config import preset as tokenizer_preset
from tokenizer.network.model import build_tokenizer

_WIDTH, _HEIGHT = 768, 1024
_SIDE = 512
_FOCAL_PX, _DISTANCE_M = 1300.0, 2.6


def bench_predict(count: int) -> dict[str, float]:
    """Seconds of processor time a photograph, by what is done, over ``count`` of them."""
    body = load_body()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        regressor = _regressor(folder)
        jobs = _photographs(folder, count)
        ways = {
            "everything": (Outputs(), True),
            "--no-overlay": (Outputs(overlay=False), True),
            "--no-overlay --no-mesh": (Outputs(mesh=False, overlay=False), True),
            "--no-overlay --no-mesh, one by one": (Outputs(mesh=False, overlay=False), False),
        }
        for way, (outputs, together) in ways.items():
            groups: list[tuple[Job, ...]] = [jobs] if together else [(job,) for job in jobs]

            def run(groups: list[tuple[Job, ...]] = groups, outputs: Outputs = outputs) -> None:
                for group in groups:
                    predict_files(regressor, body, Jobs(group), folder / "out", PredictOptions(outputs, overwrite=True))

            seconds[way] = _seconds(run) / count
        seconds |= _drawing(body, folder)
    return seconds


def to_text(seconds: dict[str, float]) -> str:
    """The figures as a table, and the ratios that do not depend on the machine."""
    lines = [f"{name:<40} {1000 * value:8.1f} ms" for name, value in seconds.items()]
    exact, quick = seconds["a picture, exact renderer (before)"], seconds["a picture"]
    before = seconds["everything"] - quick + exact
    speedup = before / seconds["everything"]
    lines.append(f"The picture: {exact / quick:.1f} times faster than before; a photograph: {speedup:.1f} times")
    return "\n".join(lines)


def _seconds(work: Callable[[], object]) -> float:
    """Processor time of ``work``, done once before."""
    work()
    start = time.process_time()
    work()
    return time.process_time() - start


def _regressor(folder: Path) -> Regressor:
    torch.manual_seed(0)
    config = tokenizer_preset("compact")
    model = build_tokenizer(config.network, config.quantizer)
    model.fit_scale(torch.eye(3).expand(8, 21, 3, 3) + 0.1 * torch.randn(8, 21, 3, 3))
    export_tokenizer(model.eval(), config, folder / "tokenizer.h5")
    tokenizer: FrozenTokenizer = load_tokenizer(folder / "tokenizer.h5")
    return build_regressor(preset("small"), tokenizer)


def _photographs(folder: Path, count: int) -> tuple[Job, ...]:
    jobs = []
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (_HEIGHT // 32, _WIDTH // 32, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        write_image(path, cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC))
        jobs.append(Job(path, path.stem, ((0.0, 0.0, float(_WIDTH), float(_HEIGHT)),)))
    return tuple(jobs)


def _drawing(body: Body, folder: Path) -> dict[str, float]:
    """One person in the picture and from the side, by both renderers; and its OBJ."""
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    vertices = body.vertices(torch.eye(3).expand(1, 23, 3, 3), root=upright[None])
    about = vertices - (vertices.amin(1, keepdim=True) + vertices.amax(1, keepdim=True)) / 2
    placed = about + torch.tensor([0.0, 0.0, _DISTANCE_M])
    K = intrinsics(torch.tensor(_FOCAL_PX), _WIDTH, _HEIGHT)
    image = np.full((_HEIGHT, _WIDTH, 3), 128, np.uint8)

    def exact(points: Tensor, size: tuple[int, int]) -> None:
        paint(points, body.faces, intrinsics(torch.tensor(_FOCAL_PX), size[1], size[0])[None], size)

    def both() -> None:
        exact(placed, (_HEIGHT, _WIDTH))
        exact(placed, (_HEIGHT, _HEIGHT))

    def quick() -> None:
        overlay(image, placed, body.faces, K)
        side_view(about, body.faces, _SIDE)

    faces, points = body.faces.numpy(), placed[0].numpy()
    ways: dict[str, Callable[[], object]] = {
        "a picture, exact renderer (before)": both,
        "a picture": quick,
        "an OBJ": lambda: write_obj(folder / "a.obj", points, faces),
    }
    return {name: _seconds(work) for name, work in ways.items()}
