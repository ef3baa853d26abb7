"""The command install-detector."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from regressor.commands.cli import main
from regressor.people.detection import model_files
from regressor.people.detection.model_files import ModelFile


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Call install-detector with an empty cache, models of a few bytes, and no network."""
    names = {"detector": "pose_detection.tflite", "full": "pose_landmark_full.tflite", "heavy": "heavy.tflite"}
    files = {
        name: ModelFile(file, len(name), hashlib.sha256(name.encode()).hexdigest()) for name, file in names.items()
    }
    for name, file in names.items():
        (tmp_path / file).write_text(name)
    monkeypatch.setattr(model_files, "MODEL_FILES", files)
    monkeypatch.setenv("POSE_TOKEN_HMR_CACHE", str(tmp_path / "cache"))

    def offline(command, folder):
        raise OSError("no network")

    monkeypatch.setattr(model_files, "_run", offline)
    monkeypatch.setattr(model_files.shutil, "which", lambda name: name)

    def call(*arguments):
        return CliRunner().invoke(main, ["install-detector", *map(str, arguments)])

    return call


def test_models_are_installed_once_and_removed(run, tmp_path):
    sources = ["--from", tmp_path / "pose_detection.tflite", "--from", tmp_path / "pose_landmark_full.tflite"]
    done = run(*sources)
    assert done.exit_code == 0, done.output
    assert "Installed pose_detection.tflite, pose_landmark_full.tflite" in done.output
    assert f"People are detected by full; models are in {tmp_path / 'cache' / 'detection'}" in done.output
    again = run(*sources, "--from", tmp_path / "heavy.tflite")
    assert "Installed heavy.tflite" in again.output and "Already there: pose_detection.tflite" in again.output
    assert "detected by heavy" in again.output
    assert "Removed 3 models" in run("--remove").output
    assert "No detector is installed" in run("--remove").output


def test_what_cannot_be_installed_is_one_message_and_exit_code_2(run, tmp_path):
    cases = {
        (): "got mediapipe==0.10.21 from PyPI (36 MB) cannot be downloaded: no network",
        ("--from", tmp_path / "gone.whl"): f"No file at {tmp_path / 'gone.whl'}",
        ("--from", tmp_path / "heavy.tflite", "--remove"): "Give --from or --remove",
        ("--from", tmp_path / "pose_landmark_full.tflite"): "The detector is not complete; got pose_landmark_full",
    }
    for arguments, says in cases.items():
        done = run(*arguments)
        assert done.exit_code == 2 and says in done.output, done.output
        assert done.output.count("error: ") == 1 and "Traceback" not in done.output


def test_neither_help_nor_installing_loads_torch(tmp_path):
    code = (
        "import sys; from regressor.commands.cli import main\n"
        "try: main(['install-detector', '--from', sys.argv[1]])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'cv2', 'ai_edge_litert'} & set(sys.modules)"
    )
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "POSE_TOKEN_HMR_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", code, str(tmp_path / "empty")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "No model of the detector" in done.stderr
