"""The chain as data: what every stage makes, from what, and by which commands."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from tokenizer.engine.errors import fail


@dataclass(frozen=True)
class Preset:
    """Sizes of one chain; minutes are what each training may take."""

    poses: int
    tokenizer: str
    tokenizer_minutes: float
    domain: str
    crops: tuple[int, int, int]
    regressor: str
    regressor_minutes: float


PRESETS: dict[str, Preset] = {
    "demo": Preset(200_000, "compact", 2.4, "suit", (6000, 500, 500), "small", 4.8),
    "smoke": Preset(4_000, "compact", 0.1, "suit", (128, 32, 32), "small", 0.2),
    "varied": Preset(200_000, "compact", 2.4, "varied", (6000, 500, 500), "small", 4.8),
}
"""``demo``: what a CPU learns in minutes; ``smoke``: the plumbing alone; ``varied``: harder, more lifelike images."""

UNSEEN = "unseen.png"


@dataclass(frozen=True)
class Settings:
    """What a caller may choose. ``mocap`` empty: the embedded source; ``photo`` empty: no photo; ``box`` empty: the
    whole photo, else x0,y0,x1,y1 in pixels."""

    runs: Path
    preset: str = "demo"
    mocap: str = ""
    photo: str = ""
    box: str = ""


@dataclass(frozen=True)
class Stage:
    """One step: reads ``needs``, runs ``commands`` in order, leaves ``makes``. ``run`` is its training folder.

    ``needs`` are made by earlier stages, ``given`` by the caller.
    """

    name: str
    purpose: str
    makes: Path
    needs: tuple[Path, ...]
    commands: tuple[tuple[str, ...], ...]
    run: Path | None = None
    given: tuple[Path, ...] = ()

    def recipe(self, runs: Path) -> list[str]:
        """``command_lines`` with RUNS for the folder of the chain: the same in a copy of it."""
        inside = f"{runs}{os.sep}"
        return [
            shlex.join(
                f"RUNS/{word.removeprefix(inside)}"
                if word.startswith(inside)
                else "RUNS"
                if word == str(runs)
                else word
                for word in command
            )
            for command in self.commands
        ]

    def command_lines(self) -> list[str]:
        """The commands as one would type them."""
        return [shlex.join(command) for command in self.commands]


def stages(settings: Settings) -> list[Stage]:
    """The stages in order. Raises ``UserError`` for an unknown preset."""
    if settings.preset not in PRESETS:
        raise fail(f"Unknown preset {settings.preset!r}", expected=f"one of {', '.join(PRESETS)}")
    preset, runs = PRESETS[settings.preset], settings.runs
    poses, tokenizer, crops, regressor = (
        runs / name for name in ("poses.h5", "tokenizer.h5", "crops.h5", "regressor.pt")
    )
    tokenizer_run, regressor_run = runs / "tokenizer", runs / "regressor"
    evaluation, report = runs / "evaluation.json", runs / "report.html"
    train, val, test = map(str, preset.crops)
    source: tuple[str, ...]
    if settings.mocap:
        source = ("pose-tokenizer", "prepare", settings.mocap, "--out", str(poses))
    else:
        source = ("pose-tokenizer", "sample", "--count", str(preset.poses), "--out", str(poses))
    return [
        Stage(
            "poses",
            "body poses to learn from",
            poses,
            (),
            (source,),
            given=(Path(settings.mocap),) if settings.mocap else (),
        ),
        Stage(
            "tokenizer",
            "stage 1, the vocabulary of poses",
            tokenizer,
            (poses,),
            (
                (
                    "pose-tokenizer",
                    "train",
                    str(poses),
                    "--run",
                    str(tokenizer_run),
                    "--preset",
                    preset.tokenizer,
                    "--minutes",
                    f"{preset.tokenizer_minutes:g}",
                    "--out",
                    str(tokenizer),
                ),
            ),
            run=tokenizer_run,
        ),
        Stage(
            "crops",
            "synthetic images of people in those poses",
            crops,
            (poses,),
            (
                (
                    "pose-regressor",
                    "synthesize",
                    str(poses),
                    "--domain",
                    preset.domain,
                    "--train",
                    train,
                    "--val",
                    val,
                    "--test",
                    test,
                    "--out",
                    str(crops),
                ),
            ),
        ),
        Stage(
            "regressor",
            "stage 2, from an image to tokens and a body",
            regressor,
            (tokenizer, crops),
            (
                (
                    "pose-regressor",
                    "train",
                    str(crops),
                    "--tokenizer",
                    str(tokenizer),
                    "--run",
                    str(regressor_run),
                    "--preset",
                    preset.regressor,
                    "--minutes",
                    f"{preset.regressor_minutes:g}",
                    "--out",
                    str(regressor),
                ),
            ),
            run=regressor_run,
        ),
        Stage(
            "evaluate",
            "errors of both stages and of baselines",
            evaluation,
            (poses, tokenizer, crops, regressor),
            (
                ("pose-tokenizer", "evaluate", str(tokenizer), str(poses), "--json", str(runs / "reconstruction.json")),
                (
                    "pose-regressor",
                    "evaluate",
                    str(regressor),
                    str(crops),
                    "--tokenizer",
                    str(tokenizer),
                    "--json",
                    str(evaluation),
                ),
            ),
        ),
        Stage(
            "report",
            "a prediction, and one page with all of it",
            report,
            (poses, tokenizer, crops, regressor, evaluation),
            _report(settings, tokenizer, crops, regressor),
            given=(Path(settings.photo),) if settings.photo else (),
        ),
    ]


def _report(settings: Settings, tokenizer: Path, crops: Path, regressor: Path) -> tuple[tuple[str, ...], ...]:
    """Without a photo, an unseen synthetic image serves as one."""
    runs = settings.runs
    image = Path(settings.photo or runs / UNSEEN)
    where = ("--box", settings.box) if settings.box else ("--whole",)
    picture = ("pose-pipeline", "picture", str(crops), "--out", str(image))
    predict = (
        "pose-regressor",
        "predict",
        str(image),
        *where,
        "--regressor",
        str(regressor),
        "--tokenizer",
        str(tokenizer),
        "--out",
        str(runs / "predictions"),
    )
    overlay = runs / "predictions" / f"{image.stem}_overlay.png"
    page = ("pose-pipeline", "report", str(runs), "--prediction", str(overlay))
    return (predict, page) if settings.photo else (picture, predict, page)
