"""The command of ``pose-regressor`` that fine-tunes on a user's own photographs."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenizer.engine.cli_options import InputPath, body_option, device_option, note_on_budget
from tokenizer.engine.errors import reports_user_errors
from tokenizer.engine.training.bar import TrainingBar

from .options import REGRESSOR, THRESHOLDS, tokenizer_option

if TYPE_CHECKING:
    from tqdm import tqdm


class _Bars:
    """One bar after the other: the shards, then the steps."""

    def __init__(self) -> None:
        self._shards: tqdm | None = None
        self._steps = TrainingBar("finetune")
        self.pace: dict[str, float] = {}

    def preparing(self, done: int, total: int, people: int) -> None:
        from tqdm import tqdm

        if self._shards is None:
            self._shards = tqdm(desc="prepare", unit="shard")
        self._shards.total = total
        self._shards.set_postfix(people=people, refresh=False)
        self._shards.update(done - self._shards.n)

    def training(self, step: int, total: int, figures: dict[str, float]) -> None:
        self.pace.update(figures)
        self._steps(step, total, figures)

    def say(self, text: str) -> None:
        self.close()
        click.echo(text)

    def close(self) -> None:
        if self._shards is not None:
            self._shards.close()
        self._steps.close()


@click.command()
@click.argument("annotations", nargs=-1, required=True, type=InputPath("annotations"))
@click.option(
    "--images",
    type=InputPath("folder of photographs"),
    help="Folder of the photographs, if not the folder of ANNOTATIONS.",
)
@click.option(
    "--regressor",
    "regressor_file",
    required=True,
    type=REGRESSOR,
    help="Exported regressor to start from: an imported one, or your own.",
)
@tokenizer_option
@click.option(
    "--run",
    "run_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make for this training: checkpoints, log, figures.",
)
@click.option("--format", "data_format", default="coco", help="Format of ANNOTATIONS, as `prepare` knows them.")
@click.option("--val-share", default=0.2, help="Share of the photographs to keep for validation.")
@click.option(
    "--also",
    multiple=True,
    metavar="CROPS=SHARE",
    help="Mix in this share of other data, against forgetting, e.g. crops.h5=0.3.",
)
@click.option(
    "--tals",
    default="published",
    type=THRESHOLDS,
    metavar="published|none|FILE",
    help="Thresholds of the loss; FILE: made by `calibrate`.",
)
@click.option(
    "--trainable",
    default="none",
    metavar="all|none|N",
    help="What learns of the backbone: all, none, or its last N blocks; the rest always learns.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Training steps (default: 20 passes over the people, 200 to 2000 steps).",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Time budget in minutes, validation included: fewer steps, never more.",
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. optim.lr=3e-5.")
@click.option("--resume", is_flag=True, help="Resume from the latest valid checkpoint in --run, if there is one.")
@body_option
@device_option
@reports_user_errors
def finetune(
    annotations: tuple[Path, ...],
    images: Path | None,
    regressor_file: Path,
    tokenizer_file: Path,
    run_path: Path,
    data_format: str,
    val_share: float,
    also: tuple[str, ...],
    tals: str,
    trainable: str,
    steps: int | None,
    minutes: float | None,
    assignments: tuple[str, ...],
    resume: bool,
    body_source: str,
    device: str,
) -> None:
    """Fine-tune a regressor on your own photographs, of which 2D keypoints are known (JSON; see `prepare`, coco).

    ANNOTATIONS may be of another --format, or a folder that `prepare` made. Prepares them into RUN/data, trains with
    the published loss (only what is known counts), and writes RUN/regressor.pt with the weights of the least 2D error
    on held-out photographs, or of the least 3D error where bodies are annotated.

    The defaults move little, for nothing in 2D holds a body in depth: the backbone stays as it is, the rate is that of
    the earlier training and at most 1e-4. --also mixes crops of known bodies into each batch (a crop store, or a folder
    that `prepare` made), so that what 2D does not hold is not unlearned; only photographs are kept for validation.
    With thousands of photographs try --trainable 4 or all. On several GPUs use `prepare --val-share`, then
    `train --start`.
    """
    from tokenizer import load_body, load_tokenizer
    from tokenizer.engine.training.gpu import described
    from tokenizer.engine.training.throughput import pace_described

    from ..training.finetune import Callbacks, FinetuneOptions, Photographs
    from ..training.finetune import finetune as fine_tune

    vocabulary, body = load_tokenizer(tokenizer_file), load_body(body_source)
    click.echo(f"Fine-tuning {regressor_file} on {', '.join(map(str, annotations))} in {run_path}")
    if resume and (run_path / "config.json").exists():
        note_on_budget(run_path, minutes)
    with closing(_Bars()) as bars:
        result = fine_tune(
            Photographs(annotations, images, data_format, val_share, also),
            regressor_file,
            vocabulary,
            body,
            run_path,
            FinetuneOptions(tals, trainable, steps, minutes, assignments, device),
            resume=resume,
            callbacks=Callbacks(bars.preparing, bars.training, bars.say),
        )
    for line in filter(None, (pace_described(bars.pace), described(bars.pace))):
        click.echo(line)
    before, after = (figures["keypoints_2d_pct"] for figures in (result.before, result.after))
    click.echo(f"2D error of {result.val:,} held-out people: {before:.2f} % of the box before, {after:.2f} % after")
    if "mpjpe_mm" in result.after:
        click.echo(f"MPJPE: {result.before['mpjpe_mm']:.1f} mm before, {result.after['mpjpe_mm']:.1f} mm after")
    else:
        click.echo(
            f"Their bodies changed by {result.moved['mpjpe_mm']:.0f} mm ({result.moved['pa_mpjpe_mm']:.0f} mm "
            "aligned). There is no 3D truth here to show whether they improved."
        )
    if result.val < 10:
        click.echo(
            f"Note: {result.val} held-out people give no reliable figure; add photographs, or raise --val-share."
        )
    if not result.better:
        click.echo(
            f"Note: the held-out error ({result.judged}) did not fall. Keep {regressor_file}, or try more "
            "photographs, --trainable, or --steps."
        )
    body_words = [] if body_source == "open" else ["--body", body_source]
    command = [
        "pose-regressor",
        "predict",
        "PHOTO.jpg",
        "--whole",
        "--regressor",
        result.regressor,
        "--tokenizer",
        str(tokenizer_file),
        *body_words,
        "--out",
        "predictions",
    ]
    click.echo(f"Wrote {result.regressor}; predict with\n  {shlex.join(command)}")
