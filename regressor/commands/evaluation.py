"""Commands of ``pose-regressor`` that measure: errors of a regressor, thresholds of a loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenizer.engine.cli_options import (
    CROPS,
    OUTPUT_FILE,
    TOKENIZER,
    InputPath,
    body_option,
    device_option,
    note_on_precision,
)
from tokenizer.engine.errors import reports_user_errors

from .options import REGRESSOR, precision_option, tokenizer_option

if TYPE_CHECKING:
    from tokenizer.engine.training.precision import Precision


_RESULT = InputPath("result", "Write one with `pose-regressor evaluate --json`")


@click.command()
@click.argument("regressor_file", metavar="REGRESSOR", type=REGRESSOR)
@click.argument("crops", type=CROPS)
@tokenizer_option
@click.option(
    "--protocol",
    "protocol_name",
    default="synthetic",
    help="Rules: synthetic | 3dpw | emdb | 3dpw-reference | emdb-reference | 2d; see above.",
)
@click.option("--split", default="test", help="Split of the store to measure on.")
@click.option(
    "--also",
    multiple=True,
    type=REGRESSOR,
    help="Another regressor to measure, in a row of its own; may be repeated.",
)
@click.option("--robustness", is_flag=True, help="Measure also on tighter crops, and with patches over the person.")
@click.option(
    "--true-bodies", type=InputPath("body models"), help="Folder of the female and male SMPL models, if not --body."
)
@click.option("--joint-regressor", type=InputPath("joint regressor"), help="J_regressor_h36m.npy of SPIN's data.")
@click.option("--extra-regressor", type=InputPath("joint regressor"), help="SMPL_to_J19.pkl of 4D-Humans' data.")
@click.option("--json", "json_file", type=OUTPUT_FILE, help="Write the figures here, too.")
@click.option("--markdown", "markdown_file", type=OUTPUT_FILE, help="Write the tables here, too.")
@body_option
@device_option
@precision_option
@reports_user_errors
def evaluate(
    regressor_file: Path,
    crops: Path,
    tokenizer_file: Path,
    protocol_name: str,
    split: str,
    also: tuple[Path, ...],
    robustness: bool,
    true_bodies: Path | None,
    joint_regressor: Path | None,
    extra_regressor: Path | None,
    json_file: Path | None,
    markdown_file: Path | None,
    body_source: str,
    device: str,
    precision: Precision,
) -> None:
    """Measure the exported REGRESSOR on a split of CROPS: errors in mm with 95 % intervals, by named rules.

    By the rules for synthetic people, with baselines that see no image; by those of 3DPW and EMDB, with what is
    published, marked as such. Of data without bodies (COCO), and with --protocol 2d, the errors of 2D keypoints alone.

    \b
    What the rules need, apart from CROPS made by `prepare`:
      synthetic, 2d   nothing
      emdb            --body FOLDER with SMPL_NEUTRAL, SMPL_FEMALE and SMPL_MALE
      emdb-reference  the same
      3dpw            the same, and --joint-regressor
      3dpw-reference  the same, and --extra-regressor
    """
    from tqdm import tqdm

    from tokenizer import load_tokenizer
    from tokenizer.engine.files.atomic import write_text_atomically
    from tokenizer.engine.training.precision import resolve_device

    from ..datasets.keypoints.samples import open_evidence
    from ..evaluation.evaluate import EvaluationOptions, evaluate_files
    from ..evaluation.protocols import check_extra_regressor, protocol, read_joint_regressor
    from ..evaluation.scoring_bodies import load_scoring_bodies

    note_on_precision(precision, device)
    bodies = load_scoring_bodies(body_source, true_bodies, extra_regressor=extra_regressor)
    store, vocabulary = open_evidence(crops, bodies.predicted), load_tokenizer(tokenizer_file)
    target = resolve_device(device)
    body = bodies.predicted.to(target)
    joints = None
    if joint_regressor is not None:
        joints = read_joint_regressor(joint_regressor, len(body.v_template)).to(target)
    check_extra_regressor(protocol_name, body, extra_regressor)
    report = evaluate_files(
        [regressor_file, *also],
        store,
        split,
        vocabulary,
        body,
        EvaluationOptions(
            only_2d=protocol_name == "2d",
            robustness=robustness,
            device=device,
            precision=precision,
            progress=lambda starts: tqdm(starts, desc="evaluate", unit="batch"),
        ),
        rules=None if protocol_name == "2d" else protocol(protocol_name, body, joints),
        true_bodies=bodies.true,
    )
    click.echo(report.to_markdown())
    if json_file is not None:
        write_text_atomically(json_file, report.to_json())
    if markdown_file is not None:
        write_text_atomically(markdown_file, report.to_markdown() + "\n")


@click.command()
@click.argument("result_a", metavar="A.json", type=_RESULT)
@click.argument("result_b", metavar="B.json", type=_RESULT)
@click.option("--row-a", help="Row of A (default: its first).")
@click.option("--row-b", help="Row of B (default: its first).")
@click.option("--json", "json_file", type=OUTPUT_FILE, help="Write the figures here, too.")
@reports_user_errors
def compare(result_a: Path, result_b: Path, row_a: str | None, row_b: str | None, json_file: Path | None) -> None:
    """Test whether two results of `evaluate --json` on the same samples differ: paired, sample by sample."""
    import json

    from tokenizer.engine.files.atomic import write_text_atomically

    from ..evaluation.compare import compare_files

    comparison = compare_files(result_a, result_b, row_a=row_a, row_b=row_b)
    click.echo(comparison.to_markdown())
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(comparison.to_dict(), indent=2) + "\n")


@click.command()
@click.argument("crops", type=CROPS)
@click.option("--out", required=True, type=OUTPUT_FILE, help="JSON of thresholds, for --tals or --config.")
@click.option("--split", default="train", help="Split of the store to derive them from.")
@click.option("--camera", help="reference (focal length of 5000 px at 256) | focal=CROP_SIDES | fov=DEGREES | true.")
@click.option(
    "--baseline",
    "baseline_file",
    type=REGRESSOR,
    help="Regressor to take camera and joint angles from.",
)
@click.option("--tokenizer", "tokenizer_file", type=TOKENIZER, help="Tokenizer of the baseline.")
@click.option("--quantile", default=0.9, help="Share of perfect answers that lie below a threshold.")
@click.option("--weight", default=0.05, help="What an error below its threshold counts.")
@click.option("--at-most", type=click.IntRange(min=1), help="Look at no more samples than this.")
@click.option("--report", "report_file", type=OUTPUT_FILE, help="Write the tables (Markdown) here, too.")
@body_option
@device_option
@reports_user_errors
def calibrate(
    crops: Path,
    out: Path,
    split: str,
    camera: str | None,
    baseline_file: Path | None,
    tokenizer_file: Path | None,
    quantile: float,
    weight: float,
    at_most: int | None,
    report_file: Path | None,
    body_source: str,
    device: str,
) -> None:
    """Derive thresholds for TALS from CROPS, whose true cameras and bodies are known.

    TALS, the threshold-adaptive loss scaling of TokenHMR, lets errors below a threshold count little.

    2D thresholds: how far the true body, seen through the camera that training assumes, falls from the true keypoints.
    With --baseline the errors of its rotations give the joint thresholds; without --camera, its predicted cameras count
    instead of the reference's. Data without 3D keypoints, as BEDLAM, need their body: --body with SMPL's neutral model.
    """
    import json

    from tqdm import tqdm

    from tokenizer import load_body
    from tokenizer.engine.config import to_dict
    from tokenizer.engine.errors import fail
    from tokenizer.engine.files.atomic import write_text_atomically
    from tokenizer.engine.training.precision import resolve_device

    from ..checkpoints.regressor_file import check_body, load_regressor
    from ..datasets.crop_dataset import open_crops
    from ..geometry.camera_models import camera_model
    from ..losses.calibrate import CalibrationOptions
    from ..losses.calibrate import calibrate as derive

    store = open_crops(crops)
    body = load_body(body_source) if baseline_file is not None or body_source != "open" else None
    model = camera_model(camera or "reference") if camera or baseline_file is None else None
    cameras = f"the camera {camera or 'reference'}"
    if baseline_file is None:
        baseline = None
    elif tokenizer_file is None:
        raise fail("A baseline needs its tokenizer", next_step="Give it with --tokenizer")
    else:
        target = resolve_device(device)
        baseline = load_regressor(baseline_file, tokenizer=tokenizer_file, device=str(target))
        if body is not None:
            check_body(baseline_file, baseline.provenance, body.kind)
        cameras = (
            f"{cameras}, joints those of {baseline_file.name}" if camera else f"the cameras of {baseline_file.name}"
        )
    source = f"Quantile {quantile:g} of {store.attributes.get('domain', crops.stem)} ({split}) seen through {cameras}"
    click.echo(f"Deriving thresholds from split {split!r} of {crops}, seen through {cameras}, into {out}")
    result = derive(
        store,
        split,
        camera=model,
        baseline=baseline,
        body=body,
        options=CalibrationOptions(quantile, weight, source, at_most),
        progress=lambda starts: tqdm(starts, desc="calibrate", unit="batch"),
    )
    click.echo(result.to_markdown())
    for warning in result.warnings():
        click.echo(f"Warning: {warning}", err=True)
    if baseline is None:
        click.echo("No joint thresholds: they need --baseline.")
    write_text_atomically(out, json.dumps({"loss": {"tals": to_dict(result.tals)}}, indent=2) + "\n")
    if report_file is not None:
        write_text_atomically(report_file, result.to_markdown() + "\n")
    click.echo(f"Wrote {out}; train with --tals {out}")
