"""Commands of ``pose-tokenizer`` that use a finished tokenizer on motion clips."""

from __future__ import annotations

from pathlib import Path

import click

from ..engine.cli_options import OUTPUT_FILE, TOKENIZER, InputPath, body_option, device_option
from ..engine.errors import reports_user_errors
from ..engine.files.own_inputs import refuse_own_inputs

_joint_map_option = click.option(
    "--joint-map", type=InputPath("joint map"), help="JSON joint map for BVH, AMC (default: by names)."
)


@click.command()
@click.argument("tokenizer", type=TOKENIZER)
@click.argument("clip", type=InputPath("clip"))
@click.option("--out", required=True, type=OUTPUT_FILE, help="npz of tokens to write.")
@_joint_map_option
@body_option
@device_option
@reports_user_errors
def encode(tokenizer: Path, clip: Path, out: Path, joint_map: Path | None, body_source: str, device: str) -> None:
    """Turn CLIP, any motion that `prepare` reads, into tokens of TOKENIZER, and print what they lose.

    All else of an AMASS-layout clip is carried along; it may be hours long.
    """
    from ..body.model import load_body
    from ..codec import encode_clip
    from ..engine.training.precision import resolve_device
    from ..frozen import load_tokenizer
    from ..mocap.joint_maps import read_joint_map

    refuse_own_inputs(out, clip, tokenizer, joint_map)
    joints = read_joint_map(joint_map) if joint_map else None
    target = resolve_device(device)
    frozen = load_tokenizer(tokenizer).to(target)
    report = encode_clip(frozen, clip, out, load_body(body_source).to(target), joints)
    for note in report.notes:
        click.echo(f"{clip}: {note}", err=True)
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
    from ..codec import decode_clip
    from ..engine.training.precision import resolve_device
    from ..frozen import load_tokenizer

    refuse_own_inputs(out, tokens, tokenizer)
    frames = decode_clip(load_tokenizer(tokenizer).to(resolve_device(device)), tokens, out)
    click.echo(f"Wrote {out}: {frames:,} frames")


@click.command()
@click.argument("tokenizer", type=TOKENIZER)
@click.argument("clip", type=InputPath("clip"))
@click.option(
    "--hide",
    "hidden",
    required=True,
    multiple=True,
    metavar="JOINT",
    help="Joint to guess: a name such as left_elbow, or left_arm, right_arm, left_leg, right_leg, trunk, head. "
    "May be repeated.",
)
@click.option("--out", required=True, type=OUTPUT_FILE, help="AMASS-layout npz to write.")
@_joint_map_option
@device_option
@reports_user_errors
def complete(
    tokenizer: Path, clip: Path, hidden: tuple[str, ...], out: Path, joint_map: Path | None, device: str
) -> None:
    """Guess hidden joints of CLIP, any motion that `prepare` reads, from the others; those stay as they are."""
    from ..codec import complete_clip
    from ..engine.training.precision import resolve_device
    from ..frozen import load_tokenizer
    from ..mocap.joint_maps import read_joint_map

    refuse_own_inputs(out, clip, tokenizer, joint_map)
    joints = read_joint_map(joint_map) if joint_map else None
    frozen = load_tokenizer(tokenizer).to(resolve_device(device))
    frames, notes = complete_clip(frozen, clip, list(hidden), out, joints)
    for note in notes:
        click.echo(f"{clip}: {note}", err=True)
    click.echo(f"Wrote {out}: {frames:,} frames")
