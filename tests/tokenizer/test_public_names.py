"""Public names of stage 1."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tokenizer


@pytest.mark.parametrize("name", tokenizer.__all__)
def test_every_public_name_is_there(name):
    assert getattr(tokenizer, name).__name__ == name


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'load_vocabulary'"):
        _ = tokenizer.load_vocabulary


def test_the_package_alone_does_not_load_torch():
    code = "import sys, tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
