"""Commands that make pose stores: numbers are checked first, draws depend on the seed alone, a fit is written once."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from tokenizer.commands.cli import main
from tokenizer.mocap.prior import load
from tokenizer.mocap.store import open_store


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--fps", 0, "--fps is not a frame rate; got 0"),
        ("--fps", "nan", "--fps is not a frame rate; got nan"),
        ("--val-fraction", 1, "--val-fraction is not a share of the clips; got 1"),
        ("--val-fraction", -0.1, "--val-fraction is not a share of the clips; got -0.1"),
        ("--max-jumps", 1.5, "--max-jumps is not a share of the frames; got 1.5"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_read(tmp_path, option, value, message):
    done = run("prepare", tmp_path, "--out", tmp_path / "p.h5", f"{option}={value}")
    assert done.exit_code == 2 and message in done.output and not (tmp_path / "p.h5").exists()


def test_samples_are_those_of_their_seed(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        done = run("sample", "--count", 35, "--seed", seed, "--out", tmp_path / f"{name}.h5")
        assert done.exit_code == 0 and "35 poses to train on, 3 to validate" in done.output
    a, b, c = (open_store(tmp_path / f"{name}.h5") for name in "abc")
    assert a.poses("train").shape == (35, 21, 3) and a.poses("val").shape == (3, 21, 3)
    assert np.array_equal(a.poses("train"), b.poses("train")) and not np.array_equal(a.poses("train"), c.poses("train"))


def test_a_fitted_prior_has_the_means_of_its_poses(tmp_path):
    assert run("sample", "--count", 400, "--out", tmp_path / "p.h5").exit_code == 0
    done = run("fit-prior", tmp_path / "p.h5", "--out", tmp_path / "prior.npz", "--clusters", 1, "--rank", 2)
    assert done.exit_code == 0 and f"Wrote {tmp_path / 'prior.npz'}" in done.output
    prior, poses = load(tmp_path / "prior.npz"), open_store(tmp_path / "p.h5").poses("train").reshape(400, -1)
    np.testing.assert_allclose(prior.mean[0, : poses.shape[1]], poses.mean(0), atol=0.02)
    refused = run("fit-prior", tmp_path / "p.h5", "--out", tmp_path / "p.h5")
    assert refused.exit_code == 2 and len(open_store(tmp_path / "p.h5").poses("train")) == 400
