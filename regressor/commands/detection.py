"""Command of ``pose-regressor`` that installs the detector of people."""

from __future__ import annotations

from pathlib import Path

import click

from tokenizer.engine.cli_options import InputPath
from tokenizer.engine.errors import reports_user_errors


@click.command("install-detector")
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=InputPath("file"),
    metavar="WHEEL|TGZ|TFLITE",
    help="Install from a file or folder that is here already; may be repeated.",
)
@click.option("--remove", is_flag=True, help="Remove the installed models.")
@reports_user_errors
def install_detector(sources: tuple[Path, ...], remove: bool) -> None:
    """Download the models that find people in photographs, once, into the user's cache.

    They are BlazePose's (Apache-2.0): pose_detection and pose_landmark_full out of the wheel mediapipe 0.10.21,
    pose_landmark_heavy out of the npm package @mediapipe/pose. Nothing in these packages is run, and each file is
    checked by its digest. Afterwards no network is needed. Running the models takes the extra `people`.
    """
    from tokenizer.engine.errors import fail

    from ..people.detection.model_files import MODEL_FILES, install_models, models_folder, remove_models

    if remove and sources:
        raise fail("Give --from or --remove", got="both")
    if remove:
        removed = remove_models()
        click.echo(f"Removed {len(removed)} models from {models_folder()}" if removed else "No detector is installed")
        return
    result = install_models(sources, lambda text: click.echo(text, err=True))
    for problem in result.problems:
        click.echo(f"Note: {problem}", err=True)
    for verb, names in (("Installed", result.installed), ("Already there:", result.present)):
        if names:
            click.echo(f"{verb} {', '.join(MODEL_FILES[name].file_name for name in names)}")
    heavy = "heavy" in (*result.installed, *result.present)
    click.echo(f"People are detected by {'heavy' if heavy else 'full'}; models are in {models_folder()}")
