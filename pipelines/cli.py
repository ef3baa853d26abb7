"""Command line of the chain: ``pose-pipeline``. Commands import what they need when they run."""

from __future__ import annotations

from pathlib import Path

import click

from tokenizer.engine.cli_options import CROPS, OUTPUT_FILE, TOKENIZER, InputPath, Program
from tokenizer.engine.errors import fail, reports_user_errors
from tokenizer.engine.training.threads import wait_without_spinning

from .cli_bench import (
    bench,
    bench_crops_command,
    bench_people_command,
    bench_predict_command,
    bench_prepare,
    bench_step_command,
    bench_tokenizer,
    bench_vit_command,
)

_OVERLAY = InputPath("picture", "Make one with `pose-regressor predict`")
_CHAIN = InputPath("folder", "Make one with `make demo` or `pose-pipeline demo`")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="pose-token-hmr")
def main() -> None:
    """Both stages in order: poses, tokenizer, images, regressor, evaluation, report.

    Begin with `demo`; `pose-tokenizer` and `pose-regressor` run single steps of it.
    """
    wait_without_spinning()


for command in (
    bench,
    bench_crops_command,
    bench_people_command,
    bench_predict_command,
    bench_prepare,
    bench_step_command,
    bench_tokenizer,
    bench_vit_command,
):
    main.add_command(command)


@main.command()
@click.option("--runs", default="runs/demo", type=click.Path(path_type=Path), help="Folder for everything made.")
@click.option(
    "--preset",
    default="demo",
    help="demo (at most 15 minutes on 2 cores) | smoke (2 minutes, tries the "
    "commands) | varied (as demo, with images harder to learn from).",
)
@click.option(
    "--mocap",
    default="",
    show_default=False,
    help="Folder of mocap files to learn poses from (default: the embedded source).",
)
@click.option(
    "--photo",
    default="",
    show_default=False,
    help="A photo to try the regressor on (default: an unseen synthetic image).",
)
@click.option(
    "--box",
    default="",
    show_default=False,
    metavar="X0,Y0,X1,Y1",
    help="The person in the photo, pixels (default: all of it).",
)
@click.option("--until", metavar="STAGE", help="Stop after this stage: poses, tokenizer, crops, regressor, evaluate.")
@click.option("--only", metavar="STAGE", help="Make this stage alone, also where it is up to date.")
@reports_user_errors
def demo(runs: Path, preset: str, mocap: str, photo: str, box: str, until: str | None, only: str | None) -> None:
    """Run both stages end to end: poses, tokenizer, crops, regressor, evaluate, report.

    Stages that are up to date (same settings, same data) are skipped, and an interrupted training resumes. The last
    line printed is the path of the result.
    """
    from .demo import run_demo, run_one
    from .stages import Settings

    if only is not None and until is not None:
        remedy = "Give --until STAGE for all up to a stage, or --only STAGE for that stage alone"
        raise fail("What to make is not clear", got="--only and --until", next_step=remedy)
    settings = Settings(runs, preset, mocap, photo, box)
    summary = run_one(settings, only, click.echo) if only else run_demo(settings, click.echo, until)
    click.echo(summary)


@main.command()
@click.option("--runs", default="runs/weights", type=click.Path(path_type=Path), help="Folder for everything made.")
@click.option(
    "--mocap",
    default="",
    show_default=False,
    help="Folder of mocap files to learn poses from (default: the embedded source alone).",
)
@click.option("--assets", type=click.Path(path_type=Path), help="Folder of what ships (default: that of the package).")
@click.option("--preset", default="full", help="full (what ships) | smoke (tries the commands).")
@click.option("--until", default="", metavar="STAGE", help="Stop after this stage: poses, tokenizer, figures.")
@reports_user_errors
def weights(runs: Path, mocap: str, assets: Path | None, preset: str, until: str) -> None:
    """Make the weights that ship with the package anew: poses, vocabulary, keypoint regressor.

    Stages that are up to date are skipped, and an interrupted training resumes.
    """
    from .weights import ASSETS, make_weights

    click.echo(make_weights(runs, mocap, assets or ASSETS, click.echo, preset=preset, until=until))


