"""Commands of ``pose-pipeline`` that measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from regressor.commands.options import REGRESSOR
from tokenizer.engine.cli_options import OUTPUT_FILE, POSE_STORE, TOKENIZER, InputPath, device_option
from tokenizer.engine.errors import fail, reports_user_errors

if TYPE_CHECKING:
    from tokenizer.engine.training.precision import Precision

    from .benchmarks.figures import Figure


_MOCAP = InputPath("mocap folder", words=("",))


@click.command()
@click.option("--runs", default="runs/demo", type=click.Path(path_type=Path), help="Folder of the chain to measure.")
@click.option(
    "--mocap",
    default="",
    show_default=False,
    type=_MOCAP,
    help="Mocap folder with train and val, for figures on real motion.",
)
@reports_user_errors
def bench(runs: Path, mocap: str) -> None:
    """Measure the figures this project promises: each with what is asked of it, the verdict, its commands.

    The exit status is 0 where all goals are met, else 1.
    """
    from .benchmarks.bench import run_bench

    if runs != Path("runs/demo") and not runs.is_dir():  # the default one is made where it is missing
        raise fail(f"No folder at {runs}", next_step="Make the chain to measure with `make demo`, or check the path")
    figures = run_bench(runs, mocap, click.echo)
    if not mocap:
        click.echo("\nFigures on real motion need MOCAP=DIR (--mocap).")
    if not (runs / "evaluation.json").exists():
        click.echo(f"Figures of the regressor need {runs / 'evaluation.json'}: make evaluate")
    click.echo(f"Wrote {runs / 'bench.json'}")
    _judge(figures)


def _judge(figures: list[Figure]) -> None:
    """Print the table and the verdict; the process ends with status 1 where a goal is not met."""
    from .benchmarks.figures import table, verdict

    click.echo(f"\n{table(figures)}\n\n{verdict(figures)}")
    if any(figure.met is False for figure in figures):
        raise SystemExit(1)


@click.command("bench-prepare")
@click.argument("mocap", type=InputPath("mocap folder"))
@click.option("--folder", default="runs/bench", type=click.Path(path_type=Path), help="Where the copies are made.")
@click.option("--copies", default=20, type=click.IntRange(min=1), help="How often the clips are copied.")
@reports_user_errors
def bench_prepare(mocap: Path, folder: Path, copies: int) -> None:
    """Measure how fast the AMASS-layout clips in MOCAP, copied many times, become a pose store, and its memory.

    The exit status is 0 where all goals are met, else 1.
    """
    from .benchmarks.bench_prepare import prepare_figures

    _judge(prepare_figures(mocap, folder, click.echo, copies))


@click.command("bench-tokenizer")
@click.option(
    "--mocap",
    default="",
    show_default=False,
    type=_MOCAP,
    help="Mocap folder with train and val (default: the embedded source).",
)
@click.option("--poses", type=POSE_STORE, help="A pose store, instead of --mocap.")
@click.option("--out", default="runs/bench", type=click.Path(path_type=Path), help="Folder to write into.")
@click.option("--only", "names", multiple=True, metavar="NAME", help="A candidate; may be repeated (default: all).")
@click.option("--minutes", default=1.0, type=click.FloatRange(min=0, min_open=True), help="Training time of each.")
@click.option("--seeds", default=3, type=click.IntRange(min=1), help="Trainings of each.")
@reports_user_errors
def bench_tokenizer(
    mocap: str, poses: Path | None, out: Path, names: tuple[str, ...], minutes: float, seeds: int
) -> None:
    """Train tokenizers of many kinds for the same time; one table: bits, errors, token stability, use as a prior."""
    from .benchmarks.bench_tokenizer import CANDIDATES, bench_tokenizers, markdown
    from .demo import run_command

    out.mkdir(parents=True, exist_ok=True)
    if poses is None:
        poses = out / "poses.h5"
        source = ("prepare", mocap) if mocap else ("sample",)
        run_command(("pose-tokenizer", *source, "--out", str(poses)))
    rows = bench_tokenizers(poses, out, list(names or CANDIDATES), minutes, seeds, click.echo)
    click.echo(f"\n{markdown(rows)}\n\nWrote {out / 'bench_tokenizer.json'}")


@click.command("bench-vit")
@click.option("--preset", "preset_name", default="vit-h", help="vit-s | vit-b | vit-l | vit-h.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), default=(1, 4), help="Crops at a time.")
@click.option("--repeats", default=3, type=click.IntRange(min=1), help="Runs of each, of which the best counts.")
@click.option("--threads", default=1, type=click.IntRange(min=1), help="Threads to compute with.")
@click.option("--json", "json_file", type=OUTPUT_FILE, help="Write the figures here, too.")
@reports_user_errors
def bench_vit_command(
    preset_name: str, batches: tuple[int, ...], repeats: int, threads: int, json_file: Path | None
) -> None:
    """Time a ViT regressor's forward pass on this CPU, in fp32 and bf16, and plain PyTorch's; weights are random."""
    import json

    import torch

    from tokenizer.engine.files.atomic import write_text_atomically
    from tokenizer.engine.training.precision import slow_precision

    from .benchmarks.bench_vit import bench_vit, to_markdown

    if note := slow_precision("bf16", torch.device("cpu")):
        click.echo(f"Note: {note}", err=True)
    figures = bench_vit(
        batches, repeats=repeats, threads=threads, preset_name=preset_name, say=lambda text: click.echo(text, err=True)
    )
    click.echo(to_markdown(figures))
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(figures, indent=2) + "\n")


@click.command("bench-crops")
@click.option("--image", type=InputPath("image"), help="Make all images of this one (default: drawn ones).")
@click.option("--count", default=16, type=click.IntRange(min=1), help="Images of each size.")
@click.option("--repeats", default=5, type=click.IntRange(min=1), help="Rounds, of which the best counts.")
@click.option("--size", default=256, type=click.IntRange(min=16, max=1024), help="Pixels of a crop's side.")
@click.option("--json", "json_file", type=OUTPUT_FILE, help="Write the figures here, too.")
@reports_user_errors
def bench_crops_command(image: Path | None, count: int, repeats: int, size: int, json_file: Path | None) -> None:
    """Time crops from JPEG bytes, decoded, cut and augmented, on one core and in two processes.

    For comparison, from the same images: decoding alone, the steps of the published loader, whole images warped, and
    crops from shards as training reads them.
    """
    import json

    from tokenizer.engine.files.atomic import write_text_atomically

    from .benchmarks.bench_crops import bench_crops, to_markdown

    rows = bench_crops(
        count=count, repeats=repeats, size=size, image=image, say=lambda text: click.echo(text, err=True)
    )
    click.echo(to_markdown(rows))
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(rows, indent=2) + "\n")


@click.command("bench-step")
@click.option("--preset", "preset_name", default="vit-h", help="As for `pose-regressor train`.")
@click.option("--batch", default=48, type=click.IntRange(min=1), help="Samples a step.")
@click.option("--steps", default=10, type=click.IntRange(min=1), help="Steps, of which the median counts.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    help="Number format of the network.",
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="As for `pose-regressor train`.")
@click.option("--json", "json_file", type=OUTPUT_FILE, help="Write the figures here, too.")
@device_option
@reports_user_errors
def bench_step_command(
    preset_name: str,
    batch: int,
    steps: int,
    precision: Precision,
    assignments: tuple[str, ...],
    json_file: Path | None,
    device: str,
) -> None:
    """Time training steps of a regressor on made-up samples; the share of the device's matrix rate that they reach."""
    import json

    from tokenizer.engine.files.atomic import write_text_atomically

    from .benchmarks.bench_step import bench_step, to_text

    figures = bench_step(
        preset_name,
        batch,
        steps=steps,
        precision=precision,
        device=device,
        assignments=assignments,
        say=lambda text: click.echo(text, err=True),
    )
    click.echo(to_text(figures))
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(figures, indent=2) + "\n")


