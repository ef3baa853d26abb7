"""Compare vocabularies trained for the same time on the same poses, and classical codes."""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokenizer import Body, load_body, load_tokenizer
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.engine.errors import fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.training.run import read_metrics
from tokenizer.evaluation.locality import effective_number, tokens_to_joints
from tokenizer.evaluation.reconstruction import Tokenizes, evaluate_tokenizer, token_stability
from tokenizer.evaluation.repair import completion_errors, denoising_errors, frame_stability
from tokenizer.mocap.store import PoseStore, PoseStoreWriter, open_store

from ..demo import run_command, surroundings
from .baselines import KMeans, PcaRounding

Say = Callable[[str], None]
NOISE_DEG, NOISE_SHARE, HIDDEN = (1, 3, 5), (5, 10, 20), (0.2, 0.4, 0.6)
_LOCALITY_POSES, _VAL_STEP = 1000, 8


@dataclass(frozen=True)
class Candidate:
    """A training of ours: a preset with settings of its own. ``bits`` False: as good as continuous, no code at all.
    ``slow``: a network that cannot be asked everything in reasonable time."""

    name: str
    preset: str
    settings: tuple[str, ...] = ()
    bits: bool = True
    slow: bool = False

    def command(self, poses: Path, run: Path, minutes: float, seed: int) -> tuple[str, ...]:
        """The training as one would type it."""
        settings = [part for text in (*self.settings, f"seed={seed}") for part in ("--set", text)]
        return (
            "pose-tokenizer",
            "train",
            str(poses),
            "--run",
            str(run),
            "--preset",
            self.preset,
            *settings,
            "--minutes",
            f"{minutes:g}",
            "--export",
            "last",
        )


_PLAIN = ("quantizer.layers=1", "quantizer.groups=32", "quantizer.levels=[8,8,8,4]")
CANDIDATES: dict[str, Candidate] = {
    candidate.name: candidate
    for candidate in (
        Candidate("compact", "compact"),
        Candidate("compact, nothing hidden", "compact", ("augment.mask=0",)),
        Candidate("compact, no consistency", "compact", ("loss.consistency_weight=0",)),
        Candidate("compact, no limb swap", "compact", ("augment.swap=0",)),
        Candidate("one layer of FSQ", "compact", (*_PLAIN, "loss.consistency_weight=0", "augment.swap=0")),
        Candidate("residual VQ", "compact-rvq"),
        Candidate("EMA VQ", "compact-vq"),
        Candidate("attention", "attention"),
        Candidate("autoencoder", "compact", ("quantizer.layers=10",), bits=False),
        Candidate("paper", "paper", slow=True),
    )
}
"""``one layer of FSQ``: 32 tokens of levels 8·8·8·4; ``autoencoder``: the networks of ``compact`` with about twenty
bits per number (no vocabulary); ``paper``: the network, codes and losses of TokenHMR."""


@dataclass
class Row:
    """One line of the table, means over seeds; ``spread_mm``: standard deviation of the MPJPE over them."""

    name: str
    seeds: int
    bits: float | None = None
    mpjpe_mm: float = math.nan
    spread_mm: float = math.nan
    p95_mm: float = math.nan
    mpvpe_mm: float = math.nan
    codes_used: float | None = None
    steps: float | None = None
    poses_per_s: float | None = None
    ids_kept: dict[str, float] = field(default_factory=dict)
    completion_deg: dict[str, float] = field(default_factory=dict)
    denoising_mm: dict[str, float] = field(default_factory=dict)
    joints_a_token_moves: float | None = None

    def plain(self) -> dict[str, Any]:
        """One flat object of plain values, for JSON and tables."""
        flat: dict[str, Any] = {}
        for key, value in asdict(self).items():
            flat |= (
                {f"{key}_{inner}": part for inner, part in value.items()} if isinstance(value, dict) else {key: value}
            )
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in flat.items()}


