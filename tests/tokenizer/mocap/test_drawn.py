"""Poses that are drawn, alone in a store or beside those of files."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from mocap_folders import save_clip

from tokenizer.commands.cli import main
from tokenizer.engine.errors import UserError
from tokenizer.mocap.composed import compose
from tokenizer.mocap.datasets import dataset_of
from tokenizer.mocap.drawn import write_samples
from tokenizer.mocap.prior import sample
from tokenizer.mocap.store import open_store


def test_a_store_of_samples(tmp_path):
    write_samples(tmp_path / "poses.h5", 200, seed=3, composed=40)
    store = open_store(tmp_path / "poses.h5")
    np.testing.assert_array_equal(store.poses("train"), np.concatenate([sample(200, 6), compose(40, 6)]))
    np.testing.assert_array_equal(store.poses("val"), sample(20, 7))
    assert [dataset_of(source.name) for source in store.sources] == ["embedded", "composed", "embedded"]
    assert "EIA-0196217" in store.sources[0].licence and "--count 200 --composed 40 --seed 3" in store.command


@pytest.mark.parametrize(("count", "composed"), [(3, 0), (20, -1)])
def test_too_few(tmp_path, count, composed):
    with pytest.raises(UserError, match="Too few poses"):
        write_samples(tmp_path / "more.h5", count, seed=0, composed=composed)
    assert not list(tmp_path.iterdir())


def test_drawn_poses_join_those_of_files(tmp_path):
    save_clip(tmp_path / "m" / "a_poses.npz", frames=9)
    save_clip(tmp_path / "m" / "b_poses.npz", frames=7, seed=1)
    arguments = ["prepare", tmp_path / "m", "--out", tmp_path / "poses.h5", "--workers", 1]
    done = CliRunner().invoke(main, [*map(str, arguments), "--embedded", "50", "--composed", "60"])
    assert done.exit_code == 0, done.output
    store = open_store(tmp_path / "poses.h5")
    assert [source.name for source in store.sources][2:] == ["embedded/seed 0", "composed/seed 0"]
    np.testing.assert_array_equal(store.poses()[16:], np.concatenate([sample(50, 0), compose(60, 0)]))
    assert {source.split for source in store.sources[2:]} == {"train"}
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert lines["composed"][:2] == ["1", "60"] and lines["all"][0] == "4"
    assert "--embedded=50 --composed=60" in store.command