@main.command()
@click.argument("runs", type=_CHAIN)
@click.option("--prediction", type=_OVERLAY, help="Overlay picture of `pose-regressor predict`.")
@click.option("--out", type=OUTPUT_FILE, help="Page to write (default: RUNS/report.html).")
@reports_user_errors
def report(runs: Path, prediction: Path | None, out: Path | None) -> None:
    """Write one page about the results in the folder RUNS; missing parts are named."""
    from .report import write_report

    click.echo(f"Wrote {write_report(runs, out or runs / 'report.html', prediction)}")


@main.command()
@click.argument("crops", type=CROPS)
@click.option("--out", required=True, type=OUTPUT_FILE, help="PNG to write.")
@click.option("--number", default=0, help="Which of the test images.")
@reports_user_errors
def picture(crops: Path, out: Path, number: int) -> None:
    """Save the person of one test image of CROPS as a picture of its own."""
    from .pictures import save_test_person

    save_test_person(crops, out, number)
    click.echo(f"Wrote {out}")


@main.command("overview")
@click.argument("runs", type=_CHAIN)
@click.option("--number", "numbers", multiple=True, default=(0, 1, 2), help="A test image; may be repeated.")
@click.option("--out", required=True, type=OUTPUT_FILE, help="PNG to write.")
@reports_user_errors
def draw_overview(runs: Path, numbers: tuple[int, ...], out: Path) -> None:
    """Draw test images, the predicted tokens and their bodies, from the chain in RUNS."""
    from regressor.export.mesh import write_image

    from .overview import overview
    from .report import Chain

    chain = Chain(runs)
    write_image(out, overview(chain.crops, chain.regressor, chain.body, list(numbers)))
    click.echo(f"Wrote {out}")


@main.command()
@click.option(
    "--runs",
    default="runs/demo",
    type=click.Path(path_type=Path),
    help="Folder of the chain, to read from and write into.",
)
@click.option("--tokenizer", "tokenizer_file", type=TOKENIZER, help="Exported tokenizer (default: RUNS/tokenizer.h5).")
@click.option("--samples", default=200, help="Bodies that start at their exact pose.")
@click.option("--steps", default=100, help="Steps of each descent.")
@click.option("--camera", default="reference", help="As for `pose-regressor calibrate`.")
@click.option("--tals", "thresholds", default="derived", help="Thresholds: derived | published.")
@click.option("--seed", default=0, help="The first seed; the same one draws the same bodies and cameras.")
@click.option("--seeds", default=3, help="How many seeds from there on.")
@reports_user_errors
def drift(
    runs: Path,
    tokenizer_file: Path | None,
    samples: int,
    steps: int,
    camera: str,
    thresholds: str,
    seed: int,
    seeds: int,
) -> None:
    """Show what fitting 2D does to exact bodies: free rotations against tokens, plain against TALS.

    Leaves RUNS/drift.md, drift.svg and drift.json, and writes RUNS/report.html anew where there is one.
    """
    from tqdm import tqdm

    from .drift import RUNS_A_SEED, TRIALS, DriftOptions, run_drift
    from .report import rewrite_report

    source = tokenizer_file or runs / "tokenizer.h5"
    if not source.is_file():
        raise fail(
            f"No tokenizer at {source}", next_step="Make it with `make tokenizer`, or name another by --tokenizer"
        )
    click.echo(f"Following 2D from {samples} exact bodies, with the tokens of {source}, into {runs / 'drift.svg'}")
    with tqdm(total=TRIALS + RUNS_A_SEED * seeds, unit="descent", desc="drift", delay=1e-3) as bar:
        drift_report = run_drift(
            runs,
            source,
            DriftOptions(samples, steps, camera, thresholds, seed, seeds),
            progress=lambda _: bar.update(),
        )
    click.echo(drift_report.to_markdown())
    click.echo(f"Wrote {runs / 'drift.svg'}, {runs / 'drift.md'} and {runs / 'drift.json'}")
    if page := rewrite_report(runs):
        click.echo(f"Wrote {page} anew")
