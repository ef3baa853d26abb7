"""What tests of the data sets share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from image_data_sets import evaluation_arrays, smooth_image, write_jpeg
from streams import STILL

from regressor.config import DataConfig
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_store import write_crops
from regressor.datasets.prepare import StoreOptions, prepare_shards


@pytest.fixture
def threedpw(tmp_path):
    """Five rows of an evaluation npz in two sequences, with their images; the first two rows share one."""
    names = [f"imageFiles/{seq}/image_{i:05d}.jpg" for seq, i in (("a", 0), ("a", 0), ("a", 1), ("b", 0), ("b", 1))]
    for name in names:
        write_jpeg(tmp_path / "3DPW" / name, smooth_image())
    arrays = evaluation_arrays([name.encode() for name in names])
    np.savez(tmp_path / "3dpw_test.npz", **arrays)
    return tmp_path / "3dpw_test.npz", arrays


@pytest.fixture(scope="module")
def data(tmp_path_factory, annotated_people):
    """Crop stores ``one.h5`` (0 to 11) and ``two.h5`` (100 to 111), whose first beta is the number of each person;
    ``shards/two``: the second of them in 6 shards; val splits in both."""
    folder = tmp_path_factory.mktemp("data")
    for name, first in (("one", 0), ("two", 100)):
        with write_crops(folder / f"{name}.h5", 32, {"train": 12, "val": 3}, {}) as writer:
            for split, count in (("train", 12), ("val", 3)):
                people = annotated_people(count, seed=first + count)
                people["betas"][:, 0] = torch.arange(count) + first
                writer.append(split, {key: value.numpy() for key, value in people.items()})
    prepare_shards(
        "synthetic",
        [folder / "two.h5"],
        folder / "shards" / "two",
        ReadOptions(people=2),
        StoreOptions(quality=100),
        workers=1,
    )
    return folder


@pytest.fixture(scope="module")
def config(tiny_config):
    return replace(
        tiny_config,
        augment=STILL,
        optim=replace(tiny_config.optim, batch=8),
        data=DataConfig(shuffle_buffer=2, rank_partitions=2),
    )
