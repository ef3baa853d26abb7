"""Commands of ``pose-regressor`` that bring in data."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tokenizer.engine.cli_options import InputPath
from tokenizer.engine.errors import reports_user_errors

_SHOWN = 20


@click.command()
@click.argument("data_format", metavar="FORMAT")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of shards to fill.")
@click.option(
    "--images",
    type=InputPath("folder of images"),
    help="Folder that image names are relative to (default: the folder of SRC).",
)
@click.option(
    "--split",
    help="Split of data whose folder does not name one (default: train or test, depending on the format).",
)
@click.option(
    "--val-share",
    default=0.0,
    help="Share of train to hold out as val: whole sequences, or photographs where none are.",
)
@click.option(
    "--margin",
    type=click.FloatRange(1, 4),
    default=1.5,
    help="Side of the stored crop ÷ side of the box; ViTs may need more.",
)
@click.option("--pixels", type=click.IntRange(min=16), default=256, help="Maximum resolution of the side of a box.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, help="JPEG quality.")
@click.option("--people", type=click.IntRange(min=1), default=1000, help="About how many people go into a shard.")
@click.option(
    "--scale-unit",
    type=click.Choice(["auto", "pixels", "pixels/200"]),
    default="auto",
    help="Unit of box scales in an evaluation npz.",
)
@click.option(
    "--subset",
    type=click.Choice(["emdb1", "emdb2", "all"]),
    default="emdb1",
    help="Which sequences of EMDB.",
)
@click.option(
    "--min-confidence", type=click.FloatRange(0, 1), default=0.3, help="Of 4dhumans: 2D keypoints below it are unknown."
)
@click.option(
    "--min-keypoints", type=click.IntRange(0, 44), default=4, help="Of 4dhumans: people with fewer are left out."
)
@click.option(
    "--max-fit-loss",
    type=click.FloatRange(min=0),
    default=31000.0,
    help="Of 4dhumans: people fitted to 2D with a larger loss are left out.",
)
@click.option(
    "--corrupt",
    type=InputPath("list of corrupt pictures"),
    help="Of 4dhumans: file of keys of corrupt pictures, one a line.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes that read (default: one a core).")
@reports_user_errors
def prepare(
    data_format: str,
    sources: tuple[Path, ...],
    out: Path,
    images: Path | None,
    split: str | None,
    val_share: float,
    margin: float,
    pixels: int,
    quality: int,
    people: int,
    scale_unit: str,
    subset: str,
    min_confidence: float,
    min_keypoints: int,
    max_fit_loss: float,
    corrupt: Path | None,
    workers: int | None,
) -> None:
    """Convert a data set into shards, once: crops as JPEG, with a margin, and their annotation.

    FORMAT and its SRC: evaluation-npz (3dpw_test.npz, emdb.npz), coco (JSON of keypoints, as COCO, OpenPose and
    AlphaPose write it), 4dhumans (tars), bedlam (tars, or npz of labels), 3dpw (sequenceFiles, or its folders or
    files), emdb (its folder), synthetic (a crop store). What is broken is left out and listed. Repeat the
    command to resume an interrupted run.

    --val-share 0.05 holds out about that much of train as val, by a hash of names: people of one photograph and frames
    of one sequence stay together, and fall on the same side at every run.

    Of 4dhumans the rules that HMR2.0 was trained by decide who is taken: see --min-confidence and below; pose and shape
    count only together. Everybody left out is listed with the reason.
    """
    from tqdm import tqdm

    from ..datasets.annotation import FitRules, ReadOptions, read_keys
    from ..datasets.prepare import LEFT_OUT, StoreOptions, prepare_shards
    from ..datasets.readers import default_split

    chosen = split or default_split(data_format)
    keys = frozenset[str]() if corrupt is None else read_keys(corrupt)
    fits = FitRules(min_confidence, min_keypoints, max_fit_loss, keys)
    click.echo(f"Converting {', '.join(map(str, sources))} ({data_format}) into {out}")
    with tqdm(unit="shard", desc="prepare") as bar:

        def progress(done: int, total: int, count: int) -> None:
            bar.total = total
            bar.set_postfix(people=f"{count:,}", refresh=False)
            bar.update(done - bar.n)

        report = prepare_shards(
            data_format,
            list(sources),
            out,
            ReadOptions(images, chosen, people, subset, scale_unit, val_share, fits),
            StoreOptions(margin, pixels, quality),
            command=" ".join(["pose-regressor", *sys.argv[1:]]),
            workers=workers,
            progress=progress,
        )
    for name, about in report.about.items():
        if name in ("boxes", "keypoints", "scale_unit", "cameras", "note", "held_out"):
            click.echo(f"{name.replace('_', ' ')}: {about}")
    for reason, count in sorted(report.skipped.items()):
        click.echo(f"left out, {reason}: {count:,}")
    if report.broken:
        click.echo(f"left out, broken: {len(report.broken):,}, all listed in {out / LEFT_OUT}")
        for name, reason in report.broken[:_SHOWN]:
            click.echo(f"  {name}: {reason}")
    counts = ", ".join(f"{count:,} in {name}" for name, count in sorted(report.people.items()))
    resumed = f", {report.resumed} of them already there" if report.resumed else ""
    click.echo(f"Wrote {out}: people: {counts}; {report.photos:,} photographs; {report.shards} shards{resumed}")
