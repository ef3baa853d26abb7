"""Commands of ``pose-tokenizer`` that make pose stores and the embedded source: prepare, sample, fit-prior."""

from __future__ import annotations

from pathlib import Path

import click

from ..engine.cli_options import OUTPUT_FILE, POSE_STORE, InputPath
from ..engine.errors import reports_user_errors
from ..engine.files.own_inputs import refuse_own_inputs

_MOST_SHOWN = 20


@click.command()
@click.argument("sources", nargs=-1, required=True, type=InputPath("file or folder"))
@click.option("--out", required=True, type=OUTPUT_FILE, help="Pose store to write (.h5).")
@click.option("--fps", default=30.0, help="Frames a second to keep; never more than a file has.")
@click.option("--trim", default="1", help="Middle share of each clip to keep, e.g. 0.6; 0.6,moyo=0.8: as in the paper.")
@click.option("--val-fraction", default=0.1, help="Share of clips for val, where no folder is named val.")
@click.option(
    "--split",
    default="by-clip",
    type=click.Choice(["by-clip", "by-dataset"]),
    help="Without such folders: by the names of the takes, or by data set as in the paper.",
)
@click.option(
    "--test-share",
    default=0.0,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of the takes that are reserved as test out of what would be train, by their names.",
)
@click.option("--embedded", default=0, type=click.IntRange(min=0), help="Poses to add from the embedded source.")
@click.option("--composed", default=0, type=click.IntRange(min=0), help="Sitting, lunging, floor poses to add.")
@click.option("--max-jumps", default=0.01, help="Share of frames faster than 1440°/s that makes a clip broken.")
@click.option("--joint-map", type=InputPath("joint map"), help="JSON joint map for BVH, AMC (default: by names).")
@click.option("--licence", default="as the source's", help="Licence to record with every clip.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that read (default: one a core).")
@click.option("--strict", is_flag=True, help="Stop at the first broken file instead of listing it.")
@reports_user_errors
def prepare(
    sources: tuple[Path, ...],
    out: Path,
    fps: float,
    trim: str,
    val_fraction: float,
    split: str,
    test_share: float,
    embedded: int,
    composed: int,
    max_jumps: float,
    joint_map: Path | None,
    licence: str,
    workers: int | None,
    strict: bool,
) -> None:
    """Read mocap files or folders SOURCES into one pose store.

    SMPL parameters are known under the names of AMASS, BEDLAM, MOYO, MoSh++, AIST++, smplx, GVHMR, WHAM, ROMP and
    TokenHMR (npz, npy, pkl, pt), as are BVH and ASF/AMC.

    Folders named train, val and test decide the split; without them --split does. The data set of a clip is the known
    name (CMU, KIT, MOYO, …) among its folders, or else the folder given. An interrupted run resumes when the same
    command is given again.

    Mocap hardly holds people who sit, squat, lunge or lie: --composed adds poses made of angles drawn within human
    limits, as data set `composed`, to train on.
    """
    import shlex
    import time

    from tqdm import tqdm

    from ..mocap.joint_maps import read_joint_map
    from ..mocap.prepare import PrepareOptions
    from ..mocap.prepare import prepare as prepare_store
    from ..mocap.sampling import parse_trim

    refuse_own_inputs(out, *sources, joint_map)
    _check_numbers(fps, val_fraction, max_jumps)
    middle_share, trim_of = parse_trim(trim)
    options = PrepareOptions(
        fps,
        middle_share,
        val_fraction,
        read_joint_map(joint_map) if joint_map else None,
        licence,
        max_jumps,
        "by-dataset" if split == "by-dataset" else "by-clip",
        trim_of,
        test_share,
        {"embedded": embedded, "composed": composed},
    )
    click.echo(f"Reading mocap into {out}")
    numbers = {"--fps": fps, "--val-fraction": val_fraction, "--max-jumps": max_jumps, "--test-share": test_share}
    numbers |= {"--embedded": embedded, "--composed": composed}
    options_text = [*(f"{option}={value:g}" for option, value in numbers.items()), f"--trim={trim}", f"--split={split}"]
    command = shlex.join(["pose-tokenizer", "prepare", *map(str, sources), *options_text])
    started = time.perf_counter()
    bars: dict[str, tqdm] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for earlier in bars.values():
                earlier.close()
            bars[stage] = tqdm(total=total, initial=done, desc=stage, unit="B", unit_scale=True, delay=0.2)
        bars[stage].update(done - bars[stage].n)

    try:
        report = prepare_store(
            list(sources), out, options, command=command, workers=workers, strict=strict, progress=progress
        )
    finally:
        for bar in bars.values():
            bar.close()
    seconds = time.perf_counter() - started
    if report.resumed:
        click.echo(f"Of {report.resumed:,} files what an earlier run had read was taken")
    click.echo(report.table())
    click.echo(f"Read {report.frames_read:,} frames in {seconds:.1f} s, {report.frames_read / seconds:,.0f} a second")
    for kind, entries in (("broken", report.broken), ("skipped", report.skipped)):
        if entries:
            click.echo(f"{len(entries)} file{'s' * (len(entries) > 1)} {kind}:", err=True)
        for path, reason in entries:
            click.echo(f"  {reason}" if str(path) in reason else f"  {path}: {reason}", err=True)
    for note, paths in report.notes.items():
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        click.echo(f"{paths[0]}{more}: {note}", err=True)
    for path, other, one_split in report.near[:_MOST_SHOWN]:
        click.echo(f"{path} is nearly equal to {other}: both in {one_split}", err=True)
    if len(report.near) > _MOST_SHOWN:
        click.echo(f"and {len(report.near) - _MOST_SHOWN:,} more that are nearly equal to another", err=True)
    click.echo(f"Wrote {out}")


