"""The weights that ship with the package, made anew: poses → vocabulary → figures → the file in ``tokenizer/assets``.

Stages are data, as those of the demo: what is up to date stays, and an interrupted training resumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import regressor as _regressor
import tokenizer as _tokenizer
from tokenizer.engine.errors import fail

from .demo import Say, run_chain, stage_called
from .stages import Stage

ASSETS = Path(_tokenizer.__file__).resolve().with_name("assets")
REGRESSOR_ASSETS = Path(_regressor.__file__).resolve().with_name("assets")
_REGRESSOR_MINUTES = "25"
_TEST_SHARE = 0.08
_COMPOSED, _EMBEDDED, _EMBEDDED_ALONE = 20_000, 30_000, 150_000
_MIX = "composed=.12,embedded=.05,rest=.83"
_MIX_ALONE = "composed=.12,embedded=.88"


@dataclass(frozen=True)
class Sizes:
    """How much is learned: poses that are drawn in addition to mocap (``share`` of the usual number), steps (0: the
    preset's)."""

    share: float = 1.0
    steps: int = 0


PRESETS = {"full": Sizes(), "smoke": Sizes(0.01, 20)}
"""``full``: what ships, about 20 minutes on one core; ``smoke``: tries the commands."""


def weights_stages(runs: Path, mocap: str, assets: Path, preset: str = "full") -> list[Stage]:
    """Return the stages in order, for motion in the folder ``mocap``, or, where empty, for the embedded source alone.

    Files that ship go to ``assets``. Raise ``UserError`` for an unknown preset.
    """
    if preset not in PRESETS:
        raise fail(f"Unknown preset {preset!r}", expected=f"one of {', '.join(PRESETS)}")
    sizes = PRESETS[preset]
    poses, tokenizer, figures, run = (
        runs / name for name in ("poses.h5", "tokenizer.h5", "vocabulary.json", "tokenizer")
    )
    vocabulary, card = assets / "vocabulary.h5", ASSETS / "vocabulary.md"
    composed, embedded = (
        str(round(sizes.share * count)) for count in (_COMPOSED, _EMBEDDED if mocap else _EMBEDDED_ALONE)
    )
    source: tuple[str, ...]
    learned, regressor, keypoints_card = runs / "keypoints", runs / "keypoints.pt", REGRESSOR_ASSETS / "keypoints.md"
    keypoints = (REGRESSOR_ASSETS if assets == ASSETS else assets) / "keypoints.pt"
    learn = (
        *("train", str(poses), "--tokenizer", str(vocabulary), "--run", str(learned), "--preset", "keypoints"),
        *(("--set", f"optim.steps={sizes.steps}") if sizes.steps else ("--minutes", _REGRESSOR_MINUTES)),
    )
    if mocap:
        source = ("prepare", mocap, "--test-share", str(_TEST_SHARE), "--embedded", embedded)
    else:
        source = ("sample", "--count", embedded)
    steps = ("--set", f"optim.steps={sizes.steps}") if sizes.steps else ()
    train = ("train", str(poses), "--run", str(run), "--preset", "people", "--mix", _MIX if mocap else _MIX_ALONE)
    export = ("export", str(run), "--export", "last", "--half", "--card", str(card), "--figures", str(figures))
    return [
        Stage(
            "poses",
            "body poses to learn from, with takes reserved as test",
            poses,
            (),
            (("pose-tokenizer", *source, "--composed", composed, "--out", str(poses)),),
            given=(Path(mocap),) if mocap else (),
        ),
        Stage(
            "tokenizer",
            "the vocabulary of poses",
            tokenizer,
            (poses,),
            (("pose-tokenizer", *train, "--export", "last", *steps, "--out", str(tokenizer)),),
            run=run,
        ),
        Stage(
            "figures",
            "its errors on held-out motion and beyond",
            figures,
            (poses, tokenizer),
            (
                (
                    "pose-tokenizer",
                    "evaluate",
                    str(tokenizer),
                    str(poses),
                    "--robustness",
                    "--json",
                    str(figures),
                ),
            ),
        ),
        Stage(
            "vocabulary",
            "the file that ships, with its card",
            vocabulary,
            (poses, tokenizer, figures),
            (("pose-tokenizer", *export, "--out", str(vocabulary)),),
            given=(card,),
        ),
        Stage(
            "regressor",
            "a regressor of bodies from 2D keypoints",
            regressor,
            (poses, vocabulary),
            (("pose-regressor", *learn, "--out", str(regressor)),),
            run=learned,
        ),
        Stage(
            "keypoints",
            "the regressor that ships, with its card",
            keypoints,
            (regressor,),
            (("pose-regressor", "pack", str(regressor), "--card", str(keypoints_card), "--out", str(keypoints)),),
            given=(keypoints_card,),
        ),
    ]


def make_weights(runs: Path, mocap: str, assets: Path, say: Say, *, preset: str = "full", until: str = "") -> Path:
    """Make every stage that is missing or was made from other data, up to the one called ``until`` (or all); return the
    path of what the last one makes. Raise ``UserError`` for a folder without motion, and for an unknown stage."""
    from tokenizer.mocap.files import find_files

    if mocap and not find_files([Path(mocap)]):
        raise fail(f"There is no motion to learn from in {mocap}", expected="mocap files, archives unpacked")
    chain = weights_stages(runs, mocap, assets, preset)
    assets.mkdir(parents=True, exist_ok=True)
    return run_chain(chain, stage_called(until, chain) if until else chain[-1], runs, say)
