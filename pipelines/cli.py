"""Command line of the chain: ``pose-pipeline``. Commands import what they need when they run."""

from __future__ import annotations

from pathlib import Path

import click

from tokenizer.engine.errors import reports_user_errors
from tokenizer.engine.threads import wait_without_spinning


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="pose-token-hmr")
def main() -> None:
    """Both stages in order: poses, tokenizer, images, regressor, evaluation, report."""
    wait_without_spinning()


@main.command()
@click.option("--runs", default="runs/demo", type=click.Path(path_type=Path), help="Folder for everything made.")
@click.option("--preset", default="demo", help="demo | smoke | varied.")
@click.option("--mocap", default="", help="AMASS-layout folder to learn from (default: the embedded source).")
@click.option("--photo", default="", help="A photo to try the regressor on.")
@click.option("--box", default="", help="x0,y0,x1,y1 of the person in it (default: the whole photo).")
@click.option("--only", metavar="STAGE", help="Make this stage alone, whatever its state.")
@reports_user_errors
def demo(runs: Path, preset: str, mocap: str, photo: str, box: str, only: str | None) -> None:
    """Run the chain; what is up to date is kept. Prints the report's path last."""
    from .demo import run_demo, run_one
    from .stages import Settings

    settings = Settings(runs, preset, mocap, photo, box)
    if only is not None:
        run_one(settings, only, click.echo)
    else:
        click.echo(run_demo(settings, click.echo))


@main.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--prediction", type=click.Path(path_type=Path), help="Overlay picture of `pose-regressor predict`.")
@click.option("--out", type=click.Path(path_type=Path), help="Page to write (default: RUNS/report.html).")
@reports_user_errors
def report(runs: Path, prediction: Path | None, out: Path | None) -> None:
    """Write one page about what lies in the folder RUNS; parts that are missing say so."""
    from .report import write_report

    click.echo(f"Wrote {write_report(runs, out or runs / 'report.html', prediction)}")


@main.command()
@click.argument("crops", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="PNG to write.")
@click.option("--number", default=0, help="Which of the test images.")
@reports_user_errors
def picture(crops: Path, out: Path, number: int) -> None:
    """Save the person of one test image of CROPS as a picture of its own."""
    from .pictures import save_test_person

    save_test_person(crops, out, number)
    click.echo(f"Wrote {out}")


@main.command("bench-vit")
@click.option("--preset", "preset_name", default="vit-h", help="vit-s | vit-b | vit-l | vit-h.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), default=(1, 4), help="Crops at a time.")
@click.option("--repeats", default=3, type=click.IntRange(min=1), help="Runs of each, of which the best counts.")
@click.option("--threads", default=1, type=click.IntRange(min=1), help="Threads to compute with.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here, too.")
@reports_user_errors
def bench_vit_command(
    preset_name: str, batches: tuple[int, ...], repeats: int, threads: int, json_file: Path | None
) -> None:
    """Time a ViT regressor's forward pass on this CPU, in fp32 and bf16, beside plain PyTorch; weights are drawn."""
    import json

    from tokenizer.engine.checkpoint import write_text_atomically

    from .bench_vit import bench_vit, to_markdown

    figures = bench_vit(
        batches, repeats=repeats, threads=threads, preset_name=preset_name, say=lambda text: click.echo(text, err=True)
    )
    click.echo(to_markdown(figures))
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(figures, indent=2) + "\n")