@click.command("bench-predict")
@click.option("--images", default=8, type=click.IntRange(min=1), help="Photographs to predict.")
@reports_user_errors
def bench_predict_command(images: int) -> None:
    """Time what `pose-regressor predict` does with a photograph: network, mesh, picture; and the exact renderer."""
    from .benchmarks.bench_predict import bench_predict, to_text

    click.echo(to_text(bench_predict(images)))


@click.command("bench-people")
@click.argument("real", type=InputPath("folder of multiview and photos"))
@click.option("--regressor", "regressor_file", default="shipped", type=REGRESSOR, help="Keypoint regressor.")
@click.option("--tokenizer", "tokenizer_file", default="shipped", type=TOKENIZER, help="Its tokenizer.")
@click.option("--poses", type=POSE_STORE, help="Pose store, for simulated val.")
@click.option("--photo", type=InputPath("photograph"), help="Photograph of one person, for the time it takes.")
@click.option("--threads", default=2, type=click.IntRange(min=1), help="Threads of the networks.")
@reports_user_errors
def bench_people_command(
    real: Path, regressor_file: Path, tokenizer_file: Path, poses: Path | None, photo: Path | None, threads: int
) -> None:
    """Measure bodies of real people in the folder REAL: a calibrated clip, photographs; and simulated val.

    The exit status is 0 where all goals are met, else 1.
    """
    import torch

    from regressor import load_regressor
    from tokenizer import load_body

    from .benchmarks.bench_people import bench_people

    torch.set_num_threads(threads)
    regressor = load_regressor(regressor_file, tokenizer=tokenizer_file)
    if regressor.config.backbone.kind != "keypoints":
        raise fail(f"{regressor_file} sees images", expected="a regressor of the preset keypoints")
    _judge(bench_people(real, regressor, load_body(), poses=poses, photo=photo, say=click.echo))
