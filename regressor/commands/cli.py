"""Command line of stage 2: ``pose-regressor``. Commands import what they need when they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from tokenizer.engine.cli_options import (
    OUTPUT_FILE,
    POSE_STORE,
    InputPath,
    Program,
    body_option,
    device_option,
    note_on_budget,
    note_on_precision,
)
from tokenizer.engine.errors import reports_user_errors
from tokenizer.engine.training.threads import wait_without_spinning

from .data import prepare
from .detection import install_detector
from .evaluation import calibrate, compare, evaluate
from .finetune import finetune
from .importing import import_backbone, import_reference, pack
from .options import REGRESSOR, THRESHOLDS, tokenizer_option
from .predict import predict

if TYPE_CHECKING:
    from tokenizer import Body

    from ..config import RegressorConfig
    from ..datasets.mixtures import Mixture


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="pose-token-hmr")
def main() -> None:
    """Stage 2: learn to see poses in images, as tokens of the frozen vocabulary of stage 1.

    Begin with `synthesize`, which renders people, or with `prepare` on a data set: both make crops, square images of
    people with their annotation. `train` makes a regressor of them, `evaluate` measures it, `predict` uses it on
    photographs, `finetune` trains it further on photographs of yours.
    """
    wait_without_spinning()


for command in (
    *(prepare, finetune, evaluate, compare, calibrate, predict),
    *(import_reference, import_backbone, pack, install_detector),
):
    main.add_command(command)


@main.command()
@click.argument("poses", type=POSE_STORE)
@click.option("--out", required=True, type=OUTPUT_FILE, help="Crop store to write (.h5).")
@click.option(
    "--domain",
    default="suit",
    metavar="suit|varied",
    help="suit: a colour for each body part, which a CPU learns in minutes; varied: skin, clothes and backgrounds.",
)
@click.option(
    "--train",
    "train_count",
    default=6000,
    type=click.IntRange(min=1),
    help="Images to train on, in poses of the train split.",
)
@click.option(
    "--val",
    "val_count",
    default=500,
    type=click.IntRange(min=0),
    help="Images to validate on, in poses of the val split.",
)
@click.option(
    "--test",
    "test_count",
    default=500,
    type=click.IntRange(min=0),
    help="Images to measure on, in other poses of the val split.",
)
@click.option("--size", default=128, type=click.IntRange(min=16), help="Pixels of a crop.")
@click.option("--seed", default=0, help="The same seed makes the same images.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that render (default: one a core).")
@click.option("--sheet", type=OUTPUT_FILE, help="Contact sheet to write (default: next to --out).")
@reports_user_errors
def synthesize(
    poses: Path,
    out: Path,
    domain: str,
    train_count: int,
    val_count: int,
    test_count: int,
    size: int,
    seed: int,
    workers: int | None,
    sheet: Path | None,
) -> None:
    """Render synthetic people in the poses of the pose store POSES into a crop store, with exact annotation."""
    import numpy as np
    from tqdm import tqdm

    from tokenizer.mocap.store import open_store

    from ..datasets.crop_dataset import open_crops
    from ..datasets.synthetic.contact_sheet import contact_sheet
    from ..datasets.synthetic.render import SyntheticConfig, make_crops, split_poses
    from ..export.mesh import write_image

    config = SyntheticConfig.of(domain, size=size, seed=seed)
    store = open_store(poses)
    counts = {"train": train_count, "val": val_count, "test": test_count}
    click.echo(f"Rendering {sum(counts.values()):,} {domain} images of {size} px into {out}")
    with tqdm(total=sum(counts.values()), unit="image", desc="crops", delay=1e-3) as bar:
        make_crops(
            split_poses(store.poses("train"), store.poses("val"), seed),
            counts,
            out,
            config,
            provenance={"poses": store.digest},
            workers=workers,
            progress=lambda done: bar.update(done),
        )
    picture = sheet or out.with_suffix(".png")
    crops = open_crops(out)
    shown = min(32, crops.count("train"))
    write_image(picture, contact_sheet(crops.sample(np.arange(shown), "train")))
    click.echo(f"Wrote {out}, and {picture} to look at")


@main.command()
@click.argument("crops", nargs=-1, required=True)
@tokenizer_option
@click.option(
    "--run",
    "--run-folder",
    "run_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make for this training: checkpoints, log, figures. (Under torchrun write --run-folder.)",
)
@click.option(
    "--mix",
    help="Sampling weights of the data sets: NAME=WEIGHT,… or mix_tokenhmr (TokenHMR's, with BEDLAM), or mix_all "
    "(HMR2.0's). Default: in proportion to their sizes.",
)
@click.option("--cache", type=click.Path(path_type=Path), help="Where shards behind URLs are kept (default: ~/.cache).")
@click.option("--cache-gb", type=click.FloatRange(min=0), default=50.0, help="Most gigabytes to keep there.")
@click.option("--out", type=OUTPUT_FILE, help="Also copy the exported regressor here.")
@click.option(
    "--preset", "preset_name", help="small | small-6d | keypoints | vit-s | vit-b | vit-l | vit-h (default: small)."
)
@click.option(
    "--loss",
    type=click.Choice(["preset", "means", "published"]),
    default="preset",
    help="published: TokenHMR's, as in the vit presets. means: averages over valid entries, as in small (no mean pose "
    "is added to the decoded pose). preset: that of the preset.",
)
@click.option("--compat-reference", is_flag=True, help="The published loss with the habits of the released code.")
@click.option(
    "--tals",
    type=THRESHOLDS,
    metavar="published|none|FILE",
    help="Thresholds of threshold-adaptive loss scaling; FILE: made by `calibrate` (default: the preset's).",
)
@click.option("--config", "config_file", type=InputPath("configuration"), help="JSON of settings over the preset.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. optim.lr=5e-4.")
@click.option(
    "--backbone",
    "backbone_file",
    type=InputPath("backbone", "Make one with `pose-regressor import-backbone`"),
    help="Imported backbone to start from.",
)
@click.option("--start", type=REGRESSOR, help="Exported regressor whose weights to start from.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), help="Time budget in minutes, validation included."
)
@click.option("--resume", is_flag=True, help="Resume from the latest valid checkpoint in --run, if there is one.")
@click.option(
    "--best-by",
    type=click.Choice(["mpjpe_mm", "pa_mpjpe_mm", "orientation_deg", "keypoints_2d_pct"]),
    help="Validation metric that selects the best weights (mpjpe_mm; keypoints_2d_pct where val has no bodies).",
)
@click.option(
    "--export",
    type=click.Choice(["best", "last"]),
    default="best",
    help="Which weights to export: best on val, or last.",
)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the network.")
@click.option("--tensorboard", is_flag=True, help="Write RUN/tensorboard, too (extra: tensorboard).")
@click.option("--no-pictures", is_flag=True, help="Save no overlays of val people to RUN/pictures.")
@body_option
@device_option
@reports_user_errors
def train(
    crops: tuple[str, ...],
    tokenizer_file: Path,
    run_path: Path,
    mix: str | None,
    cache: Path | None,
    cache_gb: float,
    out: Path | None,
    preset_name: str | None,
    loss: Literal["preset", "means", "published"],
    compat_reference: bool,
    tals: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    backbone_file: Path | None,
    start: Path | None,
    minutes: float | None,
    resume: bool,
    best_by: str | None,
    export: Literal["best", "last"],
    compiled: bool,
    tensorboard: bool,
    no_pictures: bool,
    body_source: str,
    device: str,
) -> None:
    """Train a regressor on CROPS and export it to RUN/regressor.pt.

    CROPS are crop stores, folders of shards, folders of such folders, URLs of folders of shards, or text files that
    list any of these; NAME= before one names it for --mix. With --preset keypoints they are pose stores: the regressor
    sees 2D keypoints in place of images, and people, views and a detector's errors are drawn anew at every step.

    On several GPUs: torchrun --nproc_per_node N -m regressor train CROPS --run-folder RUN … The processes share out
    each batch (optim.batch), and the result is that of one.

    What counts, the later over the earlier: the preset, --loss and --tals, --config, --set. With --start the network is
    that file's, and so are its other settings, unless --preset names one (of the same network) to take them from.
    """
    from dataclasses import replace
    from functools import partial

    from tokenizer import load_tokenizer
    from tokenizer.engine.config import resolve
    from tokenizer.engine.distributed import rank
    from tokenizer.engine.errors import fail
    from tokenizer.engine.training.bar import TrainingBar
    from tokenizer.engine.training.gpu import described
    from tokenizer.engine.training.run import RunFolder, RunOptions
    from tokenizer.engine.training.throughput import pace_described

    from ..config import preset
    from ..datasets.keypoints.samples import open_evidence
    from ..datasets.mixtures import open_mixture
    from ..datasets.remote import default_cache
    from ..evaluation.scoring_bodies import load_scoring_bodies
    from ..export.mesh import copy_file
    from ..losses.choice import with_loss
    from ..training.initialization import starting_config
    from ..training.train import train_regressor

    if start is not None and backbone_file is not None:
        remedy = "Give --start for a whole regressor, which holds a backbone, or --backbone for that alone"
        raise fail("A training starts from one file", got="--start and --backbone", next_step=remedy)
    resuming = resume and (run_path / "config.json").exists()
    config = preset(preset_name or "small")
    if start is not None and not resuming:
        config = starting_config(start, config if preset_name else None)
    config = with_loss(config, form=loss, compat_reference=compat_reference, tals=tals)
    config = resolve(config, file=config_file, assignments=assignments)
    config = _with_options(config, best_by, device, compiled, no_pictures, minutes)
    if mix is None and resuming:
        mix = str(RunFolder.settings(run_path)["regressor"].get("data", {}).get("mix", ""))
    if mix is not None:
        config = replace(config, data=replace(config.data, mix=mix))
    vocabulary, bodies = load_tokenizer(tokenizer_file), load_scoring_bodies(body_source)
    body = bodies.predicted
    opener = partial(open_evidence, body=body, points=config.backbone.kind == "keypoints")
    mixture = open_mixture(crops, config.data.mix, default_cache(cache, cache_gb), opener)
    first, pace = rank() == 0, {}
    if first:
        click.echo(f"{'Resuming' if resuming else 'Training'} a regressor on {', '.join(crops)} in {run_path}")
        if resuming:
            note_on_budget(run_path, minutes)
        else:
            note_on_precision(config.precision, config.device)
        _print_notes(mixture, body)
    with TrainingBar("regressor", shown=first) as bar:

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            pace.update(figures)
            bar(step, steps, figures)

        exported = train_regressor(
            mixture,
            vocabulary,
            run_path,
            config,
            body,
            options=RunOptions(
                backbone=backbone_file, start=start, resume=resuming, export=export, tensorboard=tensorboard
            ),
            true_bodies=bodies.true,
            progress=progress,
        )
    if not first:
        return
    if out is not None:
        copy_file(exported, out)
    for line in filter(None, (pace_described(pace), described(pace))):
        click.echo(line)
    click.echo(f"Wrote {out or exported}")


if __name__ == "__main__":
    main()


def _with_options(
    config: RegressorConfig,
    best_by: str | None,
    device: str,
    compiled: bool,
    no_pictures: bool,
    minutes: float | None,
) -> RegressorConfig:
    """Return ``config`` with those options of ``train`` that stand for a setting."""
    from dataclasses import replace

    from tokenizer.engine.config import resolve

    if best_by is not None:
        config = resolve(config, assignments=[f"best_by={best_by}"])
    if device != "auto":
        config = replace(config, device=device)
    if compiled:
        config = replace(config, compile=True)
    if no_pictures:
        config = replace(config, pictures=0)
    if minutes is not None:
        config = replace(config, optim=replace(config.optim, budget_s=60 * minutes))
    return config


def _print_notes(mixture: Mixture, body: Body) -> None:
    from ..datasets.crop_dataset import check_body_model

    if mixture.note:
        click.echo(f"Mixture: {mixture.note}")
    datasets = mixture.stores.values()
    for note in (*(dataset.note for dataset in datasets), check_body_model(datasets, body)):
        if note:
            click.echo(f"Note: {note}", err=True)
