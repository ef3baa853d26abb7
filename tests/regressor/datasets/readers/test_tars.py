"""Tars of image and annotation: what is damaged or missing is listed."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from image_data_sets import (
    Hostile,
    fitted_person,
    jpeg,
    write_tar,
)

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.prepare import StoreOptions, prepare_shards
from tokenizer.engine.errors import UserError


def prepare(name, sources, out, *, split="train", **reading):
    options = ReadOptions(split=split, **reading)
    return prepare_shards(name, list(sources), out, options, StoreOptions(), workers=1)


def test_what_is_wrong_in_a_tar_is_listed(tmp_path):
    people = pickle.dumps([fitted_person()])
    write_tar(
        tmp_path / "0.tar",
        [
            ("good.jpg", jpeg()),
            ("good.data.pyd", people),
            ("hostile.jpg", jpeg()),
            ("hostile.data.pyd", pickle.dumps(Hostile())),
            ("text.jpg", b"no image"),
            ("text.data.pyd", people),
            ("alone.jpg", jpeg()),
            ("lost.data.pyd", people),
            ("dict.jpg", jpeg()),
            ("dict.data.pyd", pickle.dumps({"a": 1})),
            ("some.jpg", jpeg()),
            (
                "some.data.pyd",
                pickle.dumps(
                    [
                        fitted_person(),
                        5,
                        fitted_person(keypoints_2d=np.zeros((25, 3))),
                        fitted_person(scale=np.array([0.0, 0])),
                        fitted_person(betas=np.full(10, np.nan), has_betas=np.array(1.0)),
                        {"center": np.zeros(2)},
                    ]
                ),
            ),
            ("cut.jpg", jpeg()),
            ("cut.data.pyd", people),
        ],
    )
    data = (tmp_path / "0.tar").read_bytes()
    cut = data.rindex(b"cut.data.pyd") + 600
    (tmp_path / "0.tar").write_bytes(data[:cut])
    report = prepare("4dhumans", [tmp_path / "0.tar"], tmp_path / "out")
    assert report.people == {"train": 2}
    reasons = "\n".join(f"{name}: {reason}" for name, reason in report.broken)
    for expected in (
        "could run code",
        "text is no image",
        "alone: has no data.pyd",
        "lost: has no picture",
        "no list of people",
        "some, person 1 is no dictionary",
        r"(25, 3)",
        "no area",
        "not finite",
        "is incomplete",
        "cut short or damaged after",
    ):
        assert expected in reasons, expected
    assert len(report.broken) == 11
    assert not os.path.exists("/tmp/pose_token_hmr_was_here")  # noqa: PTH110
    (tmp_path / "no.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"Nobody was found.*cut short or damaged"):
        prepare("4dhumans", [tmp_path / "no.tar"], tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No tars"):
        prepare("4dhumans", [tmp_path / "empty"], tmp_path / "none")
