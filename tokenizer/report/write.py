"""``report.html`` of one tokenizer run. A part that cannot be made is replaced by the reason."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import torch

from ..body.metrics import quantile
from ..body.model import Body
from ..engine.errors import fail
from ..engine.files.atomic import write_text_atomically
from ..engine.pages.charts import line_chart, rank_chart
from ..engine.pages.page import RAMP_KEY, TRUTH_KEY, card, cards, listing, missing, note, page, part, section, tiles
from ..engine.training.run import RunFolder
from ..evaluation.describe import describe
from ..evaluation.locality import Watch
from ..frozen import FrozenTokenizer, load_tokenizer
from ..mocap.prior import ACKNOWLEDGEMENT
from ..mocap.store import PoseStore, open_store
from ..training.train import export_run
from .comparison import comparison, find_benchmark
from .meaning import changed_bodies, layer_name
from .places import DEGREES, ROTATION_DEG, Places, changes_map, measure_places, rotations_map, spread, token_map
from .poses import FULL_MM, Reconstruction, frame_names, reconstruct, typical_poses, worst_poses

Steps = Callable[[str], Watch]
"""Names a step that takes a while → what to pass its numbers through, to show how far it is."""


class TokenizerRun:
    """What a report reads of a run folder, opened and measured when first asked for.

    ``poses``: the store to judge on, by default the one that the run was trained on.
    """

    def __init__(self, path: Path, body: Body, poses: Path | None = None, steps: Steps = lambda name: iter) -> None:
        self.path, self.body, self.steps = path, body, steps
        self.run = RunFolder.open(path)
        self._poses = poses

    @cached_property
    def tokenizer(self) -> FrozenTokenizer:
        """The exported tokenizer, or of a run that has not ended, that of its newest checkpoint."""
        device = self.body.v_template.device
        if (self.path / "tokenizer.h5").exists():
            return load_tokenizer(self.path / "tokenizer.h5").to(device)
        with tempfile.TemporaryDirectory() as folder:
            return load_tokenizer(export_run(self.path, Path(folder) / "tokenizer.h5")).to(device)

    @cached_property
    def store(self) -> PoseStore:
        """The pose store. Raise ``UserError`` if it is not where it was and none was given."""
        if self._poses is not None:
            return open_store(self._poses)
        recorded = self.run.config.get("store")
        if recorded is None or not Path(recorded).exists():
            raise fail(
                f"The poses of {self.path} are not known",
                got=f"nothing at {recorded}" if recorded else None,
                next_step="Give their file with --poses FILE",
            )
        return open_store(recorded)

    @property
    def layers(self) -> int:
        """In how many layers, coarse to fine, the tokens stand: 1 for a quantizer that knows of none."""
        return int(getattr(self.tokenizer.tokenizer.quantizer, "layers", 1))

    @cached_property
    def made(self) -> Reconstruction:
        """The whole val split before and after tokens."""
        return reconstruct(self.store, self.tokenizer, self.body, watch=self.steps("validation poses"))

    @cached_property
    def places(self) -> Places:
        """Stability and locality of the tokens."""
        device = self.body.v_template.device
        return measure_places(self.made, self.tokenizer, self.layers, device, watch=self.steps("tokens and joints"))


def write_report(
    run: Path,
    out: Path,
    body: Body,
    *,
    poses: Path | None = None,
    benchmark: Path | None = None,
    steps: Steps = lambda name: iter,
) -> Path:
    """Write the page about the run folder ``run`` to ``out``; needs no network and no other file.

    ``poses``: as in ``TokenizerRun``; ``benchmark``: JSON as in ``comparison``, by default that in or next to the
    folder. Works on the device of ``body``. Raise ``UserError`` if ``run`` is no run folder.
    """
    subject = TokenizerRun(run, body, poses, steps)
    preset = subject.run.config["tokenizer"]["preset"]
    parts = [
        f'<header><h1>A vocabulary of body poses</h1><p class="lead">{escape(str(run))}: preset {escape(preset)}. '
        f"{part(lambda: _size(subject))}</p>{part(lambda: _headline(subject))}</header>",
        section(
            "Learning",
            "Figures of the training over its steps; validation is on poses kept aside.",
            part(lambda: _curves(subject)),
        ),
        section(
            "How the codes are used",
            "On the validation poses: every code of the vocabulary from the most to "
            "the least used, where 1 is equal use of all. Below, between how many codes each token really chooses: "
            "the perplexity of its ids.",
            part(lambda: _codes(subject)),
        ),
        section(
            "Poses before and after tokens",
            f"{TRUTH_KEY}a pose the tokenizer has not seen; next to it the same decoded from tokens, "
            f"{RAMP_KEY}every point in the colour of its error, from 0 to {FULL_MM:.0f} mm. From easy to hard, not "
            "chosen by eye. Captions: mean error of joints 1–23, the joint that is farthest off.",
            part(lambda: typical_poses(subject.made, subject.tokenizer, body)),
        ),
        section(
            "The worst poses",
            "Those with the largest error of all validation poses; of poses nearer to each "
            "other than 30 mm the worst alone.",
            part(lambda: worst_poses(subject.made, subject.tokenizer, body, frame_names(subject.store))),
        ),
        section(
            "What single tokens mean",
            f"One pose with a single token changed, {RAMP_KEY}in the colour of how far "
            "every point moves. Each token twice: with those two of its 64 most usual ids that lie farthest apart. "
            "Captions: how far the first token of a card turns joints on average.",
            part(
                lambda: changed_bodies(subject.made, subject.places.rotations, subject.layers, subject.tokenizer, body)
            ),
        ),
        section(
            "How steady tokens are",
            "Share of ids that stay the same when every joint turns at random. What a "
            "network is to read from an image must not hang on a degree.",
            part(lambda: _token_stability(subject)),
        ),
        section(
            "Which joints a token moves",
            "Degrees by which a joint turns when one token takes the id it has in "
            "another pose. Hover over a cell for its figures.",
            part(lambda: _rotations(subject)),
        ),
        section(
            "Which tokens a joint moves",
            f"Share of poses where a token becomes another when one joint alone turns by {ROTATION_DEG:.0f}°.",
            part(lambda: _changes(subject)),
        ),
        section(
            "Compared with others",
            "The benchmark next to this run.",
            part(lambda: comparison(benchmark or find_benchmark(run))),
        ),
        section("Provenance", "What went in, and what came out.", part(lambda: _provenance(subject))),
        f'<section><p class="note">{escape(ACKNOWLEDGEMENT)} The method follows TokenHMR (Dwivedi et al., CVPR 2024).'
        "</p></section>",
    ]
    write_text_atomically(out, page(f"Vocabulary of body poses: {run.name}", parts))
    return out


def _size(subject: TokenizerRun) -> str:
    t = subject.tokenizer
    in_layers = f" in {subject.layers} layers" if subject.layers > 1 else ""
    return f"{t.num_tokens} tokens{in_layers}, each one of {t.num_codes:,} codes."


def _headline(subject: TokenizerRun) -> str:
    t, error, places = subject.tokenizer, subject.made.error_mm, subject.places
    unchanged = places.stable_by_layer()[DEGREES.index(3.0)]
    figures = [
        (f"{t.num_tokens * math.log2(t.num_codes):.0f} bits", "a pose"),
        (f"{error.mean():.1f} mm", f"joint error of {len(error):,} unseen poses, p95 {quantile(error, 0.95):.1f} mm"),
        (f"{100 * unchanged.mean():.0f} %", "of ids stay under 3° of noise on every joint"),
    ]
    if subject.layers > 1:
        figures.append((f"{100 * unchanged[0]:.0f} %", "of the coarse ones"))
    return tiles([*figures, (f"{spread(places)[0]:.1f} joints", "moved by a token, of 21")])


def _curves(subject: TokenizerRun) -> str:
    records = subject.run.metrics()
    charts = [_curve(records, "loss", "training loss", True), _curve(records, "val_mpjpe_mm", "validation MPJPE (mm)")]
    charts += [
        _curve(records, "val_mpjpe_p95_mm", "validation MPJPE, p95 (mm)"),
        _curve(records, "val_perplexity", "perplexity of the codes"),
    ]
    terms = dict.fromkeys(name for record in records if "loss" in record for name in record)
    others = [name for name in terms if name not in ("step", "seconds", "loss")]
    small = [_curve(records, name, name.replace("_", " "), True) for name in others]
    if not any(charts):
        raise fail(f"No figures are noted down in {subject.path / 'metrics.jsonl'} yet")
    took = f"{records[-1]['seconds'] / 60:.1f} minutes for {records[-1]['step']:,} steps."
    return (
        cards(filter(None, charts), "two")
        + cards(filter(None, small), "three")
        + note(f"{took} Terms of the loss are shown with their weights.")
    )


def _curve(records: list[dict[str, Any]], key: str, label: str, log_y: bool = False) -> str:
    points = [(record["step"], record[key]) for record in records if key in record]
    svg = line_chart(
        [x for x, _ in points],
        [y for _, y in points],
        x_label="step",
        y_label=label,
        log_y=log_y,
        series="predicted" if key.startswith("val_") else "truth",
    )
    return card(svg, f"<b>{escape(label)}</b>") if svg else ""


def _codes(subject: TokenizerRun) -> str:
    made, groups = subject.made, subject.tokenizer.num_tokens // subject.layers
    parts = [("all tokens", slice(None))]
    if subject.layers > 1:
        parts += [
            (f"{layer_name(layer, subject.layers)} tokens", slice(layer * groups, (layer + 1) * groups))
            for layer in range(subject.layers)
        ]
    items = []
    for name, tokens in parts:
        counts = made.code_counts(tokens)
        frequencies = counts[counts > 0] / counts.sum()
        svg = rank_chart((counts / counts.double().mean()).tolist(), x_label="codes by rank", y_label="use, × the mean")
        items.append(
            card(
                svg,
                f"<b>{escape(name)}</b>: {len(frequencies):,} of {len(counts):,} codes used, perplexity "
                f"{torch.exp(-(frequencies * frequencies.log()).sum()):,.0f}",
            )
        )
    own = made.token_perplexity()
    caption = f"<b>Perplexity of each token</b>: {own.mean():,.0f} on average, {own.min():,.0f} to {own.max():,.0f}"
    grid = token_map(own, subject.layers, unit="codes", full=made.num_codes)
    return cards(items, "two") + cards([card(grid, caption)], "one")


def _token_stability(subject: TokenizerRun) -> str:
    places, items = subject.places, []
    for degrees, unchanged, by_layer in zip(DEGREES, places.stable, places.stable_by_layer(), strict=True):
        layers = [f"{layer_name(i, places.layers)} {100 * value:.0f} %" for i, value in enumerate(by_layer.tolist())]
        detail = f" ({', '.join(layers)})" if places.layers > 1 else ""
        caption = f"Under {degrees:g}°: <b>{100 * unchanged.mean():.0f} % of ids stay</b>{detail}"
        items.append(card(token_map(100 * unchanged, places.layers, unit="% kept", full=100), caption))
    return cards(items, "one")


def _rotations(subject: TokenizerRun) -> str:
    places = subject.places
    darkest = [
        f"{layer_name(i, places.layers)} {most:.1f}°" for i, most in enumerate(places.largest_rotations().tolist())
    ]
    caption = (
        f"A token's effect spreads over <b>{spread(places)[0]:.1f} joints</b> (exp of the entropy of its "
        f"shares, mean). Darkest: {', '.join(darkest)}."
    )
    return cards([card(rotations_map(subject.places), caption)], "one")


def _changes(subject: TokenizerRun) -> str:
    tokens, total = spread(subject.places)[1], subject.tokenizer.num_tokens
    caption = f"A joint's effect spreads over <b>{tokens:.1f} of {total} tokens</b>, measured alike."
    return cards([card(changes_map(subject.places), caption)], "one")


def _provenance(subject: TokenizerRun) -> str:
    lines: Iterable[str] = []
    file = subject.path / "tokenizer.h5"
    if file.exists():
        lines = [describe(file)]
    else:
        state = subject.run.state
        lines = [f"not finished: weights of step {state['step'] if state else 0:,}"]
    store = subject.store
    trained_on = subject.run.config["poses"]
    html = (
        ""
        if store.holds(trained_on)
        else missing(
            f"The figures above are not on the poses it was trained on (those have digest {trained_on[:12]}…)."
        )
    )
    lines = [*lines, "", f"poses       {store.path.name}, digest {store.digest}", f"made by     {store.command}"]
    return html + listing("\n".join(lines))
