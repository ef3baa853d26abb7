"""Which bodies an evaluation scores with: the predictions' and, by gender, those of the annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tokenizer import Body, load_body
from tokenizer.body.smpl_files import find_model_file
from tokenizer.engine.errors import UserError, fail

from ..sample import GENDERS, Sample

_TRUE_GENDERS = ("female", "male")


@dataclass(frozen=True)
class ScoringBodies:
    """``predicted``: the neutral body of all predictions; ``true``: bodies of the annotation by gender, empty where all
    are ``predicted``."""

    predicted: Body
    true: dict[str, Body]


def genders_of(
    sample: Sample, true_bodies: Mapping[str, Body] | None = None, *, neutral_is_female: bool = False
) -> dict[str, Tensor]:
    """Who of ``sample`` is of which gender, (B,) bool by name, in alphabetical order; no gender of nobody.

    With ``true_bodies`` genders that have none count as neutral.
    """
    numbers = sample.get("gender", torch.zeros(len(sample["betas"]), dtype=torch.int64)).tolist()
    names = ["female" if neutral_is_female and GENDERS[n] == "neutral" else GENDERS[n] for n in numbers]
    if true_bodies is not None:
        names = [name if name in true_bodies else "neutral" for name in names]
    device = sample["betas"].device
    return {gender: torch.tensor([name == gender for name in names], device=device) for gender in sorted(set(names))}


def load_scoring_bodies(
    source: str | Path, true_source: Path | None = None, *, extra_regressor: Path | None = None
) -> ScoringBodies:
    """The neutral body of ``source`` ("open", a model file, or a folder of them), and the female and male ones of
    ``true_source``: a folder, by default ``source`` where that is one. Genders that it does not have are left out.

    Raises ``UserError`` for predictions on a body that is not neutral, a ``true_source`` that is no folder or has no
    gendered body, bodies of several kinds, and whatever ``load_body`` refuses.
    """
    predicted = load_body(source, extra_regressor=extra_regressor)
    if predicted.gender != "neutral":
        raise fail(
            "Predictions are scored on the neutral body",
            got=f"--body {source}, a {predicted.gender} one",
            next_step="Give the neutral model file, or the folder of all three",
        )
    folder = true_source or (Path(source) if Path(source).is_dir() else None)
    if folder is None:
        return ScoringBodies(predicted, {})
    if not folder.is_dir():
        raise fail(
            "True bodies are looked for by gender",
            got=f"--true-bodies {folder}, which is no folder",
            expected="a folder with the female and the male model, e.g. SMPL_MALE.pkl",
        )
    true: dict[str, Body] = {}
    problems = []
    for gender in _TRUE_GENDERS:
        try:
            path, _ = find_model_file(folder, gender)
        except UserError as error:
            problems.append(error)
            continue
        true[gender] = load_body(path, gender=gender, extra_regressor=extra_regressor)
        if true[gender].kind != predicted.kind:
            raise fail(
                "True bodies are of another kind than the predicted ones",
                got=f"{path}, {true[gender].kind}",
                expected=f"{predicted.kind}, as --body {source}",
            )
    if not true and true_source is not None:
        raise problems[0]
    return ScoringBodies(predicted, true | {"neutral": predicted} if true else {})
