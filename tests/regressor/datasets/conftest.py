"""What tests of the data sets share."""

from __future__ import annotations

import numpy as np
import pytest
from image_data_sets import evaluation_arrays, smooth_image, write_jpeg


@pytest.fixture
def threedpw(tmp_path):
    """Five rows of an evaluation npz in two sequences, with their images; the first two rows share one."""
    names = [f"imageFiles/{seq}/image_{i:05d}.jpg" for seq, i in (("a", 0), ("a", 0), ("a", 1), ("b", 0), ("b", 1))]
    for name in names:
        write_jpeg(tmp_path / "3DPW" / name, smooth_image())
    arrays = evaluation_arrays([name.encode() for name in names])
    np.savez(tmp_path / "3dpw_test.npz", **arrays)
    return tmp_path / "3dpw_test.npz", arrays
