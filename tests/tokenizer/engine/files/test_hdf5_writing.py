"""Writing HDF5: a full disk and any other error leave the old file and one message."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap

import h5py
import pytest
from pose_stores import write

from tokenizer.engine.errors import UserError
from tokenizer.mocap import store as store_module


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "poses.h5", [("a", "train", 5), ("b", "val", 3), ("c", "train", 4)])


def test_something_else_is_never_overwritten(tmp_path):
    for name, content in (("notes.txt", b"mine"), ("image.h5", None)):
        target = tmp_path / name
        if content is None:
            h5py.File(target, "w").close()
        else:
            target.write_bytes(content)
        before = target.read_bytes()
        with pytest.raises(UserError, match="exists and is something else"):
            write(target, [("a", "train", 2)])
        assert target.read_bytes() == before


@pytest.mark.parametrize("when", ["in a buffer", "at the end"])
def test_a_full_disk_leaves_the_old_store(path, monkeypatch, when):
    before = path.read_bytes()
    monkeypatch.setattr(store_module, "_BUFFERED", 1 if when == "in a buffer" else 10**9)

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(h5py.Dataset, "__setitem__", no_space)
    with pytest.raises(UserError, match=r"Cannot write .*No space left on device.*nothing was changed"):
        write(path, [("new", "train", 10)])
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_disk_that_fills_up_for_real_gives_one_message(path):
    """The system refuses bytes past 300 kB; HDF5 itself must fail, close and exit without a crash."""
    before = path.read_bytes()
    script = f"""
        import resource, numpy as np
        from tokenizer.engine.errors import reports_user_errors
        from tokenizer.mocap.store import PoseStoreWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        @reports_user_errors
        def run():
            with PoseStoreWriter({str(path)!r}, "test") as writer:
                for name in range(30):
                    writer.add(str(name), "train", np.zeros((1000, 21, 3)), np.zeros(10), fps=30, licence="none")
        run()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: Cannot write") and done.stderr.count("\n") == 1
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_an_error_of_any_kind_at_the_end_is_not_lost(path, monkeypatch):
    monkeypatch.setattr(store_module, "_digest", lambda *_: 1 / 0)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write(path, [("new", "train", 10)])
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
