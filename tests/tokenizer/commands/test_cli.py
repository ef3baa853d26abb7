"""The command train."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tokenizer.commands.cli import main
from tokenizer.config import NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.config import to_dict
from tokenizer.mocap.store import PoseStoreWriter, open_store

SMALL = TokenizerConfig(
    network=NetworkConfig(width=16, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4), groups=4, layers=2),
    optim=OptimConfig(steps=4, batch=8, warmup=1),
    device="cpu",
    precision="fp32",
    validate_every=2,
    checkpoint_every=2,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("poses") / "poses.h5"
    with PoseStoreWriter(path, "test") as writer:
        for split, count in (("train", 50), ("val", 10)):
            poses = 0.3 * np.random.default_rng(0).normal(size=(count, 21, 3))
            writer.add(split, split, poses, np.zeros(10), fps=30, licence="none")
    return open_store(path)


def test_the_command_line_says_it_in_one_line(store, tmp_path):
    """With a real limit on the size of a file, which torch's zip writer meets as it meets a full disk."""
    resource = pytest.importorskip("resource")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(SMALL)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        done = CliRunner().invoke(
            main, ["train", str(store.path), "--run", str(tmp_path / "run"), "--config", str(tmp_path / "config.json")]
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (message,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and "step_000000002.pt; got File too large. Free some disk space" in message
    assert not isinstance(done.exception, RuntimeError) and "Traceback" not in done.output
