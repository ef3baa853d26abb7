"""The detector's model files in the user's cache: download, check, install, remove.

1. Two public packages carry the BlazePose models (Apache-2.0). They are taken as archives of data: nothing in them is
   imported or run.
2. A model is known by its size and SHA-256. Archives are searched for the names, and nothing else is unpacked.
3. Files are written atomically; after that no network is needed. Each one is checked again when it is loaded.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import requests

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.atomic import write_bytes_atomically
from tokenizer.engine.files.cache import cache_folder, locked

COMMAND = "pose-regressor install-detector"
ModelName = Literal["detector", "full", "heavy"]


@dataclass(frozen=True)
class ModelFile:
    """A model: its ``file_name``, ``size`` in bytes and SHA-256 ``digest``."""

    file_name: str
    size: int
    digest: str

    def fits(self, data: bytes) -> bool:
        """Return whether ``data`` is exactly this file."""
        return len(data) == self.size and hashlib.sha256(data).hexdigest() == self.digest


MODEL_FILES: dict[ModelName, ModelFile] = {
    "detector": ModelFile(
        "pose_detection.tflite", 2_959_046, "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"
    ),
    "full": ModelFile(
        "pose_landmark_full.tflite", 6_440_512, "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
    ),
    "heavy": ModelFile(
        "pose_landmark_heavy.tflite", 27_709_200, "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe"
    ),
}
"""The detector of people, and the two landmark models of which one is enough (Bazarevsky et al., BlazePose, 2020)."""

_WHEEL = "mediapipe==0.10.21"
"""The last wheels that carry models. Their platform does not matter: they are taken as data."""
_WHEEL_OF = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")
_NPM = "@mediapipe/pose@0.5.1675469404"
_NPM_URL = "https://registry.npmjs.org/@mediapipe/pose/-/pose-0.5.1675469404.tgz"
_MOST_ARCHIVE = 256 << 20
_TIMEOUT_S = 60
_PROGRAM_TIMEOUT_S = 600


@dataclass
class Installation:
    """What an installation came to: models ``installed`` now, those that were ``present``, and ``problems``, a line
    each."""

    installed: list[ModelName] = field(default_factory=list)
    present: list[ModelName] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def models_folder() -> Path:
    """The folder of the models in the user's cache."""
    return cache_folder() / "detection"


def model_path(name: ModelName) -> Path:
    """Where a model lies once it is installed."""
    return models_folder() / MODEL_FILES[name].file_name


def installed_models() -> list[ModelName]:
    """Return the models whose files are there, of the right size; ``read_model`` checks their content."""
    return [name for name, file in MODEL_FILES.items() if _size(model_path(name)) == file.size]


def is_installed() -> bool:
    """Return whether people can be detected: the detector is there, and a landmark model."""
    present = installed_models()
    return "detector" in present and len(present) > 1


def read_model(name: ModelName) -> bytes:
    """Return the content of an installed model. Raise ``UserError`` where it is missing, damaged or of another
    version."""
    path, file = model_path(name), MODEL_FILES[name]
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == file.size else b""
    except OSError as error:
        raise fail(f"No detector at {path}", got=error, next_step=f"Run `{COMMAND}` once; it needs a network") from None
    if not file.fits(data):
        got = f"{size:,} bytes" if size != file.size else "another content of the same size"
        raise fail(
            f"{path} is damaged, or of another version",
            got=got,
            expected=f"{file.size:,} bytes, SHA-256 {file.digest[:12]}…",
            next_step=f"Run `{COMMAND}` again",
        )
    return data


def install_models(sources: Sequence[Path] = (), say: Callable[[str], object] = lambda text: None) -> Installation:
    """Put the models into the cache: from ``sources`` (wheels, tgz, tflite, or folders of them), else by download.

    Models that are there and whole are kept. ``say`` is given a line before each download. Raise ``UserError`` where a
    source cannot be used, and where after all no people could be detected.
    """
    result = Installation()
    with locked(models_folder() / "install.lock"):
        for name in MODEL_FILES:
            try:
                read_model(name)
                result.present.append(name)
            except UserError:
                continue
        if sources:
            for source in sources:
                _install_from(source, result)
        else:
            _download(result, say)
    if not is_installed():
        present = [MODEL_FILES[name].file_name for name in installed_models()]
        download = " ".join(("pip download --no-deps --only-binary=:all:", *_WHEEL_OF, _WHEEL))
        raise fail(
            "The detector is not complete",
            got=" ".join(result.problems) or ", ".join(present) or "none of its models",
            expected="pose_detection.tflite, and pose_landmark_full.tflite or pose_landmark_heavy.tflite",
            next_step=f"On a computer with a network run `{download}` and `npm pack {_NPM}`; here run "
            f"`{COMMAND} --from FILE` with each",
        )
    return result


