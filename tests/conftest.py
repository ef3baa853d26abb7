"""Fixtures shared by all tests: the open body, loaded once."""

from __future__ import annotations

import hypothesis
import pytest


@pytest.fixture(scope="session")
def open_body():
    from tokenizer.body.model import load_body

    return load_body("open")


# The same examples in every run, whatever the machine's pace: a failure is one of the code.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")
