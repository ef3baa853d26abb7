"""Commands of ``pose-tokenizer`` that use a finished tokenizer on motion clips."""

from __future__ import annotations

from pathlib import Path

import click

from .engine.cli_options import OUTPUT_FILE, TOKENIZER, InputPath, body_option, device_option
from .engine.errors import reports_user_errors


@click.command()
@click.argument("tokenizer", type=TOKENIZER)
@click.argument("clip", type=InputPath("clip"))
@click.option("--out", required=True, type=OUTPUT_FILE, help="npz of tokens to write.")
@body_option
@device_option
@reports_user_errors
def encode(tokenizer: Path, clip: Path, out: Path, body_source: str, device: str) -> None:
    """Turn the AMASS-layout CLIP into tokens of TOKENIZER, and print what they lose. All else is carried along."""
    from .body.model import load_body
    from .codec import encode_clip
    from .engine.precision import resolve_device
    from .frozen import load_tokenizer

    target = resolve_device(device)
    frozen = load_tokenizer(tokenizer).to(target)
    report = encode_clip(frozen, clip, out, load_body(body_source).to(target))
    click.echo(
        f"Wrote {out}: {report.frames:,} frames × {frozen.num_tokens} tokens; decoded again they are off by "
        f"{report.mpjpe_mm:.2f} mm (p95 {report.mpjpe_p95_mm:.2f} mm), {report.rotation_deg:.2f}° a joint"
    )


@click.command()
@click.argument("tokenizer", type=TOKENIZER)
@click.argument("tokens", type=InputPath("tokens", "Make them with `pose-tokenizer encode`"))
@click.option("--out", required=True, type=OUTPUT_FILE, help="AMASS-layout npz to write.")
@device_option
@reports_user_errors
def decode(tokenizer: Path, tokens: Path, out: Path, device: str) -> None:
    """Turn TOKENS, written by `encode`, back into an AMASS-layout clip."""
    from .codec import decode_clip
    from .engine.precision import resolve_device
    from .frozen import load_tokenizer

    frames = decode_clip(load_tokenizer(tokenizer).to(resolve_device(device)), tokens, out)
    click.echo(f"Wrote {out}: {frames:,} frames")


@click.command()
@click.argument("tokenizer", type=TOKENIZER)
@click.argument("clip", type=InputPath("clip"))
@click.option(
    "--hide", "hidden", required=True, multiple=True, metavar="JOINT",
    help="Joint to guess: a name such as left_elbow, or left_arm, right_arm, left_leg, right_leg, trunk, head. "
         "May be repeated.",
)  # fmt: skip
@click.option("--out", required=True, type=OUTPUT_FILE, help="AMASS-layout npz to write.")
@device_option
@reports_user_errors
def complete(tokenizer: Path, clip: Path, hidden: tuple[str, ...], out: Path, device: str) -> None:
    """Guess hidden joints of the AMASS-layout CLIP from the others; those stay as they are."""
    from .codec import complete_clip
    from .engine.precision import resolve_device
    from .frozen import load_tokenizer

    frames = complete_clip(load_tokenizer(tokenizer).to(resolve_device(device)), clip, list(hidden), out)
    click.echo(f"Wrote {out}: {frames:,} frames")
