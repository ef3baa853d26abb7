"""The wheel holds what the programs need at run time, and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The files of a wheel that is built offline from a copy of what git tracks."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", str(out), str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_a_wheel_has_every_module_and_asset(names):
    for package in ("tokenizer", "regressor", "pipelines"):
        modules = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert modules <= names
        assert f"{package}/py.typed" in names
    assert {
        "tokenizer/mocap/prior.npz",
        "tokenizer/assets/vocabulary.h5",
        "regressor/assets/keypoints.pt",
        "tokenizer/engine/pages/templates/page.html",
        "tokenizer/engine/pages/templates/blocks.html",
        "tokenizer/engine/pages/templates/style.css",
    } <= names
    assert not [name for name in names if name.startswith("tests")]


def test_a_wheel_names_its_programs_and_licences(names):
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
    assert {Path(name).name for name in names if "/licenses/" in name} >= {"LICENSE", "NOTICE"}
