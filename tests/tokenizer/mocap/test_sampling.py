"""Resampling and trimming of clips."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from mocap_folders import save_clip

from tokenizer.commands.cli import main
from tokenizer.mocap.sampling import frames_to_keep
from tokenizer.mocap.store import open_store


def run(*arguments: object):
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)])


@given(st.integers(1, 5000), st.floats(1, 240), st.floats(1, 240), st.floats(0.01, 1))
def test_resampling_keeps_real_frames_at_the_asked_rate(count, fps, target, trim):
    kept = frames_to_keep(count, fps, target, trim)
    assert len(kept) >= 1 and kept[0] >= 0 and kept[-1] < count
    assert (np.diff(kept) >= 1).all(), "no frame twice: never upsampled"
    assert np.abs(np.diff(kept) - max(1, fps / target)).max(initial=0) <= 1
    assert len(kept) <= max(1, round(count * trim)) + 1
    assert abs(kept[0] - (count - 1 - kept[-1])) <= 2 + fps / target, "the middle is kept"


def test_resampling_by_hand():
    np.testing.assert_array_equal(frames_to_keep(9, 120, 30, 1), [0, 4, 8])
    np.testing.assert_array_equal(frames_to_keep(7, 60, 24, 1), [0, 2, 5])
    np.testing.assert_array_equal(frames_to_keep(4, 25, 30, 1), [0, 1, 2, 3])
    # Half-way between two frames, and the next beyond the last one: no frame twice.
    for count in range(1, 60):
        assert (np.diff(frames_to_keep(count, 1.125, 1, 1)) >= 1).all()
    np.testing.assert_array_equal(frames_to_keep(10, 30, 30, 0.4), [3, 4, 5, 6])


def test_data_sets_are_trimmed_each_to_its_share(tmp_path):
    for place in ("amass/BMLrub", "amass/KIT", "moyo_data/MOYO"):
        save_clip(tmp_path / place / "a_poses.npz", frames=20, seed=len(place))
    sources = ("amass", "moyo_data")
    expected = {
        "0.6,moyo=0.8": (12, 12, 16),
        "Moyo=0.5": (20, 20, 10),
        "1,BioMotionLab_NTroje=.5, kit=.1": (10, 2, 20),
        "0.5": (10, 10, 10),
    }
    for text, frames in expected.items():
        done = run(*(tmp_path / name for name in sources), "--out", tmp_path / "p.h5", "--trim", text, "--workers", 1)
        assert done.exit_code == 0, done.output
        store = open_store(tmp_path / "p.h5")
        assert tuple(source.frames for source in store.sources) == frames
        assert f"--trim={text}" in store.command.replace("'", "")
    kept = store.poses()[20:30]
    with np.load(tmp_path / "moyo_data" / "MOYO" / "a_poses.npz") as clip:
        np.testing.assert_allclose(kept, clip["poses"][5:15, 3:66].reshape(-1, 21, 3), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.6,moyo=1.2", "above 0, at most 1"),
        ("0.6,moyo", "got 'moyo'"),
        ("0.6,moyo=0", "got 'moyo=0'"),
        ("0.6,0.5", "got '0.5'"),
        ("half", "--trim holds what is not a share of a clip; got half"),
        ("", "--trim holds what is not a share"),
        ("0,moyo=.8", "--trim holds what is not a share"),
        ("0.6,moyo=.8,MOYO=.7", "twice; got MOYO"),
        ("0.6,moyoo=.8", "data sets that are not there; got moyoo; expected some of mocap."),
    ],
)
def test_trims_that_cannot_be(folder, tmp_path, text, message):
    done = run(folder, "--out", tmp_path / "poses.h5", "--trim", text)
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("error:") == 1, done.stderr
    assert not list(tmp_path.glob("*.h5*"))