@click.command()
@click.option("--out", required=True, type=OUTPUT_FILE, help="Pose store to write (.h5).")
@click.option("--count", default=200_000, help="Training poses; a tenth as many are added for val.")
@click.option("--composed", default=0, help="Sitting, squatting, lunging and floor poses to add for training.")
@click.option("--seed", default=0, help="The same seed draws the same poses.")
@reports_user_errors
def sample(out: Path, count: int, composed: int, seed: int) -> None:
    """Draw poses from the embedded model of CMU motion into a pose store: training without any mocap files."""
    from ..mocap.drawn import write_samples

    write_samples(out, count, seed, composed)
    click.echo(f"Wrote {out}: {count + composed:,} poses to train on, {max(1, count // 10):,} to validate")


@click.command("fit-prior")
@click.argument("poses", type=POSE_STORE)
@click.option("--out", required=True, type=OUTPUT_FILE, help="npz to write.")
@click.option("--clusters", default=256, help="Gaussians in the mixture.")
@click.option("--rank", default=16, help="Directions kept in each.")
@click.option("--seed", default=0, help="Seed of the clustering.")
@reports_user_errors
def fit_prior(poses: Path, out: Path, clusters: int, rank: int, seed: int) -> None:
    """Fit the embedded pose source to the train split of the pose store POSES."""
    from ..mocap.prior import fit, save
    from ..mocap.store import open_store

    refuse_own_inputs(out, poses)
    model = fit(open_store(poses).poses("train"), clusters=clusters, rank=rank, seed=seed)
    save(model, out)
    click.echo(f"Wrote {out}: {out.stat().st_size:,} bytes")


def _check_numbers(fps: float, val_fraction: float, max_jumps: float) -> None:
    from ..engine.errors import fail

    if not fps > 0:
        raise fail("--fps is not a frame rate", got=f"{fps:g}", expected="frames per second, above 0")
    if not 0 <= val_fraction < 1:
        raise fail("--val-fraction is not a share of the clips", got=f"{val_fraction:g}", expected="0 or more, below 1")
    if not 0 <= max_jumps <= 1:
        raise fail("--max-jumps is not a share of the frames", got=f"{max_jumps:g}", expected="between 0 and 1")
