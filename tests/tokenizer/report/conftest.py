"""One trained tokenizer for all tests of its report."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from report_page import CONFIG, HOSTILE

from tokenizer.commands.cli import main
from tokenizer.mocap.store import PoseStoreWriter, open_store
from tokenizer.training.train import train_tokenizer


@pytest.fixture(scope="session")
def folder(tmp_path_factory, open_body):
    """A folder with poses.h5 and a finished run."""
    folder = tmp_path_factory.mktemp("report")
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(6, 63)) * 0.25
    with PoseStoreWriter(folder / "poses.h5", "test") as writer:
        for name, split, count in (("a", "train", 500), ("b", "val", 30), (HOSTILE, "val", 30)):
            poses = np.tanh(draw.normal(size=(count, 6)) @ directions).reshape(-1, 21, 3)
            writer.add(name, split, poses, np.zeros(10), fps=30, licence="none")
    train_tokenizer(open_store(folder / "poses.h5"), folder / "run", CONFIG, open_body)
    return folder


@pytest.fixture(scope="session")
def html(folder):
    done = CliRunner().invoke(main, ["report", str(folder / "run"), "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"Wrote {folder / 'run' / 'report.html'}"
    return (folder / "run" / "report.html").read_text()


@pytest.fixture(scope="session", autouse=True)
def _small_pictures():
    with pytest.MonkeyPatch.context() as patch:
        for module in ("poses", "meaning"):
            patch.setattr(f"tokenizer.report.{module}._FIGURE", (30, 26))
        yield
