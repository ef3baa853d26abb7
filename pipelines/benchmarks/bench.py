"""The figures a reader may want to check, each measured here and now and printed with the commands that give it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tokenizer.engine.files.atomic import write_text_atomically

from ..demo import PROGRAMS, run_command, surroundings
from ..stages import PRESETS
from .figures import Figure, Goal

_IMAGES = 1280
_HELP_RUNS = 5
Say = Callable[[str], None]
Command = tuple[str, ...]


def run_bench(runs: Path, mocap: str, say: Say) -> list[Figure]:
    """Measure and write ``runs/bench.json``; what is made on the way stays in ``runs/bench``.

    ``mocap``: an AMASS-layout folder with ``train`` and ``val``; without it what needs real motion is left out. Figures
    of the regressor are those of the chain in ``runs``, where it was made.
    """
    folder = runs / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    figures = _help_times()
    figures += _rendering(folder, say)
    figures += _tokenizers(folder, mocap, say) if mocap else []
    figures += _regressor(runs)
    about = {"figures": [figure.to_dict() for figure in figures], **surroundings()}
    write_text_atomically(runs / "bench.json", json.dumps(about, indent=2) + "\n")
    return figures


def _help_times() -> list[Figure]:
    figures = []
    for program, module in PROGRAMS.items():
        command = [sys.executable, "-c", f"from {module} import main; main()", "--help"]
        seconds = []
        for _ in range(_HELP_RUNS):
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).resolve().parents[2])
            seconds.append(time.monotonic() - began)
        seconds.sort()
        figures.append(
            Figure(
                f"{program} --help, median of {_HELP_RUNS}",
                seconds[_HELP_RUNS // 2],
                "{:.2f} s",
                Goal("below", 0.5),
                (f"{program} --help",),
            )
        )
    return figures


def _rendering(folder: Path, say: Say) -> list[Figure]:
    poses = folder / "few.h5"
    _run(say, ("pose-tokenizer", "sample", "--count", "2000", "--out", str(poses)))
    figures = []
    for domain in ("suit", "varied"):
        command = (
            "pose-regressor",
            "synthesize",
            str(poses),
            "--domain",
            domain,
            "--train",
            str(_IMAGES),
            "--val",
            "0",
            "--test",
            "0",
            "--out",
            str(folder / f"{domain}.h5"),
        )
        seconds = _run(say, command)
        name = f"{_IMAGES} images of domain {domain}, 128 px, from start to end"
        goal = Goal("at least", 40) if domain == "suit" else None
        figures.append(Figure(name, _IMAGES / seconds, "{:.0f} /s", goal, (shlex.join(command),)))
    return figures


def _tokenizers(folder: Path, mocap: str, say: Say) -> list[Figure]:
    """The same training on real motion and on the embedded source, both judged on the real validation clips."""
    preset = PRESETS["demo"]
    real = folder / "real.h5"
    sources: dict[str, Command] = {
        "real motion": ("pose-tokenizer", "prepare", mocap, "--out", str(real)),
        "embedded source": (
            "pose-tokenizer",
            "sample",
            "--count",
            str(preset.poses),
            "--out",
            str(folder / "embedded.h5"),
        ),
    }
    figures, errors = [], []
    for name, source in sources.items():
        stem = Path(source[-1]).stem
        trained, judged = folder / f"{stem}_tokenizer.h5", folder / f"{stem}.json"
        commands = (
            source,
            (
                "pose-tokenizer",
                "train",
                source[-1],
                "--run",
                str(folder / f"{stem}_{time.strftime('%Y%m%d_%H%M%S')}"),
                "--preset",
                preset.tokenizer,
                "--minutes",
                f"{preset.tokenizer_minutes:g}",
                "--out",
                str(trained),
            ),
            ("pose-tokenizer", "evaluate", str(trained), str(real), "--json", str(judged)),
        )
        for command in commands:
            _run(say, command)
        lines = tuple(shlex.join(command) for command in commands)
        scores = json.loads(judged.read_text(encoding="utf-8"))
        errors.append(scores["mpjpe_mm"])
        where = f"tokenizer, {preset.tokenizer_minutes:g} min on the {name}, judged on real val clips"
        figures += [
            Figure(
                f"{where}: MPJPE",
                scores["mpjpe_mm"],
                "{:.2f} mm",
                Goal("at most", 10 if name == "real motion" else 25),
                lines,
            ),
            Figure(f"{where}: p95", scores["mpjpe_p95_mm"], "{:.2f} mm"),
            Figure(f"{where}: codes used", 100 * scores["codes_used_share"], "{:.0f} %", Goal("at least", 80)),
            Figure(f"{where}: ids kept under 3° of noise", 100 * scores["ids_kept_at_3_deg"], "{:.0f} %"),
        ]
    figures.append(
        Figure(
            "error of the one on the embedded source by that of the one on real motion",
            errors[1] / errors[0],
            "{:.2f}",
            Goal("at most", 1.6),
        )
    )
    return figures


def _regressor(runs: Path) -> list[Figure]:
    file = runs / "evaluation.json"
    if not file.exists():
        return []
    evaluation = json.loads(file.read_text(encoding="utf-8"))
    row, ratios = next(iter(evaluation["ratios"].items()))
    errors = evaluation["errors_mm"][row]
    label = f"regressor of the chain in {runs}, by the {evaluation['ratio_to']}"
    goals = {"mpjpe_mm": Goal("at most", 0.82), "pa_mpjpe_mm": Goal("at most", 0.72), "pve_mm": None}
    return [
        Figure(
            f"{label}: {name.removesuffix('_mm').replace('_', '-').upper()} ({errors[name]:.1f} mm)",
            ratios[name],
            "{:.3f}",
            goal,
            (f"make evaluate RUNS={runs}",) if name == "mpjpe_mm" else (),
        )
        for name, goal in goals.items()
    ]


def _run(say: Say, command: Command) -> float:
    say(f"$ {shlex.join(command)}")
    began = time.monotonic()
    run_command(command)
    return time.monotonic() - began
