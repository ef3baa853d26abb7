"""Partitions of a batch: each its own part of the data, every sample as often as any other."""

from __future__ import annotations

import numpy as np
import pytest

from regressor.datasets.sampler import partition_rows
from tokenizer.engine.errors import UserError
from tokenizer.engine.processes import allow_open_files


@pytest.mark.parametrize("counts", [[7], [100, 100, 3], [1000] * 8 + [3], [1] * 9, [5, 1, 90, 4]])
@pytest.mark.parametrize("partitions", [0, 1, 2, 4, 7])
def test_partitions_share_out_every_sample_evenly(counts, partitions):
    """A last shard of three people must not be a whole partition: they would come hundreds of times as often."""
    rows = [
        [start + row for start, count in partition_rows(counts, partition, partitions) for row in range(count)]
        for partition in range(max(1, partitions))
    ]
    assert sorted(row for part in rows for row in part) == list(range(sum(counts)))
    sizes = [len(part) for part in rows]
    assert max(sizes) - min(sizes) <= 1
    first = np.cumsum(counts) - counts
    for partition in range(max(1, partitions)):
        for start, count in partition_rows(counts, partition, partitions):
            shard = np.searchsorted(first, start, side="right") - 1
            assert start + count <= first[shard] + counts[shard], "no part reaches over the end of its shard"


def test_each_partition_has_all_of_very_few_samples():
    assert [partition_rows([2, 1], partition, 4) for partition in range(4)] == [[(0, 2), (2, 1)]] * 4


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(monkeypatch):
    resource = pytest.importorskip("resource")
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append((kind, limits)))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    allow_open_files(10)
    allow_open_files(2000)
    allow_open_files(3900)
    kind = resource.RLIMIT_NOFILE
    assert asked == [(kind, (3000, 4096)), (kind, (4096, 4096))]
    with pytest.raises(UserError, match=r"got 4,000.*4,096.*data\.shuffle_buffer"):
        allow_open_files(4000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    allow_open_files(10**6)
    assert len(asked) == 2
