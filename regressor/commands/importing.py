"""Commands of ``pose-regressor`` that bring in weights trained elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from tokenizer.engine.cli_options import OUTPUT_FILE, TOKENIZER, InputPath
from tokenizer.engine.errors import reports_user_errors

from .options import REGRESSOR


@click.command("import-reference")
@click.argument("checkpoint", type=InputPath("checkpoint"))
@click.option(
    "--tokenizer",
    "tokenizer_file",
    required=True,
    type=TOKENIZER,
    help="What `pose-tokenizer import-reference` made of the tokenizer.pth released with it.",
)
@click.option(
    "--mean-params",
    type=InputPath("mean parameters"),
    help="smpl_mean_params.npz: taken where CHECKPOINT has none, and must agree where it has.",
)
@click.option("--out", required=True, type=OUTPUT_FILE, help="Exported regressor to write.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A size that the file does not contain, e.g. backbone.heads=12.",
)
@reports_user_errors
def import_reference(
    checkpoint: Path, tokenizer_file: Path, mean_params: Path | None, out: Path, assignments: tuple[str, ...]
) -> None:
    """Turn CHECKPOINT, a released tokenhmr_model*.ckpt of TokenHMR, into an exported regressor. Nothing in it is run.

    The body model's arrays in it are left behind; the weights stay under their makers' licence.
    """
    from tokenizer import load_tokenizer

    from ..checkpoints.reference import read_reference
    from ..checkpoints.regressor_file import save_regressor

    click.echo(f"Reading {checkpoint} into {out}")
    regressor = read_reference(
        checkpoint, load_tokenizer(tokenizer_file), mean_params=mean_params, assignments=assignments
    )
    save_regressor(out, regressor.network, regressor.config, regressor.tokenizer, regressor.provenance)
    weights = sum(parameter.numel() for parameter in regressor.network.parameters())
    backbone = regressor.config.backbone
    click.echo(
        f"Wrote {out}: {weights:,} weights; ViT {backbone.width} wide, {backbone.blocks[0]} blocks of "
        f"{backbone.heads} heads; bodies in SMPL's shape space"
    )


@click.command("pack")
@click.argument("regressor", type=REGRESSOR)
@click.option(
    "--card", type=InputPath("model card"), required=True, help="Text to put in: what it saw, where it fails."
)
@click.option("--out", required=True, type=OUTPUT_FILE, help="Regressor file to write.")
@reports_user_errors
def pack(regressor: Path, card: Path, out: Path) -> None:
    """Round the weights of REGRESSOR to float16 and put a model card in, as a file to give to others."""
    from tokenizer.engine.errors import fail
    from tokenizer.engine.files.text_files import read_text

    from ..checkpoints.regressor_file import pack_regressor

    try:
        text = read_text(card)
    except (OSError, ValueError) as error:
        raise fail(f"Cannot read {card}", got=error, expected="a text") from None
    pack_regressor(regressor, out, text)
    click.echo(f"Wrote {out}: {out.stat().st_size:,} bytes")


@click.command("import-backbone")
@click.argument("checkpoint", type=InputPath("checkpoint"))
@click.option("--preset", "preset_name", default="vit-h", help="vit-s | vit-b | vit-l | vit-h.")
@click.option("--resize-positions", is_flag=True, help="Fit positions learned on images of another size.")
@click.option("--expert", default=0, type=click.IntRange(min=0), help="Of ViTPose+, which has several: 0 is COCO's.")
@click.option("--out", required=True, type=OUTPUT_FILE, help="Backbone file to write.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. image_size=384.")
@reports_user_errors
def import_backbone(
    checkpoint: Path, preset_name: str, resize_positions: bool, expert: int, out: Path, assignments: tuple[str, ...]
) -> None:
    """Turn CHECKPOINT, weights of ViTPose or HMR2.0, into a backbone that `train --backbone` starts from.

    Their other parts are left behind; the weights stay under their makers' licence.
    """
    from tokenizer.engine.config import resolve

    from ..checkpoints.backbones import read_backbone, save_backbone
    from ..config import preset

    config = resolve(preset(preset_name), assignments=assignments)
    click.echo(f"Reading {checkpoint} into {out}")
    notes: list[str] = []
    tensors = read_backbone(checkpoint, config, resize_positions=resize_positions, expert=expert, note=notes.append)
    save_backbone(out, tensors, config, {"imported_from": checkpoint.name, **({"notes": notes} if notes else {})})
    for note in notes:
        click.echo(note)
    click.echo(f"Wrote {out}: {sum(value.numel() for value in tensors.values()):,} weights for preset {preset_name}")
