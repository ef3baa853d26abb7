"""What only POSIX has is used with another way beside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.demo import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tokenizer", "regressor", "pipelines")
ELSEWHERE = '''
import builtins, errno, os, shutil, sys
from pathlib import Path

for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses"):
    sys.modules[name] = None
import cv2, h5py, numpy, scipy.optimize, torch, tqdm  # they look at sys.platform, which stays
for name in ("O_DIRECTORY", "fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "sync",
             "fdatasync", "sysconf", "sched_getaffinity", "sched_setaffinity", "uname", "mkfifo", "statvfs", "nice",
             "getloadavg", "chown", "posix_fadvise", "posix_fallocate"):
    if hasattr(os, name):
        delattr(os, name)

def refused(number, path):
    raise PermissionError(number, os.strerror(number), str(path))

def no_signal(pid, number):
    raise AssertionError("os.kill ends the process there, whatever the signal")

os.kill = no_signal
plain_open = os.open

def open_no_folder(path, *arguments, **named):
    return refused(errno.EACCES, path) if os.path.isdir(path) else plain_open(path, *arguments, **named)

os.open = open_no_folder
shutil._use_fd_functions = False  # as it is there

def unless_open(act):
    """Files that this process has open are neither replaced nor removed there."""
    def acting(*paths, **named):
        opened = set()
        for number in os.listdir("/proc/self/fd"):
            try:
                opened.add(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                pass
        for path in paths:
            if isinstance(path, (str, os.PathLike)) and os.path.realpath(path) in opened:
                refused(errno.EACCES, path)
        return act(*paths, **named)
    return acting

for name in ("replace", "rename", "unlink", "remove"):
    setattr(os, name, unless_open(getattr(os, name)))
'''
"""Run first, it makes a process see what Windows offers: no POSIX modules or functions, no syncing of folders, no
replacing of open files."""


def run_elsewhere(code: str, *arguments: str, cwd: Path = ROOT) -> str:
    """What ``code`` prints in a process that sees no more than Windows offers; the test fails where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE + code, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("module", PROGRAMS.values())
def test_help_prints_where_the_system_lacks_its_letters(module):
    """On Windows what is redirected into a file has the letters of a code page; others become question marks."""
    code = f"""
import click
from {module} import main
for words in ([], *([name] for name in main.list_commands(click.Context(main)))):
    main([*words, "--help"], standalone_mode=False)
click.echo("done \u2192 \u2212")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"done ? ?\n")


def modules() -> list[str]:
    paths = [path.relative_to(ROOT).with_suffix("") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__")


def test_every_module_is_imported_without_what_only_posix_has():
    code = "import importlib\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\nprint(len(sys.argv) - 1)"
    assert int(run_elsewhere(code, *modules())) == len(modules()) > 150


def test_both_stages_train_predict_and_encode_without_what_only_posix_has(tmp_path):
    code = """
import numpy as np
from pipelines.demo import run_command
from regressor.datasets.image_files import read_image
run = lambda *words: run_command(tuple(map(str, words)))
os.makedirs("motion/cmu")
for name, most in (("clip", 0.1), ("other", 0.3)):
    poses = np.linspace(0, most, 624).reshape(4, 156)
    np.savez(f"motion/cmu/{name}.npz", poses=poses, trans=np.zeros((4, 3)), mocap_framerate=30.0)
run("pose-tokenizer", "prepare", "motion", "--out", "prepared.h5", "--workers", 1)
run("pose-tokenizer", "sample", "--count", 40, "--out", "poses.h5")
small = ("--set", "optim.steps=2", "--set", "optim.batch=4")
size = ("--set", "image_size=64")
for resume in ((), ("--resume",)):
    run("pose-tokenizer", "train", "poses.h5", "--run", "first", "--out", "tokenizer.h5", *small, *resume)
run("pose-tokenizer", "encode", "tokenizer.h5", "motion/cmu/clip.npz", "--out", "tokens.npz")
run("pose-regressor", "synthesize", "poses.h5", "--train", 8, "--val", 4, "--test", 4, "--size", 64, "--workers", 1,
    "--out", "crops.h5")
for resume in ((), ("--resume",)):
    run("pose-regressor", "train", "crops.h5", "--tokenizer", "tokenizer.h5", "--run", "second",
        "--out", "regressor.pt", *small, *size, *resume)
run("pose-regressor", "predict", "crops.png", "--whole", "--regressor", "regressor.pt", "--tokenizer", "tokenizer.h5",
    "--out", "predictions")
assert read_image("predictions/crops_overlay.png").size
"""
    run_elsewhere(code, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "crops.h5",
        "crops.png",
        "first",
        "motion",
        "poses.h5",
        "predictions",
        "prepared.h5",
        "regressor.pt",
        "second",
        "tokenizer.h5",
        "tokens.npz",
    ]
