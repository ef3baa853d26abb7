"""Command line of stage 1: ``pose-tokenizer``. Commands import what they need when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ..engine.cli_options import (
    OUTPUT_FILE,
    POSE_STORE,
    RUN_FOLDER,
    TOKENIZER,
    InputPath,
    Program,
    body_option,
    device_option,
    note_on_budget,
    note_on_precision,
)
from ..engine.errors import reports_user_errors
from ..engine.files.own_inputs import refuse_own_inputs
from ..engine.training.threads import wait_without_spinning
from .clips import complete, decode, encode
from .poses import fit_prior, prepare, sample

_WEIGHTS = click.Choice(["best", "last"])


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="pose-token-hmr")
def main() -> None:
    """Stage 1: learn a vocabulary of body poses from mocap and freeze it into one file, a tokenizer.

    Begin with `sample`, or with `prepare` on mocap of your own: both make a pose store, one file of body poses. `train`
    makes a tokenizer of it, `evaluate` and `report` measure that; `encode`, `decode` and `complete` use it on clips of
    motion.
    """
    wait_without_spinning()


for command in (prepare, sample, fit_prior, encode, decode, complete):
    main.add_command(command)


@main.command()
@click.argument("poses", type=POSE_STORE)
@click.option(
    "--run",
    "--run-folder",
    "run_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make for this training: checkpoints, log, figures. (Under torchrun write --run-folder.)",
)
@click.option("--out", type=OUTPUT_FILE, help="Also copy the exported tokenizer here.")
@click.option(
    "--preset", "preset_name", default="compact", help="compact | compact-(vq|rvq) | attention | people | paper."
)
@click.option("--config", "config_file", type=InputPath("configuration"), help="JSON of settings over the preset.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. optim.lr=5e-4.")
@click.option("--mix", help="Shares of data sets in a batch: cmu=.12,moyo=.16 or paper (default: the preset's).")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), help="Time budget in minutes, validation included."
)
@click.option("--resume", is_flag=True, help="Resume from the latest valid checkpoint in --run, if there is one.")
@click.option("--export", type=_WEIGHTS, default="best", help="Which weights to export: best MPJPE on val, or last.")
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the networks.")
@click.option("--tensorboard", is_flag=True, help="Write RUN/tensorboard, too (extra: tensorboard).")
@body_option
@device_option
@reports_user_errors
def train(
    poses: Path,
    run_path: Path,
    out: Path | None,
    preset_name: str,
    config_file: Path | None,
    assignments: tuple[str, ...],
    mix: str | None,
    minutes: float | None,
    resume: bool,
    export: Literal["best", "last"],
    compiled: bool,
    tensorboard: bool,
    body_source: str,
    device: str,
) -> None:
    """Train a tokenizer on the pose store POSES and export it to RUN/tokenizer.h5.

    On several GPUs: torchrun --nproc_per_node N -m tokenizer train POSES --run-folder RUN. The processes share out each
    batch, and the result is that of one.
    """
    from dataclasses import replace

    from ..body.model import load_body
    from ..config import preset
    from ..engine.config import resolve
    from ..engine.distributed import rank
    from ..engine.files.atomic import write_bytes_atomically
    from ..engine.training.bar import TrainingBar
    from ..engine.training.run import RunOptions
    from ..mocap.still_joints import still_notes
    from ..mocap.store import open_store
    from ..training.mixture import Mixture
    from ..training.train import train_tokenizer

    refuse_own_inputs(out, poses, config_file)
    config = resolve(preset(preset_name), file=config_file, assignments=assignments)
    config = replace(config, device=device if device != "auto" else config.device, compile=compiled or config.compile)
    if mix is not None:
        config = replace(config, mix=mix)
    if minutes is not None:
        config = replace(config, optim=replace(config.optim, budget_s=60 * minutes))
    store = open_store(poses)
    for note in (store.note, *still_notes(store, "train")) if rank() == 0 else ():
        if note:
            click.echo(f"Note: {note}", err=True)
    body = load_body(body_source)
    resuming = resume and (run_path / "config.json").exists()
    first = rank() == 0
    if first:
        click.echo(f"{'Resuming' if resuming else 'Training'} a tokenizer on {poses} in {run_path}")
        if resuming:
            note_on_budget(run_path, minutes)
        else:
            note_on_precision(config.precision, config.device)
        if not resuming:
            click.echo(Mixture.of(store, config.mix).note)
    with TrainingBar("tokenizer", shown=first) as progress:
        artifact = train_tokenizer(
            store,
            run_path,
            config,
            body,
            options=RunOptions(resume=resuming, export=export, tensorboard=tensorboard),
            progress=progress,
        )
    if not first:
        return
    if out is not None:
        write_bytes_atomically(out, artifact.read_bytes())
    click.echo(_summary(out or artifact))


@main.command()
@click.argument("tokenizer", type=TOKENIZER)
@click.argument("poses", type=POSE_STORE)
@click.option("--split", default="val", help="Split of the store to measure on.")
@click.option(
    "--all-vertices",
    is_flag=True,
    help="Error of vertices (MPVPE) over the full mesh, slow, instead of 1,024 of them.",
)
@click.option(
    "--robustness",
    is_flag=True,
    help="Also poses unlike mocap: joints turned at random, composed poses, hidden limbs.",
)
@click.option("--json", "json_file", type=OUTPUT_FILE, help="Write the figures here, too.")
@body_option
@device_option
@reports_user_errors
def evaluate(
    tokenizer: Path,
    poses: Path,
    split: str,
    all_vertices: bool,
    robustness: bool,
    json_file: Path | None,
    body_source: str,
    device: str,
) -> None:
    """Measure the exported TOKENIZER on a split of the pose store POSES: errors in mm, code usage, token stability.

    TOKENIZER may be `shipped`, the one that comes with this package.
    """
    import json

    import torch
    from tqdm import tqdm

    from ..body.model import load_body
    from ..engine.errors import fail
    from ..engine.files.atomic import write_text_atomically
    from ..engine.training.precision import resolve_device
    from ..evaluation.reconstruction import PROTOCOL, evaluate_tokenizer, token_stability
    from ..evaluation.repair import PROTOCOL as ROBUSTNESS
    from ..evaluation.repair import robustness as robustness_figures
    from ..frozen import load_tokenizer
    from ..mocap.drawn import mocap_poses
    from ..mocap.still_joints import still_notes
    from ..mocap.store import open_store

    refuse_own_inputs(json_file, tokenizer, poses)
    target = resolve_device(device)
    frozen = load_tokenizer(tokenizer).to(target)
    store = open_store(poses)
    held_out = torch.from_numpy(store.poses(split)).to(target)
    if not len(held_out):
        raise fail(f"{poses} has no poses in split {split!r}", next_step="See its splits with `pose-tokenizer inspect`")
    for note in still_notes(store, split):
        click.echo(f"Note: {note}", err=True)
    body = load_body(body_source).to(target)
    vertices = torch.arange(len(body.v_template), device=target) if all_vertices else body.subset(1024)
    figures = evaluate_tokenizer(
        frozen,
        held_out,
        body,
        vertices=vertices,
        batch=64 if all_vertices else 1024,
        progress=lambda chunks: iter(tqdm(chunks, desc="evaluate", unit="batch")),
    )
    for degrees in (1, 3, 5):
        figures[f"ids_kept_at_{degrees}_deg"] = float(token_stability(frozen, held_out, degrees).mean())
    protocol = PROTOCOL.format(vertices="all" if all_vertices else len(vertices))
    if robustness:
        click.echo("Measuring robustness")
        known = torch.from_numpy(mocap_poses(store, "train")).to(target)
        figures |= robustness_figures(frozen, held_out, known, body)
        protocol = f"{protocol}; {ROBUSTNESS}"
    for name, value in figures.items():
        click.echo(f"{name:28s} {value:10.3f}")
    click.echo(f"Protocol: {protocol}. Data: {poses}, split {split}, digest {store.digest[:12]}.")
    if json_file is not None:
        about = {"protocol": protocol, "poses_digest": store.digest, "split": split, "tokenizer": frozen.digest}
        write_text_atomically(json_file, json.dumps({**about, **figures}, indent=2) + "\n")


@main.command()
@click.argument("run_path", metavar="RUN", type=RUN_FOLDER)
@click.option("--out", required=True, type=OUTPUT_FILE, help="File to write.")
@click.option("--export", "weights", type=_WEIGHTS, default="best", help="Which weights: best MPJPE on val, or last.")
@click.option("--half", is_flag=True, help="Round the weights to float16: half the bytes.")
@click.option("--card", type=InputPath("model card"), help="Text to put into the file: what to know before using it.")
@click.option("--figures", type=InputPath("figures"), help="JSON of `evaluate` to put into the file.")
@reports_user_errors
def export(
    run_path: Path,
    out: Path,
    weights: Literal["best", "last"],
    half: bool,
    card: Path | None,
    figures: Path | None,
) -> None:
    """Export the run folder RUN, finished or not, as one file, from its newest checkpoint."""
    from ..engine.errors import fail
    from ..engine.files.text_files import read_json, read_text
    from ..training.train import export_run

    refuse_own_inputs(out, run_path / "config.json", *(run_path / "checkpoints").glob("*.pt"), card, figures)
    about: dict[str, object] = {}
    for name, path, read in (("card", card, read_text), ("figures", figures, read_json)):
        try:
            about |= {name: read(path)} if path else {}
        except (OSError, ValueError) as error:
            raise fail(f"Cannot read {path}", got=error, expected="a text, or the JSON of `evaluate`") from None
    export_run(run_path, out, weights, half=half, about=about)
    click.echo(_summary(out))


@main.command()
@click.argument("file", type=InputPath("file"))
@click.option("--upgrade", is_flag=True, help="Rewrite a pose store of an older version in this one's first.")
@reports_user_errors
def inspect(file: Path, upgrade: bool) -> None:
    """Print what is in FILE, an exported tokenizer or a pose store, whose content is compared with its digest."""
    from ..evaluation.describe import describe
    from ..mocap.store import upgrade as upgrade_store

    if upgrade:
        click.echo(f"{file} is of version {upgrade_store(file).version} now")
    click.echo(describe(file))


def _summary(path: Path) -> str:
    from ..evaluation.describe import describe

    return f"Wrote {path}\n{describe(path)}"


@main.command("import-reference")
@click.argument("checkpoint", type=InputPath("checkpoint"))
@click.option("--out", required=True, type=OUTPUT_FILE, help="Exported tokenizer to write (.h5).")
@reports_user_errors
def import_reference(checkpoint: Path, out: Path) -> None:
    """Turn CHECKPOINT, the released tokenizer.pth of TokenHMR, into an exported tokenizer. Nothing in it is run."""
    from ..artifact import export_tokenizer
    from ..reference import read_reference

    refuse_own_inputs(out, checkpoint)
    tokenizer, config = read_reference(checkpoint)
    export_tokenizer(tokenizer, config, out)
    click.echo(_summary(out))


@main.command("export-reference")
@click.argument("tokenizer", type=TOKENIZER)
@click.option("--out", required=True, type=OUTPUT_FILE, help="tokenizer.pth to write.")
@reports_user_errors
def export_reference(tokenizer: Path, out: Path) -> None:
    """Write the exported TOKENIZER (preset paper, or imported) as a tokenizer.pth that TokenHMR loads."""
    from ..frozen import load_tokenizer
    from ..reference import write_reference

    refuse_own_inputs(out, tokenizer)
    write_reference(load_tokenizer(tokenizer).tokenizer, out)
    click.echo(f"Wrote {out}")


@main.command()
@click.argument("run_path", metavar="RUN", type=RUN_FOLDER)
@click.option("--out", type=OUTPUT_FILE, help="Page to write (default: RUN/report.html).")
@click.option("--poses", type=POSE_STORE, help="Pose store (default: the one it was trained on).")
@click.option(
    "--bench",
    type=InputPath("benchmark"),
    help="JSON of `make bench-tokenizer` (default: in RUN or its parent folder).",
)
@body_option
@device_option
@reports_user_errors
def report(
    run_path: Path, out: Path | None, poses: Path | None, bench: Path | None, body_source: str, device: str
) -> None:
    """Write one page about the run folder RUN: how it learned, what it loses, what its tokens mean."""
    from functools import partial

    from tqdm import tqdm

    from ..body.model import load_body
    from ..engine.training.precision import resolve_device
    from ..report.write import write_report

    body = load_body(body_source).to(resolve_device(device))
    out = out or run_path / "report.html"
    click.echo(f"Measuring {run_path} and writing {out}")
    write_report(
        run_path,
        out,
        body,
        poses=poses,
        benchmark=bench,
        steps=lambda name: partial(tqdm, desc=name, leave=False),
    )
    click.echo(f"Wrote {out}")
