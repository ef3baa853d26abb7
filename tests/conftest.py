"""Fixtures shared by all tests: the open body, loaded once."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def open_body():
    from tokenizer.body.model import load_body

    return load_body("open")
