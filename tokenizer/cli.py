"""Command line of stage 1: ``pose-tokenizer``. Commands import what they need when they run."""

from __future__ import annotations

from pathlib import Path

import click

from .cli_clips import complete, decode, encode
from .engine.cli_options import body_option, device_option
from .engine.errors import reports_user_errors
from .engine.threads import wait_without_spinning


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="pose-token-hmr")
def main() -> None:
    """Stage 1: learn a vocabulary of body poses from mocap and freeze it into one file."""
    wait_without_spinning()


for command in (encode, decode, complete):
    main.add_command(command)


@main.command()
@click.argument("poses", type=click.Path(path_type=Path))
@click.option("--run", "run_path", required=True, type=click.Path(path_type=Path), help="Run folder to make.")
@click.option("--out", type=click.Path(path_type=Path), help="Also copy the exported tokenizer here.")
@click.option("--preset", "preset_name", default="compact", help="compact | compact-vq | paper.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="JSON of settings over the preset.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. optim.lr=5e-4.")
@click.option("--mix", help="Shares of data sets in a batch: cmu=.12,moyo=.16 or paper (default: the preset's).")
@click.option("--minutes", type=float, help="Fit the number of steps to this time.")
@click.option("--resume", is_flag=True, help="Go on with the run in --run, if there is one.")
@body_option
@device_option
@reports_user_errors
def train(
    poses: Path, run_path: Path, out: Path | None, preset_name: str, config_file: Path | None,
    assignments: tuple[str, ...], mix: str | None, minutes: float | None, resume: bool, body_source: str, device: str,
) -> None:  # fmt: skip
    """Train a tokenizer on the pose store POSES and export it to RUN/tokenizer.h5."""
    from dataclasses import replace

    from tqdm import tqdm

    from .body.model import load_body
    from .config import preset
    from .engine.checkpoint import write_bytes_atomically
    from .engine.options import resolve
    from .mixture import Mixture
    from .mocap.store import open_store
    from .train import train_tokenizer

    config = resolve(preset(preset_name), file=config_file, assignments=assignments)
    config = replace(config, device=device if device != "auto" else config.device)
    if mix is not None:
        config = replace(config, mix=mix)
    if minutes is not None:
        config = replace(config, optim=replace(config.optim, budget_s=60 * minutes))
    store = open_store(poses)
    body = load_body(body_source)
    resuming = resume and (run_path / "config.json").exists()
    click.echo(f"{'Resuming' if resuming else 'Training'} a tokenizer on {poses} in {run_path}")
    if not resuming:
        click.echo(Mixture.of(store, config.mix).note)
    with tqdm(total=config.optim.steps, unit="step", desc="tokenizer") as bar:

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            bar.total = steps
            bar.update(step - bar.n)
            if step % 20 == 0 or "val_mpjpe_mm" in figures:
                bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()}, refresh=False)

        artifact = train_tokenizer(store, run_path, config, body, resume=resuming, progress=progress)
    if out is not None:
        write_bytes_atomically(out, artifact.read_bytes())
    click.echo(_summary(out or artifact))


@main.command()
@click.argument("tokenizer", type=click.Path(path_type=Path))
@click.argument("poses", type=click.Path(path_type=Path))
@click.option("--split", default="val", help="Split of the store to judge on.")
@click.option("--all-vertices", is_flag=True, help="MPVPE over the full mesh (slow) instead of 1,024 vertices.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here, too.")
@body_option
@device_option
@reports_user_errors
def evaluate(
    tokenizer: Path, poses: Path, split: str, all_vertices: bool, json_file: Path | None, body_source: str, device: str
) -> None:
    """Judge the exported TOKENIZER on a split of the pose store POSES: errors in mm, code usage, id stability."""
    import json

    import torch
    from tqdm import tqdm

    from .body.model import load_body
    from .engine.checkpoint import write_text_atomically
    from .engine.errors import fail
    from .engine.precision import resolve_device
    from .evaluate import PROTOCOL, evaluate_tokenizer, id_stability
    from .frozen import load_tokenizer
    from .mocap.store import open_store

    target = resolve_device(device)
    frozen = load_tokenizer(tokenizer).to(target)
    store = open_store(poses)
    held_out = torch.from_numpy(store.poses(split)).to(target)
    if not len(held_out):
        raise fail(f"{poses} has no poses in split {split!r}", next_step="See its splits with `pose-tokenizer inspect`")
    body = load_body(body_source).to(target)
    vertices = torch.arange(len(body.v_template), device=target) if all_vertices else body.subset(1024)
    figures = evaluate_tokenizer(
        frozen, held_out, body, vertices=vertices, batch=64 if all_vertices else 1024,
        progress=lambda chunks: iter(tqdm(chunks, desc="evaluate", unit="batch")),
    )  # fmt: skip
    for degrees in (1, 3, 5):
        figures[f"ids_kept_at_{degrees}_deg"] = float(id_stability(frozen, held_out, degrees).mean())
    for name, value in figures.items():
        click.echo(f"{name:22s} {value:10.3f}")
    protocol = PROTOCOL.format(vertices="all" if all_vertices else len(vertices))
    click.echo(f"Protocol: {protocol}. Data: {poses}, split {split}, digest {store.digest[:12]}.")
    if json_file is not None:
        about = {"protocol": protocol, "poses": store.digest, "split": split, "tokenizer": frozen.digest}
        write_text_atomically(json_file, json.dumps({**about, **figures}, indent=2) + "\n")


@main.command()
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write.")
@reports_user_errors
def export(run_path: Path, out: Path) -> None:
    """Export the newest checkpoint of the run folder RUN, finished or not, as one file."""
    from .train import export_run

    export_run(run_path, out)
    click.echo(_summary(out))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@reports_user_errors
