"""Pickles that are read in a process of its own."""

from __future__ import annotations

import pytest
from pickle_makers import Reader


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.process.stdin.close()
    reader.process.wait()