def bench_tokenizers(
    store_path: Path, out: Path, names: list[str], minutes: float, seeds: int, say: Say, *, limit: int = 20_000
) -> list[Row]:
    """Train each of ``names`` ``seeds`` times for ``minutes`` on the train split, judge on every eighth pose of the val
    split, with k-means and PCA; write ``out``/bench_tokenizer.json after every row.

    ``limit``: at most so many train poses for k-means. Raises ``UserError`` for a name that is not there.
    """
    unknown = [name for name in names if name not in CANDIDATES]
    if unknown:
        raise fail(f"No candidate is called {unknown[0]!r}", expected=f"one of {', '.join(CANDIDATES)}")
    full, body = open_store(store_path), load_body()
    thin = out / "poses_thinned.h5"
    _thin(full, thin)
    store = open_store(thin)
    evaluator = Evaluator(store, full, body)
    rows: list[Row] = []
    for name in names:
        rows_of_seeds = []
        for seed in range(seeds):
            run = out / f"{name.replace(' ', '_').replace(',', '')}_{seed}_{time.strftime('%Y%m%d_%H%M%S')}"
            command = CANDIDATES[name].command(thin, run, minutes, seed)
            say(f"$ {shlex.join(command)}")
            run_command(command)
            frozen = load_tokenizer(run / "tokenizer.h5")
            judged = evaluator.errors if CANDIDATES[name].slow else evaluator.learned
            row = judged(name, frozen, frozen.num_tokens * math.log2(frozen.num_codes))
            row.bits = row.bits if CANDIDATES[name].bits else None
            row.steps, row.poses_per_s = _pace(run)
            rows_of_seeds.append(row)
        rows.append(average(rows_of_seeds))
        _write(out, rows, store, minutes, seeds)
    train = torch.from_numpy(store.poses("train"))
    poses = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:limit]]
    codes = min(2048, len(poses) // 4)
    say("k-means and PCA")
    for name, classical in (
        (f"k-means of poses, {codes} codes", KMeans(poses, 1, codes, seed=0)),
        (f"k-means of joints, {codes} codes each", KMeans(poses, 21, codes, seed=0)),
        ("PCA + rounding, 231 bits", PcaRounding(train, 231)),
        ("PCA + rounding, 330 bits", PcaRounding(train, 330)),
        ("PCA + rounding, 590 bits", PcaRounding(train, 590)),
    ):
        # Their ids choose from tables of their own, which is no use of one codebook.
        rows.append(replace(evaluator.errors(name, classical, classical.bits), codes_used=None))
        _write(out, rows, store, minutes, seeds)
    return rows


class Evaluator:
    """Scores tokenizers on the validation poses of a store; ``full``: with every frame, for neighbours in time."""

    def __init__(self, store: PoseStore, full: PoseStore, body: Body) -> None:
        self.body, self.subset = body, body.subset(1024)
        self.poses = torch.from_numpy(store.poses("val"))
        frames = torch.from_numpy(full.poses("val"))
        cuts = np.flatnonzero(np.diff(full.source_index("val"))) + 1
        self.clips = [part for part in frames.tensor_split(torch.from_numpy(cuts)) if len(part) > 1]

    def errors(self, name: str, tokenizer: Tokenizes, bits: float) -> Row:
        """Reconstruction alone."""
        errors = evaluate_tokenizer(tokenizer, self.poses, self.body, vertices=self.subset, batch=512)
        return Row(
            name,
            1,
            bits,
            errors["mpjpe_mm"],
            math.nan,
            errors["mpjpe_p95_mm"],
            errors["mpvpe_mm"],
            errors["codes_used_share"],
        )

    def learned(self, name: str, tokenizer: Any, bits: float) -> Row:
        """Everything: reconstruction, token stability, locality, completion, denoising."""
        row = self.errors(name, tokenizer, bits)
        for degrees in NOISE_DEG:
            stability = token_stability(tokenizer, self.poses, degrees)
            row.ids_kept[f"{degrees}_deg"] = float(stability.mean())
            if degrees == 3:
                groups = tokenizer.num_tokens // _layers(tokenizer)
                row.ids_kept["3_deg_coarse"] = float(stability[:groups].mean())
        row.ids_kept["next_frame"] = frame_stability(tokenizer, self.clips)
        for share in HIDDEN:
            row.completion_deg[f"{share:.0%}"] = completion_errors(tokenizer, self.poses, share)
        for degrees in NOISE_SHARE:
            before, after = denoising_errors(tokenizer, self.poses, degrees, self.body)
            row.denoising_mm |= {f"{degrees}_deg": after, f"{degrees}_deg_untouched": before}
        sample = self.poses[
            torch.randperm(len(self.poses), generator=torch.Generator().manual_seed(0))[:_LOCALITY_POSES]
        ]
        effects = tokens_to_joints(tokenizer, axis_angle_to_matrix(sample))
        row.joints_a_token_moves = float(effective_number(effects).mean())
        return row


def average(rows: list[Row]) -> Row:
    """The mean of the same candidate's rows."""
    mean = Row(rows[0].name, len(rows), rows[0].bits)

    def over(values: list[float]) -> float:
        return float(np.mean(values))

    for key in ("mpjpe_mm", "p95_mm", "mpvpe_mm", "codes_used", "steps", "poses_per_s", "joints_a_token_moves"):
        if getattr(rows[0], key) is not None:
            setattr(mean, key, over([getattr(row, key) for row in rows]))
    mean.spread_mm = float(np.std([row.mpjpe_mm for row in rows]))
    for key in ("ids_kept", "completion_deg", "denoising_mm"):
        parts = [getattr(row, key) for row in rows]
        setattr(mean, key, {name: over([part[name] for part in parts]) for name in parts[0]})
    return mean


def markdown(rows: list[Row]) -> str:
    """The table for people."""
    head = [
        "",
        "bits",
        "MPJPE mm",
        "p95",
        "MPVPE",
        "ids kept 1° / 3° (coarse) / 5°",
        "next frame",
        "hidden 20 / 40 / 60 %, deg",
        "noise 5 / 10 / 20°, mm",
        "joints a token moves",
        "poses/s in training",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        kept, hidden, noise = row.ids_kept, row.completion_deg, row.denoising_mm
        spread = "" if math.isnan(row.spread_mm) or row.seeds < 2 else f" ± {row.spread_mm:.2f}"
        lines.append(
            "| "
            + " | ".join(
                [
                    row.name,
                    "–" if row.bits is None else f"{row.bits:.0f}",
                    f"{row.mpjpe_mm:.2f}{spread}",
                    f"{row.p95_mm:.1f}",
                    f"{row.mpvpe_mm:.2f}",
                    f"{kept['1_deg']:.0%} / {kept['3_deg']:.0%} ({kept['3_deg_coarse']:.0%}) / {kept['5_deg']:.0%}"
                    if kept and row.bits is not None
                    else "–",
                    f"{kept['next_frame']:.0%}" if kept and row.bits is not None else "–",
                    " / ".join(f"{value:.1f}" for value in hidden.values()) or "–",
                    " / ".join(f"{noise[f'{d}_deg']:.1f}" for d in NOISE_SHARE) if noise else "–",
                    "–" if row.joints_a_token_moves is None else f"{row.joints_a_token_moves:.1f}",
                    "–" if row.poses_per_s is None else f"{row.poses_per_s:,.0f}",
                ]
            )
            + " |"
        )
    noisy = next((row.denoising_mm for row in rows if row.denoising_mm), None)
    if noisy:
        untouched = " / ".join(f"{noisy[f'{d}_deg_untouched']:.1f}" for d in NOISE_SHARE)
        lines += ["", f"Poses under noise of 5 / 10 / 20° and left so are {untouched} mm off."]
    return "\n".join(lines)


def _pace(run: Path) -> tuple[float, float]:
    """Steps of a training, and the poses it went through in a second, validations included but the last."""
    batch = json.loads((run / "config.json").read_text(encoding="utf-8"))["tokenizer"]["optim"]["batch"]
    last = [record for record in read_metrics(run) if "loss" in record][-1]
    return float(last["step"]), last["step"] * batch / last["seconds"]


def _thin(store: PoseStore, path: Path) -> None:
    """Every eighth pose of the val split, and all to train on: neighbours in time are near copies."""
    with PoseStoreWriter(path, f"every {_VAL_STEP}th val pose of {store.path.name}, digest {store.digest}") as writer:
        for split, step in (("train", 1), ("val", _VAL_STEP)):
            poses, betas, owner = store.poses(split), store.betas(split), store.source_index(split)
            for number in np.unique(owner):
                source, rows = store.sources[number], np.flatnonzero(owner == number)[::step]
                writer.add(source.name, split, poses[rows], betas[rows], fps=source.fps / step, licence=source.licence)


def _layers(tokenizer: Any) -> int:
    layers: int = tokenizer.config.quantizer.layers if tokenizer.config.quantizer.kind != "ema_vq" else 1
    return layers


def _write(out: Path, rows: list[Row], store: PoseStore, minutes: float, seeds: int) -> None:
    about = {
        "rows": [row.plain() for row in rows],
        "minutes": minutes,
        "seeds": seeds,
        "poses": f"{store.path}, digest {store.digest[:12]}, val split",
        "markdown": markdown(rows),
        **surroundings(),
    }
    write_text_atomically(out / "bench_tokenizer.json", json.dumps(about, indent=2) + "\n")
