"""Command of ``pose-regressor`` that installs the detector of people."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenizer.engine.cli_options import InputPath
from tokenizer.engine.errors import fail, reports_user_errors

if TYPE_CHECKING:
    from ..people.detection.model_files import Installation


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
    from ..people.detection.model_files import install_models

    if remove and sources:
        raise fail("Give --from or --remove", got="both")
    if remove:
        _remove()
    else:
        _print(install_models(sources, lambda text: click.echo(text, err=True)))


def _remove() -> None:
    from ..people.detection.model_files import models_folder, remove_models

    removed = remove_models()
    click.echo(f"Removed {len(removed)} models from {models_folder()}" if removed else "No detector is installed")


def _print(result: Installation) -> None:
    """What is there now, what could not be had, and whether the runtime is missing."""
    from ..people.detection.model_files import MODEL_FILES, installed_models, models_folder

    for problem in result.problems:
        click.echo(f"Note: {problem}", err=True)
    for verb, names in (("Installed", result.installed), ("Already there:", result.present)):
        if names:
            click.echo(f"{verb} {', '.join(MODEL_FILES[name].file_name for name in names)}")
    landmarks = "heavy" if "heavy" in installed_models() else "full"
    click.echo(f"People are detected by {landmarks}; models are in {models_folder()}")
    if find_spec("ai_edge_litert") is None:
        click.echo("Note: running them needs ai-edge-litert: `pip install 'pose-token-hmr[people]'`", err=True)
