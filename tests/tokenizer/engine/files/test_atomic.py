"""Atomic writes: an interruption leaves the old file."""

from __future__ import annotations

import pytest

from tokenizer.engine.files import atomic


def test_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a"
    atomic.write_text_atomically(path, "old")

    def half(file):
        file.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        atomic.write_atomically(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
