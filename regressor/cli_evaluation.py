"""Commands of ``pose-regressor`` that measure: errors of a regressor, thresholds of a loss."""

from __future__ import annotations

from pathlib import Path

import click

from tokenizer.engine.cli_options import body_option, device_option
from tokenizer.engine.errors import reports_user_errors

from .cli_options import tokenizer_option


@click.command()
@click.argument("regressor_file", metavar="REGRESSOR", type=click.Path(path_type=Path))
@click.argument("crops", type=click.Path(path_type=Path))
@tokenizer_option
@click.option("--split", default="test", help="Split of the store to judge on.")
@click.option("--also", multiple=True, type=click.Path(path_type=Path), help="Another regressor for its own row.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here, too.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write the table here, too.")
@body_option
@device_option
@reports_user_errors
def evaluate(
    regressor_file: Path, crops: Path, tokenizer_file: Path, split: str, also: tuple[Path, ...], json_file: Path | None,
    markdown_file: Path | None, body_source: str, device: str,
) -> None:  # fmt: skip
    """Judge the exported REGRESSOR on a split of CROPS: errors in mm beside baselines that see no image."""
    import json

    from tqdm import tqdm

    from tokenizer import load_body, load_tokenizer
    from tokenizer.engine.checkpoint import write_text_atomically

    from .datasets.store import open_crops
    from .evaluate import evaluate_files

    store, vocabulary, body = open_crops(crops), load_tokenizer(tokenizer_file), load_body(body_source)
    report = evaluate_files(
        [regressor_file, *also], store, split, vocabulary, body, device=device,
        progress=lambda starts: tqdm(starts, desc="evaluate", unit="batch"),
    )  # fmt: skip
    click.echo(report.to_markdown())
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(report.to_dict(), indent=2) + "\n")
    if markdown_file is not None:
        write_text_atomically(markdown_file, report.to_markdown() + "\n")


@click.command()
@click.argument("crops", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="JSON of thresholds, for --tals or --config."
)
@click.option("--split", default="train", help="Split of the store to look at.")
@click.option("--camera", help="reference (focal length of 5000 px at 256) | focal=CROP_SIDES | fov=DEGREES | true.")
@click.option(
    "--baseline",
    "baseline_file",
    type=click.Path(path_type=Path),
    help="Regressor to take camera and joint angles from.",
)
@click.option("--tokenizer", "tokenizer_file", type=click.Path(path_type=Path), help="That of the baseline.")
@click.option("--quantile", default=0.9, help="Share of perfect answers that lie below a threshold.")
@click.option("--weight", default=0.05, help="What an error below its threshold counts.")
@click.option("--at-most", type=click.IntRange(min=1), help="Look at no more samples than this.")
@click.option("--report", "report_file", type=click.Path(path_type=Path), help="Write the tables (Markdown) here, too.")
@body_option
@device_option
@reports_user_errors
def calibrate(
    crops: Path, out: Path, split: str, camera: str | None, baseline_file: Path | None, tokenizer_file: Path | None,
    quantile: float, weight: float, at_most: int | None, report_file: Path | None, body_source: str, device: str,
) -> None:  # fmt: skip
    """Derive thresholds for TALS from CROPS, whose true cameras and bodies are known.

    2D thresholds: how far the true body, seen through the camera that training assumes, falls from the true keypoints.
    With --baseline, its predicted cameras count instead, and the errors of its rotations give the joint thresholds.
    """
    import json

    from tqdm import tqdm

    from tokenizer import load_body
    from tokenizer.engine.checkpoint import write_text_atomically
    from tokenizer.engine.errors import fail
    from tokenizer.engine.options import to_dict
    from tokenizer.engine.precision import resolve_device

    from .calibrate import calibrate as derive
    from .camera_models import camera_model
    from .datasets.store import open_crops
    from .weights import load_regressor

    store = open_crops(crops)
    if baseline_file is None:
        baseline, body, seen = None, None, f"the camera {camera or 'reference'}"
    elif tokenizer_file is None or camera is not None:
        raise fail("A baseline brings its camera and needs its tokenizer", next_step="Give --tokenizer, no --camera")
    else:
        target = resolve_device(device)
        baseline = load_regressor(baseline_file, tokenizer=tokenizer_file, device=str(target))
        body, seen = load_body(body_source).to(target), f"the cameras of {baseline_file.name}"
    source = f"Quantile {quantile:g} of {store.attributes.get('domain', crops.stem)} ({split}) seen through {seen}"
    click.echo(f"Deriving thresholds from {crops}, seen through {seen}, into {out}")
    result = derive(
        store, split, camera=None if baseline else camera_model(camera or "reference"), baseline=baseline, body=body,
        quantile=quantile, weight=weight, source=source, at_most=at_most,
        progress=lambda starts: tqdm(starts, desc="calibrate", unit="batch"),
    )  # fmt: skip
    click.echo(result.to_markdown())
    if baseline is None:
        click.echo("No joint thresholds: they need --baseline.")
    write_text_atomically(out, json.dumps({"loss": {"tals": to_dict(result.tals)}}, indent=2) + "\n")
    if report_file is not None:
        write_text_atomically(report_file, result.to_markdown() + "\n")
    click.echo(f"Wrote {out}; train with --tals {out}")