def inspect(file: Path) -> None:
    """Print what is in FILE, an exported tokenizer or a pose store."""
    from .describe import describe

    click.echo(describe(file))


def _summary(path: Path) -> str:
    from .describe import describe

    return f"Wrote {path}\n{describe(path)}"


@main.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Pose store to write (.h5).")
@click.option("--fps", default=30.0, help="Frames a second to keep; never more than a file has.")
@click.option("--trim", default=1.0, help="Middle share of each clip to keep, e.g. 0.6.")
@click.option("--val-fraction", default=0.1, help="Share of clips for val, where no val folder says.")
@click.option(
    "--split",
    default="by-clip",
    type=click.Choice(["by-clip", "by-dataset"]),
    help="Where no folder says: by each clip's own poses, or by data set as in the paper.",
)
@click.option("--max-jumps", default=0.01, help="Share of frames faster than 1440°/s that makes a clip broken.")
@click.option("--joint-map", type=click.Path(path_type=Path), help="JSON joint map for BVH (default: CMU's).")
@click.option("--licence", default="as the source's", help="Licence to record with every clip.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that read (default: one a core).")
@click.option("--strict", is_flag=True, help="Stop at the first broken file instead of listing it.")
@reports_user_errors
def prepare(
    sources: tuple[Path, ...], out: Path, fps: float, trim: float, val_fraction: float, split: str,
    max_jumps: float, joint_map: Path | None, licence: str, workers: int | None, strict: bool,
) -> None:  # fmt: skip
    """Read mocap files or folders SOURCES into one pose store.

    AMASS-layout npz, pickles of MOYO and MoSh++, poses prepared by TokenHMR's own code, and BVH are known.

    Folders named train, val and test decide the split; without them --split does. The data set of a clip is the known
    name (CMU, KIT, MOYO, …) among its folders, or else the folder given. A run that was cut short goes on where it was
    when the same command is given again.
    """
    import shlex
    import time

    from tqdm import tqdm

    from .engine.errors import fail
    from .mocap.bvh import read_joint_map
    from .mocap.prepare import PrepareOptions
    from .mocap.prepare import prepare as prepare_store

    if not fps > 0 or not 0 < trim <= 1 or not 0 <= val_fraction < 1 or not 0 <= max_jumps <= 1:
        got = f"--fps {fps} --trim {trim} --val-fraction {val_fraction} --max-jumps {max_jumps}"
        raise fail("Impossible numbers", got=got, expected="fps above 0, trim in (0, 1], val-fraction in [0, 1), "
                   "max-jumps in [0, 1]")  # fmt: skip
    options = PrepareOptions(
        fps,
        trim,
        val_fraction,
        read_joint_map(joint_map) if joint_map else None,
        licence,
        max_jumps,
        "by-dataset" if split == "by-dataset" else "by-clip",
    )
    click.echo(f"Reading mocap into {out}")
    numbers = {"--fps": fps, "--trim": trim, "--val-fraction": val_fraction, "--max-jumps": max_jumps}
    written = [*(f"{option}={value:g}" for option, value in numbers.items()), f"--split={split}"]
    command = shlex.join(["pose-tokenizer", "prepare", *map(str, sources), *written])
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
    click.echo(f"Wrote {out}")


@main.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Pose store to write (.h5).")
@click.option("--count", default=200_000, help="Training poses; a tenth as many are added for val.")
@click.option("--seed", default=0, help="The same seed draws the same poses.")
@reports_user_errors
def sample(out: Path, count: int, seed: int) -> None:
    """Draw poses from the embedded model of CMU motion into a pose store: training without any mocap files."""
    from .mocap.prior import write_samples

    write_samples(out, count, seed)
    click.echo(f"Wrote {out}: {count:,} poses to train on, {max(1, count // 10):,} to validate")


@main.command("fit-prior")
@click.argument("poses", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="npz to write.")
@click.option("--clusters", default=256, help="Gaussians in the mixture.")
@click.option("--rank", default=16, help="Directions kept in each.")
@click.option("--seed", default=0, help="Seed of the clustering.")
@reports_user_errors
def fit_prior(poses: Path, out: Path, clusters: int, rank: int, seed: int) -> None:
    """Fit the embedded pose source to the train split of the pose store POSES."""
    from .mocap.prior import fit, save
    from .mocap.store import open_store

    model = fit(open_store(poses).poses("train"), clusters=clusters, rank=rank, seed=seed)
    save(model, out)
    click.echo(f"Wrote {out}: {out.stat().st_size:,} bytes")


@main.command("import-reference")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Exported tokenizer to write (.h5).")
@reports_user_errors
def import_reference(checkpoint: Path, out: Path) -> None:
    """Turn CHECKPOINT, the released tokenizer.pth of TokenHMR, into an exported tokenizer. Nothing in it is run."""
    from .artifact import export_tokenizer
    from .reference import read_reference

    tokenizer, config = read_reference(checkpoint)
    export_tokenizer(tokenizer, config, out)
    click.echo(_summary(out))


@main.command("export-reference")
@click.argument("tokenizer", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="tokenizer.pth to write.")
@reports_user_errors
def export_reference(tokenizer: Path, out: Path) -> None:
    """Write the exported TOKENIZER (preset paper, or imported) as a tokenizer.pth that TokenHMR loads."""
    from .frozen import load_tokenizer
    from .reference import write_reference

    write_reference(load_tokenizer(tokenizer).tokenizer, out)
    click.echo(f"Wrote {out}")
