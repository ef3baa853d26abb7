"""Meshes as files."""

from __future__ import annotations

import numpy as np

from regressor.export.mesh import write_obj


def test_obj_golden(tmp_path):
    write_obj(tmp_path / "a.obj", np.array([[1.0, 2.0, 3.0], [0, 0, 1], [0, 1, 1]]), np.array([[0, 1, 2]]))
    lines = (tmp_path / "a.obj").read_text().splitlines()
    assert lines[1] == "v 1.00000 -2.00000 -3.00000" and lines[-1] == "f 1 2 3" and len(lines) == 5
