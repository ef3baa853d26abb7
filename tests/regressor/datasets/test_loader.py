"""Training batches from shards and crop stores: the same whoever reads them, near or far, resumed or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from streams import numbers, stream_of

from regressor.config import AugmentConfig, DataConfig, RegressorConfig
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.loader import wanted_workers
from regressor.datasets.mixtures import open_mixture
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.shards import ShardStore
from regressor.sample import take
from regressor.training.train import train_regressor
from tokenizer.engine.config import resolve
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state
from tokenizer.engine.training.run import RunOptions

CPU = torch.device("cpu")


def test_a_pass_has_everybody_once_and_their_own_pictures(data, config, open_body):
    stream = stream_of(data, config, open_body, "shards/two")
    seen = [numbers(stream[step]) for step in range(3)]
    assert sorted(row for step in seen for row in step) == sorted([*range(100, 112), *range(100, 112)])
    halves = [[row for step in seen for row in step[partition]] for partition in (slice(0, 4), slice(4, 8))]
    assert not set(halves[0]) & set(halves[1]), "each partition has shards of its own"
    batch, store = stream[1], open_crops(data / "shards" / "two").at_size(32)
    rows = np.array([numbers(store.sample(np.arange(12), "train")).index(number) for number in numbers(batch)])
    expected = store.sample(rows, "train")
    for name in expected:
        assert torch.allclose(batch[name].float(), expected[name].float(), atol=1e-4), name


def test_processes_have_parts_of_one_batch(data, config, open_body):
    """Whatever their number, and with every change switched on."""
    config = replace(
        config, augment=AugmentConfig(flip=0.5, extreme=0.3, patch=0.5), data=DataConfig(rank_partitions=4)
    )
    paths = ("one.h5", "shards/two")
    whole = stream_of(data, config, open_body, *paths)[5]
    assert {number // 100 for number in numbers(whole)} == {0, 1}
    for processes in (2, 4):
        size = 8 // processes
        for rank in range(processes):
            own = slice(rank * size, (rank + 1) * size)
            part = stream_of(data, config, open_body, *paths, own=own)[5]
            assert all(torch.equal(part[name], take(whole, own)[name]) for name in whole)
    assert numbers(stream_of(data, replace(config, seed=1), open_body, *paths)[5]) != numbers(whole)


def test_workers_read_the_same_batches(data, config, open_body):
    stream = stream_of(data, replace(config, augment=AugmentConfig()), open_body, "one.h5", "shards/two")
    here = list(stream.batches(2, 5, 0, CPU))
    there = list(stream.batches(2, 5, 1, CPU))
    assert len(here) == len(there) == 3
    for ours, theirs in zip(here, there):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    mixture = open_mixture([str(data / "one.h5")])
    assert wanted_workers(mixture, -1, CPU, 1) == 0 and wanted_workers(mixture, 3, CPU, 1) == 3
    assert wanted_workers(open_mixture([str(data / "shards")]), -1, CPU, 1) >= 1


def test_a_shard_deleted_between_two_passes_stops_and_can_be_put_back(
    data, tmp_path, config, tokenizer, open_body, monkeypatch
):
    prepare_shards("synthetic", [data / "two.h5"], tmp_path / "two", ReadOptions(people=2), StoreOptions(), workers=1)
    config = replace(config, checkpoint_every=1, data=DataConfig(shuffle_buffer=1, workers=0))
    whole = train_regressor(open_crops(tmp_path / "two"), tokenizer, tmp_path / "whole", config, open_body)
    lost = sorted((tmp_path / "two").glob("train-*.h5"))[0]
    keep_open = ShardStore.keep_open
    monkeypatch.setattr(ShardStore, "keep_open", lambda self, _: keep_open(self, 1))

    def delete(step, *_):
        if step == 3:
            lost.rename(tmp_path / "lost.h5")

    with pytest.raises(UserError, match=rf"No shard at .*{lost.name}.*prepare"):
        train_regressor(open_crops(tmp_path / "two"), tokenizer, tmp_path / "run", config, open_body, progress=delete)
    (tmp_path / "lost.h5").rename(lost)
    resumed = train_regressor(
        open_crops(tmp_path / "two"), tokenizer, tmp_path / "run", config, open_body, options=RunOptions(resume=True)
    )
    first, second = (load_state(path)["network"] for path in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "setting", ["data.shuffle_buffer=0", "data.rank_partitions=-1", "data.workers=-2", "data.val_samples=0", "seed=-1"]
)
def test_settings_that_cannot_be_are_named(setting):
    with pytest.raises(UserError, match=setting.partition("=")[0].removeprefix("data.")):
        resolve(RegressorConfig(), assignments=[setting])


def test_as_many_shards_stay_open_as_are_drawn_from(data, config, open_body, monkeypatch):
    """Two shuffle buffers of two shards for one partition, three for two; no shard is opened twice in a pass."""
    opened = []
    real = ShardStore._opening
    monkeypatch.setattr(ShardStore, "_opening", lambda self, shard: opened.append(shard.file) or real(self, shard))
    config = replace(config, data=DataConfig(shuffle_buffer=2, rank_partitions=1), optim=replace(config.optim, batch=2))
    stream = stream_of(data, config, open_body, "shards/two", own=slice(0, 2))
    for step in range(6):
        stream[step]
    assert len(opened) == len(set(opened)) == 6, "one pass opens every shard once"
    store = stream._stores[0]
    assert len(store._open) == 4
    stream_of(
        data,
        replace(config, data=DataConfig(shuffle_buffer=2, rank_partitions=2)),
        open_body,
        "shards/two",
        own=slice(0, 2),
    )
    assert store.keep_open(100) == len(store.shards)