def remove_models() -> list[Path]:
    """Remove the installed models and return the files removed."""
    removed = []
    if models_folder().is_dir():
        with locked(models_folder() / "install.lock"):
            for name in MODEL_FILES:
                path = model_path(name)
                if path.exists():
                    path.unlink()
                    removed.append(path)
    return removed


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _install_from(source: Path, result: Installation) -> None:
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    found: list[ModelName] = []
    for path in files:
        if path.is_file() and (not source.is_dir() or path.suffix in (".whl", ".zip", ".tgz", ".gz", ".tflite")):
            for name, data in _models_in(path).items():
                found.append(name)
                if name not in (*result.present, *result.installed):
                    write_bytes_atomically(model_path(name), data)
                    result.installed.append(name)
    if not found:
        names = ", ".join(file.file_name for file in MODEL_FILES.values())
        raise fail(
            f"No model of the detector in {source}",
            expected=f"{names} as they are, or in the wheel of {_WHEEL}, or in the tgz of {_NPM}",
        )


def _models_in(path: Path) -> dict[ModelName, bytes]:
    """The models in a wheel, a tgz, or a file that is one. Only entries of a model's name and size are unpacked.

    Raises ``UserError`` for a damaged archive, and for an entry of the right name and other content.
    """
    try:
        if zipfile.is_zipfile(path):
            candidates = _in_zip(path)
        elif tarfile.is_tarfile(path):
            candidates = _in_tar(path)
        else:
            candidates = [(path.name, path.read_bytes())] if path.stat().st_size <= _MOST_ARCHIVE else []
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, ValueError, RuntimeError) as error:
        raise fail(
            f"Cannot read {path}", got=error or type(error).__name__, expected="a wheel, tgz or tflite"
        ) from None
    except Exception as error:  # zlib.error and lzma.LZMAError, which have no common base
        raise fail(f"Cannot read {path}", got=error, expected="a wheel, tgz or tflite") from None
    models: dict[ModelName, bytes] = {}
    for entry, data in candidates:
        name = next((name for name, file in MODEL_FILES.items() if file.fits(data)), None)
        if name is not None:
            models[name] = data
        elif entry.endswith(".tflite"):
            raise fail(
                f"{entry} in {path} is another version of the model",
                got=f"{len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()[:12]}…",
                expected=f"that of {_WHEEL} or {_NPM}",
            )
    return models


def _in_zip(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist() if _is_model(entry)]


def _in_tar(path: Path) -> list[tuple[str, bytes]]:
    found = []
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() and _is_model(member) else None
            if file is not None:
                found.append((member.name, file.read()))
    return found


def _is_model(entry: zipfile.ZipInfo | tarfile.TarInfo) -> bool:
    """Whether an entry has a model's name and size, as its archive states them; readers hold archives to it."""
    name, size = (entry.filename, entry.file_size) if isinstance(entry, zipfile.ZipInfo) else (entry.name, entry.size)
    return (name.rpartition("/")[2], size) in {(file.file_name, file.size) for file in MODEL_FILES.values()}


def _download(result: Installation, say: Callable[[str], object]) -> None:
    """Fetch what is missing; what fails is a problem, for one landmark model is enough."""
    packages: tuple[tuple[str, set[ModelName], Callable[[Path], None]], ...] = (
        (f"{_WHEEL} from PyPI (36 MB)", {"detector", "full"}, _download_wheel),
        (f"{_NPM} from npm (41 MB)", {"heavy"}, _download_npm),
    )
    for package, names, fetch in packages:
        if names <= {*result.present, *result.installed}:
            continue
        say(f"Downloading {package}")
        with tempfile.TemporaryDirectory(prefix="pose-detector-") as folder:
            try:
                fetch(Path(folder))
                _install_from(Path(folder), result)
            except (UserError, OSError, subprocess.SubprocessError) as error:
                result.problems.append(f"{package} cannot be downloaded: {error}")


def _download_wheel(folder: Path) -> None:
    """Let pip fetch the wheel, which knows the user's mirrors and proxies."""
    what = [
        "download",
        "--quiet",
        "--retries=2",
        "--no-deps",
        "--only-binary=:all:",
        *_WHEEL_OF,
        "--dest",
        str(folder),
        _WHEEL,
    ]
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *what], folder)


def _download_npm(folder: Path) -> None:
    """Let npm fetch the tgz where it is installed, which knows the user's registry; else fetch it from the public one.

    ``npm pack`` of a published package downloads it; no script of it is run.
    """
    npm = shutil.which("npm")
    if npm is not None:
        what = ["pack", "--silent", "--ignore-scripts", "--fetch-retries=1", "--pack-destination", str(folder), _NPM]
        _run([npm, *what], folder)
        return
    with (
        requests.get(_NPM_URL, stream=True, timeout=_TIMEOUT_S) as response,
        (folder / "pose.tgz").open("wb") as file,
    ):
        response.raise_for_status()
        taken = 0
        for block in response.iter_content(1 << 20):
            taken += len(block)
            if taken > _MOST_ARCHIVE:
                raise fail(f"{_NPM_URL} is too large", expected=f"{_MOST_ARCHIVE:,} bytes at most")
            file.write(block)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PROGRAM_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines
        raise fail(
            f"{Path(command[0]).name} failed", got=(errors[-1] if errors else f"exit code {done.returncode}")[:200]
        )
