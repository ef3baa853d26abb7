"""The drift experiment: 3D error against 2D error, free rotations against tokens, plain against TALS."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
import torch

from regressor.config import PUBLISHED_TALS, TalsConfig
from regressor.datasets.synthetic.render import Painter, SyntheticConfig
from regressor.geometry.camera_models import CameraModel, camera_model
from regressor.losses.calibrate import camera_errors
from regressor.sample import Sample
from tokenizer import load_tokenizer
from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.errors import fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.pages.charts import Area, Frame, plain_ticks
from tokenizer.mocap import prior

from .demo import surroundings
from .descent import RATES, Curve, PoseSpace, best_rate, descend

SPACES: tuple[PoseSpace, ...] = ("free 6D", "tokens")
WEIGHTS = (0.05, 0.0)
RUNS_A_SEED = len(SPACES) * (1 + len(WEIGHTS))
TRIALS = sum(map(len, RATES.values()))
_QUANTILE = 0.9
_TRIED = 50
HEAD = ["pose", "2D loss", "2D error (px at 256)", "MPJPE (mm)", "PA-MPJPE (mm)"]


@dataclass(frozen=True)
class Drift:
    """Six descents a seed, ``curves`` in the order of seeds, and what they rest on. ``rates``: step size by space."""

    curves: list[Curve]
    seeds: list[int]
    samples: int
    steps: int
    camera: str
    thresholds: str
    rates: dict[str, float]

    def kinds(self) -> list[list[Curve]]:
        """The curves of each space and loss, one a seed."""
        return [self.curves[kind::RUNS_A_SEED] for kind in range(RUNS_A_SEED)]

    @property
    def level_px(self) -> float:
        """The lowest 2D error that every descent but those of weight 0 comes down to: where they can be compared."""
        return max(min(curve.error_2d_px) for curve in self.curves if curve.loss != _loss(0.0))

    def rows(self) -> list[list[str]]:
        """Cells of the table, a row a kind: start and end, then MPJPE / PA at ``level_px``; mean ± spread of seeds."""
        rows = []
        for curves in self.kinds():
            ends = [
                f"{np.mean([s[0] for s in kind]):.{digits}f} → {_spread([s[-1] for s in kind], digits)}"
                for kind, digits in (
                    ([c.error_2d_px for c in curves], 2),
                    ([c.mpjpe_mm for c in curves], 1),
                    ([c.pa_mpjpe_mm for c in curves], 1),
                )
            ]
            points = [point for point in (curve.at(self.level_px) for curve in curves) if point is not None]
            all_reached = len(points) == len(curves)
            at_level = (
                " / ".join(_spread(part, 1) for part in zip(*points, strict=True)) if all_reached else "not reached"
            )
            rows.append([curves[0].pose, curves[0].loss, *ends, at_level])
        return rows

    def head(self) -> list[str]:
        """Titles of the columns of ``rows``."""
        return [*HEAD, f"MPJPE / PA at {self.level_px:.2f} px"]

    def findings(self) -> list[str]:
        """Return the results in three sentences: the drift of 2D alone, the effect of tokens, the effect of TALS."""
        kinds = self.kinds()
        free, tokens = kinds[0], kinds[1 + len(WEIGHTS)]
        lowest = max(min(curve.error_2d_px) for curve in (*free, *tokens))
        far = [
            f"{np.mean([c.mpjpe_mm[-1] for c in kind]):.0f} mm ({np.mean([c.pa_mpjpe_mm[-1] for c in kind]):.0f} mm "
            "aligned)"
            for kind in (free, tokens)
        ]
        return [
            f"Fitting 2D alone takes exact bodies {far[0]} from the truth with free rotations, {far[1]} with tokens.",
            "Tokens in place of free rotations, at an equal 2D error: "
            f"{_change(tokens, free, self.level_px)}; {_change(tokens, free, lowest)}.",
            f"TALS, weight {WEIGHTS[0]:g}, in place of plain, at an equal 2D error: with free rotations "
            f"{_change(kinds[1], free, self.level_px)}; with tokens "
            f"{_change(kinds[2 + len(WEIGHTS)], tokens, self.level_px)}.",
        ]

    def to_markdown(self) -> str:
        """One row a kind of descent, what was found, what it rests on."""
        lines = [" | ".join(["", *cells, ""]).strip() for cells in (self.head(), ["---"] * len(self.head()))]
        lines += [f"| {' | '.join(cells)} |" for cells in self.rows()]
        return "\n".join([*lines, "", *(f"- {finding}" for finding in self.findings()), "", self.about()])

    def about(self) -> str:
        """What the figures rest on."""
        rates = ", ".join(f"{rate:g} for {space}" for space, rate in self.rates.items())
        return (
            f"{self.samples} exact bodies (for tokens: their reconstruction) a seed, seeds {self.seeds[0]} to "
            f"{self.seeds[-1]}, ± standard deviation over them; {self.steps} steps on 2D alone through the camera "
            f"`{self.camera}`, placed where each body fits best. Gradient descent with momentum 0.9; step sizes "
            f"({rates}) are those that bring plain 2D lowest on {_TRIED} other bodies; the orientation is free in both "
            f"spaces, with the same step. TALS thresholds: {self.thresholds}. MPJPE over 24 joints, pelvis on pelvis."
        )


@dataclass(frozen=True)
class DriftOptions:
    """Of the drift experiment. ``samples``: bodies for each seed, other ones for each of ``seeds`` seeds from ``seed``
    on; ``steps`` of a descent; ``camera``: a camera model by name; ``thresholds`` of TALS: ``derived`` (as
    ``pose-regressor calibrate`` does, from other bodies through the same camera) or ``published``."""

    samples: int = 200
    steps: int = 100
    camera: str = "reference"
    thresholds: str = "derived"
    seed: int = 0
    seeds: int = 3


DEFAULT_OPTIONS = DriftOptions()


def run_drift(
    runs: Path,
    tokenizer_file: Path,
    options: DriftOptions = DEFAULT_OPTIONS,
    *,
    progress: Callable[[int], object] | None = None,
) -> Drift:
    """Run all descents and write ``drift.json``, ``drift.md`` and ``drift.svg`` into ``runs``.

    Bodies are drawn from the embedded pose source and seen by true cameras of 24 to 85 mm. ``progress`` is called after
    each of ``TRIALS`` + ``RUNS_A_SEED`` × ``seeds`` descents. Raise ``UserError`` for impossible options.
    """
    samples, steps, camera, thresholds = options.samples, options.steps, options.camera, options.thresholds
    seed, seeds = options.seed, options.seeds
    if thresholds not in ("derived", "published"):
        raise fail(f"Unknown thresholds {thresholds!r}", expected="derived or published")
    if samples < 1 or steps < 1 or seeds < 1:
        raise fail("The drift experiment needs samples, steps and seeds", got=f"{samples}, {steps} and {seeds}")
    tokenizer, model = load_tokenizer(tokenizer_file), camera_model(camera)
    numbers = list(range(seed, seed + seeds))
    curves: list[Curve] = []
    rates: dict[str, float] = {}
    for number in numbers:
        painter = Painter(SyntheticConfig(yaw_deg=180.0, pitch_deg=14.0, roll_deg=7.0, seed=number))
        people, others = (_people(painter, samples, 2 * number + part) for part in (0, 1))
        if not rates:
            tried = _people(painter, _TRIED, 2 * (seed + seeds))
            for space in SPACES:
                rates[space] = best_rate(
                    tried, painter.body, model, space, tokenizer=tokenizer, steps=steps, progress=progress
                )
        tals, source = (PUBLISHED_TALS, "published") if thresholds == "published" else _derived(others, model, samples)
        for space in SPACES:
            for weight in (None, *WEIGHTS):
                curve = descend(
                    people,
                    painter.body,
                    model,
                    space,
                    tokenizer=tokenizer,
                    rate=rates[space],
                    steps=steps,
                    tals=None if weight is None else replace(tals, weight=weight),
                )
                curves.append(replace(curve, loss=_loss(weight)))
                if progress is not None:
                    progress(len(curves))
    drift = Drift(curves, numbers, samples, steps, camera, source, rates)
    about = {
        **asdict(drift),
        "head": drift.head(),
        "rows": drift.rows(),
        "findings": drift.findings(),
        "about": drift.about(),
        "tokenizer": tokenizer.digest,
        **surroundings(),
    }
    write_text_atomically(runs / "drift.json", json.dumps(about) + "\n")
    write_text_atomically(runs / "drift.md", drift.to_markdown() + "\n")
    write_text_atomically(runs / "drift.svg", drift_chart([_mean(kind) for kind in drift.kinds()]))
    return drift


def _loss(weight: float | None) -> str:
    return "plain" if weight is None else f"TALS, weight {weight:g}"


def _spread(values: Sequence[float], digits: int) -> str:
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def _change(ours: Sequence[Curve], others: Sequence[Curve], level_px: float) -> str:
    """How much farther off ours are than the others at a 2D error, seed by seed."""
    pairs = [(a.at(level_px), b.at(level_px)) for a, b in zip(ours, others, strict=True)]
    changes = np.array([np.subtract(a, b) for a, b in pairs if a is not None and b is not None])
    if len(changes) < len(pairs):
        return f"not comparable at {level_px:.2f} px"
    mpjpe, pa = (f"{change:+.1f}".replace("-", "−") for change in changes.mean(0))
    falls = " and ".join(map(str, (changes < 0).sum(0)))
    return f"at {level_px:.2f} px MPJPE {mpjpe} mm and PA-MPJPE {pa} mm (falls in {falls} of {len(pairs)} seeds)"


def _mean(curves: list[Curve]) -> Curve:
    """Step by step, over seeds."""
    names = ("error_2d_px", "mpjpe_mm", "pa_mpjpe_mm")
    means = {name: np.mean([getattr(curve, name) for curve in curves], axis=0).tolist() for name in names}
    return Curve(curves[0].pose, curves[0].loss, **means)


def _derived(others: Sample, camera: CameraModel, samples: int) -> tuple[TalsConfig, str]:
    """Thresholds from other bodies, as ``pose-regressor calibrate`` takes them, and where they come from."""
    limits = np.nanquantile(camera_errors(others, camera).square().numpy(), _QUANTILE, axis=0).tolist()
    about = f"quantile {_QUANTILE:g} of {samples} other bodies a seed through the same camera"
    return TalsConfig(keypoints_2d=dict(zip(KEYPOINT_NAMES, limits, strict=True))), about


@torch.no_grad()
def _people(painter: Painter, count: int, seed: int) -> Sample:
    draws = [np.random.default_rng([painter.config.seed, seed, i]) for i in range(count)]
    scene = painter.scene(prior.sample(count, seed), draws)
    return scene  # type: ignore[return-value]


_AREA = Area(width=800, height=430, left=60, right=240, top=44, bottom=52)
_DASHES = {"plain": "", "TALS, weight 0.05": "7 4", "TALS, weight 0": "2 3"}
_STYLE = """svg { background: #fbfaf8; color: #1d2328; font: 13px system-ui, sans-serif; } text { fill: currentColor; }
.grid { stroke: #e2e0dc; } .free { stroke: #d2691e; fill: #d2691e; } .tokens { stroke: #1f8289; fill: #1f8289; }
polyline { fill: none !important; stroke-width: 2.2; }
@media (prefers-color-scheme: dark) { svg { background: #14181b; color: #e6e9eb; } .grid { stroke: #303940; }
.free { stroke: #f09a52; fill: #f09a52; } .tokens { stroke: #4fb6bd; fill: #4fb6bd; } }"""


def drift_chart(curves: Sequence[Curve]) -> str:
    """MPJPE (up) against 2D error (across, falling to the left): open dots at the start, full ones at the end."""
    right = 1.05 * max(max(curve.error_2d_px) for curve in curves)
    top = 1.02 * max(max(*curve.mpjpe_mm, 1e-3) for curve in curves)
    frame = Frame(0.0, right, 0.0, top, _AREA)
    x_label, y_label = "2D error (pixels of a 256 px crop)", "3D error, MPJPE (mm)"
    title = "Exact bodies leave the truth when 2D alone is fitted"
    parts = [
        f'<text x="{_AREA.left}" y="24" font-weight="600">{title}</text>',
        frame.grid(plain_ticks(0.0, right), plain_ticks(0.0, frame.y1), x_label, y_label),
    ]
    edge = _AREA.width - _AREA.right
    for number, curve in enumerate(curves):
        kind = "free" if curve.pose == "free 6D" else "tokens"
        points = [(frame.x(a), frame.y(b)) for a, b in zip(curve.error_2d_px, curve.mpjpe_mm, strict=True)]
        dash = f' stroke-dasharray="{_DASHES[curve.loss]}"' if _DASHES.get(curve.loss) else ""
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline class="{kind}" points="{path}"{dash}/>')
        (ax, ay), (bx, by) = points[0], points[-1]
        parts.append(f'<circle class="{kind}" cx="{ax:.1f}" cy="{ay:.1f}" r="5" style="fill:none" stroke-width="2"/>')
        parts.append(f'<circle class="{kind}" cx="{bx:.1f}" cy="{by:.1f}" r="4"/>')
        key_x, key_y = edge + 16, _AREA.top + 20 + 24 * number
        parts.append(f'<polyline class="{kind}" points="{key_x},{key_y} {key_x + 30},{key_y}"{dash}/>')
        parts.append(f'<text x="{key_x + 38}" y="{key_y + 4}">{escape(f"{curve.pose}, {curve.loss}")}</text>')
    note_y = _AREA.top + 20 + 24 * len(curves)
    parts.append(f'<text x="{edge + 16}" y="{note_y + 4}">○ start   ● end</text>')
    size = f'viewBox="0 0 {_AREA.width} {_AREA.height}" width="{_AREA.width}" height="{_AREA.height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
        f'role="img"><title>3D error against 2D error</title><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )
