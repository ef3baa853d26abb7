"""The recorded arrays."""

from __future__ import annotations

import numpy as np
import pytest
from augmented import FIXTURES


@pytest.fixture(scope="module")
def golden():
    return np.load(FIXTURES / "golden.npz")
