"""How fast mocap becomes a pose store, with what memory, and how fast training gets its batches from there."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.files.npz import read_npz

from ..demo import PROGRAMS
from .figures import Figure, Goal

_WORKERS = 2
_POLL_S = 0.02
_DRAWN = 1_000_000
_REPEATS = 5


def prepare_figures(mocap: Path, folder: Path, say: Callable[[str], None], copies: int = 20) -> list[Figure]:
    """Prepare ``copies`` copies of the clips in ``mocap``, each different in one number, and read the store again.

    Copies and store are made in ``folder``; copies that are there already serve. Raises ``UserError`` without clips.
    """
    source = _copies(mocap, folder / f"copies_{copies}", copies, say)
    store = folder / "copies.h5"
    command = ("pose-tokenizer", "prepare", str(source), "--out", str(store), "--workers", str(_WORKERS))
    say(f"$ {shlex.join(command)}")
    seconds, peak = _timed(command)
    return _figures(store, seconds, peak, shlex.join(command))


def _copies(mocap: Path, folder: Path, copies: int, say: Callable[[str], None]) -> Path:
    clips = sorted(mocap.rglob("*.npz"))
    if not clips:
        raise fail(f"No clips in {mocap}", expected="AMASS-layout npz")
    say(f"Making {copies} copies of {len(clips)} clips in {folder}")
    for clip in clips:
        arrays = read_npz(clip, "clip")
        for number in range(copies):
            path = folder / f"{number:03d}" / mocap.resolve().name / clip.relative_to(mocap)
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays["poses"][0, 3] += 1e-4  # else they would be known for duplicates, and left out
            np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return folder


def _timed(command: tuple[str, ...]) -> tuple[float, float | None]:
    """Seconds from start to end, and the largest sum of resident memory of all its processes in MB (Linux alone)."""
    program = [sys.executable, "-c", f"from {PROGRAMS[command[0]]} import main; main()", *command[1:]]
    began, peak = time.monotonic(), 0
    with subprocess.Popen(program, cwd=Path(__file__).resolve().parents[2]) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(_resident, _family(process.pid))))
            time.sleep(_POLL_S)
    if process.returncode:
        raise fail(f"{shlex.join(command)} failed", got=f"exit code {process.returncode}")
    return time.monotonic() - began, peak / 1e6 or None


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident(pid: int) -> int:
    """Bytes of memory, shared libraries counted in every process; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _figures(path: Path, seconds: float, peak: float | None, line: str) -> list[Figure]:
    import torch

    from tokenizer.mocap.store import open_store
    from tokenizer.training.mixture import Mixture

    store = open_store(path)
    frames = sum(source.frames for source in store.sources)
    poses = torch.from_numpy(store.poses("train"))
    loading = _best_rate(len(poses), lambda: store.poses("train"))
    alike = Mixture.of(store, "")
    figures = [
        Figure(
            f"prepare {len(store.sources):,} clips, {frames:,} frames, {_WORKERS} workers, start to end",
            frames / seconds,
            "{:,.0f} /s",
            Goal("at least", 100_000),
            (line,),
        ),
        Figure("its peak memory, all processes together", peak, "{:,.0f} MB", Goal("below", 600)),
        Figure(f"poses from the file into memory, best of {_REPEATS}", loading, "{:,.0f} /s"),
    ]
    named = Mixture.of(store, ",".join(f"{name}=1" for name in alike.datasets))
    for kind, mixture in (("drawn alike", alike), ("drawn by a mixture", named)):
        for batch in (256, 4096):

            def draw(mixture: Mixture = mixture, batch: int = batch) -> None:
                generator = torch.Generator().manual_seed(0)
                for _ in range(_DRAWN // batch):
                    poses[mixture.draw(batch, generator)]

            rate = _best_rate(_DRAWN // batch * batch, draw)
            label = f"poses to train on in batches of {batch:,}, {kind}, best of {_REPEATS}"
            figures.append(Figure(label, rate, "{:,.0f} /s", Goal("at least", 1_000_000)))
    return figures


def _best_rate(count: int, act: Callable[[], object]) -> float:
    """How many a second when ``act`` handles ``count``; the best of a few, as other programs only make it slower."""
    rates = []
    for _ in range(_REPEATS):
        began = time.monotonic()
        act()
        rates.append(count / (time.monotonic() - began))
    return max(rates)
