"""Command of ``pose-regressor`` that turns photographs into bodies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenizer.engine.cli_options import OUTPUT_FILE, TOKENIZER, InputPath, body_option, device_option
from tokenizer.engine.errors import reports_user_errors

from .options import REGRESSOR, precision_option

if TYPE_CHECKING:
    from tokenizer.engine.training.precision import Precision

    from ..people.cameras import CameraOptions
    from ..people.photos import Predictions


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--regressor",
    "regressor_file",
    default="shipped",
    type=REGRESSOR,
    help="Exported regressor; shipped: the one of this package, which sees keypoints.",
)
@click.option(
    "--tokenizer", "tokenizer_file", default="shipped", type=TOKENIZER, help="Tokenizer file of stage 1 (.h5)."
)
@click.option("--box", "boxes", multiple=True, metavar="X0,Y0,X1,Y1", help="A person in the IMAGE; may be repeated.")
@click.option("--boxes", "boxes_file", type=InputPath("boxes"), help="JSON or CSV of boxes by image name.")
@click.option("--whole", is_flag=True, help="Each image shows one person who fills it.")
@click.option(
    "--keypoints",
    "keypoints_file",
    type=InputPath("keypoints"),
    help="People of another detector: JSON of COCO, COCO-WholeBody, Halpe, OpenPose, AlphaPose, MMPose or ViTPose, or "
    "a folder of such, with a file an image.",
)
@click.option("--strict", is_flag=True, help="Exit with 2 where nobody is found in an image.")
@click.option("--out", default="people", type=click.Path(path_type=Path), help="Folder to write into.")
@click.option("--overwrite", is_flag=True, help="Do images again that are done in --out.")
@click.option("--csv", "csv_file", type=OUTPUT_FILE, help="Also write a table, one row a person.")
@click.option("--json", "json_file", type=OUTPUT_FILE, help="The same as JSON.")
@click.option("--fov", type=float, help="Diagonal field of view in degrees, where you know it.")
@click.option("--focal-px", type=float, help="Focal length in pixels, where you know it.")
@click.option("--intrinsics", metavar="FX,FY,CX,CY", help="Intrinsics in pixels, where you know them.")
@click.option("--no-fit", is_flag=True, help="Do not fit bodies to the keypoints, where the regressor sees keypoints.")
@click.option("--no-overlay", is_flag=True, help="Draw no pictures.")
@click.option("--no-mesh", is_flag=True, help="Write no OBJ, and no vertices into the npz.")
@body_option
@device_option
@precision_option
@reports_user_errors
def predict(
    images: tuple[Path, ...],
    regressor_file: Path,
    tokenizer_file: Path,
    boxes: tuple[str, ...],
    boxes_file: Path | None,
    whole: bool,
    keypoints_file: Path | None,
    strict: bool,
    out: Path,
    overwrite: bool,
    csv_file: Path | None,
    json_file: Path | None,
    fov: float | None,
    focal_px: float | None,
    intrinsics: str | None,
    no_fit: bool,
    no_overlay: bool,
    no_mesh: bool,
    body_source: str,
    device: str,
    precision: Precision,
) -> None:
    """Predict the bodies of people in IMAGES: one npz and OBJ a person, one overlay picture an image, in --out.

    IMAGES are files, folders of them, or patterns such as "photos/*.jpg". What is no image, or has no box, or
    one outside, is left out and named; the others are done, and those that are done already are not done again.

    Without --box, --boxes, --whole and --keypoints people are detected, once `install-detector` was run. An image of
    nobody is no error. The camera is the one given, else that of the image's EXIF (35 mm equivalent), else a diagonal
    field of view of 55° is assumed.
    """
    from ..people.jobs import checked, jobs_of

    jobs = checked(jobs_of(images, boxes, boxes_file, whole, keypoints_file is not None))  # before what takes time

    from tqdm import tqdm

    from tokenizer import load_body

    from ..people.fitting import DEFAULT_FIT
    from ..people.photos import Outputs, PredictOptions, load_for, predict_files
    from ..people.predict import synthetic_warning

    cameras = _cameras(fov, focal_px, intrinsics)
    source = None
    if keypoints_file is not None:
        from ..people.detection.keypoint_files import KeypointFile

        source = KeypointFile(keypoints_file, [job.image for job in jobs.todo])
        for note in source.notes:
            click.echo(f"Note: left out: {note}", err=True)
    body = load_body(body_source)
    regressor = load_for(body, regressor_file, tokenizer_file, device, precision)
    if warning := synthetic_warning(regressor):
        click.echo(f"Note: {warning}", err=True)
    outputs = Outputs(mesh=not no_mesh, overlay=not no_overlay)
    fitting = None if no_fit else DEFAULT_FIT
    options = PredictOptions(outputs, cameras, source, overwrite, strict, fitting, csv_file, json_file)
    with tqdm(total=len(jobs.todo), desc="predict", unit="image") as bar:
        done = predict_files(
            regressor, body, jobs, out, options, bar.update, say=lambda text: bar.write(text, file=sys.stderr)
        )
    _print(done, out)


def _cameras(fov: float | None, focal_px: float | None, intrinsics: str | None) -> CameraOptions:
    from ..people.cameras import CameraOptions, parse_intrinsics

    return CameraOptions(None if intrinsics is None else parse_intrinsics(intrinsics), focal_px, fov)


def _print(done: Predictions, out: Path) -> None:
    """Say which cameras were taken, what was done before, and what was written."""
    for source, count in done.cameras.most_common():
        images = "1 image" if count == 1 else f"{count} images"
        known = " (--focal-px, --fov or --intrinsics, where you know it)" if source.startswith("assumed") else ""
        click.echo(f"Camera of {images}: {source}{known}")
    if done.done_before:
        verb = "1 image is" if done.done_before == 1 else f"{done.done_before} images are"
        click.echo(f"{verb} done in {out} already (--overwrite does them again)")
    if done.files:
        files_word = "file" if len(done.files) == 1 else "files"
        names = ", ".join(file.name for file in done.files[:6])
        click.echo(f"Wrote {len(done.files)} {files_word} to {out}: {names}{', …' if len(done.files) > 6 else ''}")
