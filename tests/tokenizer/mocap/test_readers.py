"""The one reader of motion chooses by suffix and content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tokenizer.engine.errors import UserError
from tokenizer.mocap.readers import holds_no_motion, is_reference_npz, read_clip


@pytest.mark.parametrize(
    ("name", "expected"),
    [("female_stagei.npz", True), ("shape.npz", True), ("walk_stageii.npz", False), ("shapely.npz", False)],
)
def test_shape_fits_are_not_motion(name, expected):
    assert holds_no_motion(Path(name)) is expected


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xd8\xff\xe0", "a JPEG picture"), (b"", "an empty file"), (b"%PDF-1.4", "a PDF")],
)
def test_files_of_other_kinds_are_refused_by_their_true_name(tmp_path, content, message):
    path = tmp_path / "clip.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_clip(path)


def test_prepared_poses_of_the_reference_are_read_without_a_rate(tmp_path):
    path = tmp_path / "train.npz"
    np.savez(path, pose_body=np.full((3, 63), 0.1), betas=np.zeros((3, 10)), name=np.array(["a", "b", "c"]))
    assert is_reference_npz(path)
    clip = read_clip(path)
    assert clip.fps == 0
    np.testing.assert_allclose(clip.pose_body.reshape(3, -1), 0.1, atol=1e-6)


def test_prepared_poses_of_another_layout_are_refused(tmp_path):
    path = tmp_path / "train.npz"
    np.savez(path, pose_body=np.zeros((3, 60)), betas=np.zeros((3, 10)), name=np.array(["a", "b", "c"]))
    with pytest.raises(UserError, match="another layout"):
        read_clip(path)
