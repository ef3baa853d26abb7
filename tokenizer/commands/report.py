"""Command of ``pose-tokenizer`` that shows a training run on one page."""

from __future__ import annotations

from pathlib import Path

import click

from ..engine.cli_options import OUTPUT_FILE, POSE_STORE, RUN_FOLDER, InputPath, body_option, device_option
from ..engine.errors import reports_user_errors


@click.command()
@click.argument("run_path", metavar="RUN", type=RUN_FOLDER)
@click.option("--out", type=OUTPUT_FILE, help="Page to write (default: RUN/report.html).")
@click.option("--poses", type=POSE_STORE, help="Pose store (default: the one it was trained on).")
@click.option(
    "--bench", type=InputPath("benchmark"), help="JSON of `make bench-tokenizer` (default: in or beside RUN)."
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
