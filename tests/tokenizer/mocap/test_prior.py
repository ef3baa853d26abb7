"""The embedded pose source: drawn poses are varied, correlated, within human range, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from tokenizer.body.skeleton import BODY_JOINT_NAMES
from tokenizer.engine.errors import UserError
from tokenizer.mocap.prior import EMBEDDED, embedded, fit, load, sample, save


def test_it_is_small_and_credited():
    assert EMBEDDED.stat().st_size < 1_000_000
    with np.load(EMBEDDED, allow_pickle=False) as file:
        assert "EIA-0196217" in str(file["acknowledgement"])


def test_the_seed_decides():
    assert np.array_equal(sample(50, 3), sample(50, 3))
    assert not np.array_equal(sample(50, 3), sample(50, 4))
    assert sample(7, 0).shape == (7, 21, 3) and sample(7, 0).dtype == np.float32
    assert sample(0, 0).shape == (0, 21, 3)


def test_poses_are_human_and_varied():
    poses = sample(4000, 0)
    angles = np.linalg.norm(poses, axis=-1)
    assert np.isfinite(poses).all() and angles.max() < np.pi
    knee = BODY_JOINT_NAMES.index("left_knee")
    # A knee is a hinge: it bends about the body's sideways axis, one way, and often.
    assert np.abs(poses[:, knee, 0]).mean() > 3 * np.abs(poses[:, knee, 1:]).mean()
    assert np.quantile(poses[:, knee, 0], 0.02) > -0.3 and np.quantile(poses[:, knee, 0], 0.95) > 0.7
    # Limbs move together: far fewer directions than 63 hold nearly all of the variance.
    variance = np.linalg.eigvalsh(np.cov(poses.reshape(len(poses), -1).T))[::-1].cumsum()
    assert np.searchsorted(variance / variance[-1], 0.95) < 40
    assert len(np.unique(poses.round(3).reshape(len(poses), -1), axis=0)) == len(poses)


def test_left_and_right_are_alike():
    angles = np.linalg.norm(sample(20_000, 1), axis=-1).mean(0)
    for name in ("shoulder", "elbow", "hip", "knee"):
        left, right = (angles[BODY_JOINT_NAMES.index(f"{side}_{name}")] for side in ("left", "right"))
        assert left == pytest.approx(right, rel=0.05)


def test_a_fit_finds_what_it_was_given(tmp_path):
    left, right = (
        [BODY_JOINT_NAMES.index(f"{side}_{name}") for name in ("knee", "ankle")] for side in ("left", "right")
    )
    draw = np.random.default_rng(0)
    true = np.zeros((3000, 21, 3))
    true[:, left[0], 0] = np.where(draw.random(3000) < 0.5, 0.9, -0.4) + 0.05 * draw.standard_normal(3000)
    true[:, left[1]] = 0.5 * true[:, left[0]]
    save(fit(true, clusters=4, rank=3), tmp_path / "prior.npz")
    drawn = sample(3000, 0, load(tmp_path / "prior.npz"))
    # Only one leg ever moves; half of the drawn poses are mirror images.
    knee, ankle = drawn[:, left, 0].T + drawn[:, right, 0].T
    assert np.abs(ankle - 0.5 * knee).max() < 0.05
    assert np.abs(knee).min() > 0.15 and (knee > 0).mean() == pytest.approx(0.5, abs=0.1)
    assert (drawn[:, left[0], 0] != 0).mean() == pytest.approx(0.5, abs=0.05)
    others = [joint for joint in range(21) if joint not in left + right]
    assert np.abs(drawn[:, others]).max() < 1e-3


def test_too_few_poses():
    with pytest.raises(UserError, match="Too few poses for 256 clusters"):
        fit(np.zeros((100, 21, 3)))


def test_files_that_are_no_prior(tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(UserError, match=r"is no prior; got no mean, factors, noise, lower, upper"):
        load(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes(EMBEDDED.read_bytes()[:1000])
    with pytest.raises(UserError, match="Cannot read prior"):
        load(tmp_path / "cut.npz")


def test_the_embedded_one_is_whole():
    prior = embedded()
    assert prior.weights.sum() == pytest.approx(1)
    assert (prior.lower < prior.upper).all() and (prior.noise >= 0).all()
