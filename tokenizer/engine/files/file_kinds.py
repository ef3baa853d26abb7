"""Describe a file by its content, for messages where another kind was expected."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

_OURS = {
    "pose-token-hmr/tokenizer": "an exported tokenizer",
    "pose-token-hmr/poses": "a pose store",
    "pose-token-hmr/crops": "a crop store",
    "pose-token-hmr/shards": "the index of a folder of shards (give the folder)",
    "pose-token-hmr/shard": "one shard of a folder (give the folder)",
    "pose-token-hmr/regressor": "an exported regressor",
    "pose-token-hmr/backbone": "a backbone, as --backbone takes it",
    "pose-token-hmr/evaluation-2d": "results of an evaluation in 2D",
    "pose-token-hmr/evaluation": "results of an evaluation",
}
_BEGINNINGS = (
    (b"\x93NUMPY", "one array (.npy)"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"RIFF", "a picture (WebP) or video"),
    (b"\x1f\x8b", "something compressed by gzip"),
    (b"\x78\x9c", "something compressed by zlib"),
    (b"%PDF", "a PDF"),
    (b"HIERARCHY", "motion (BVH)"),
    (b"\x80", "a pickle"),
    (b"7z\xbc\xaf", "a 7z archive"),
)
_MOST_TEXT = 1 << 24


def kind_of(path: str | Path) -> str:
    """What is at ``path``, in words: "an exported tokenizer", "a picture (PNG)", "nothing"."""
    path = Path(path)
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            start = file.read(512)
        if not start:
            return "an empty file"
        if start.startswith(b"\x89HDF\r\n\x1a\n"):
            return _hdf5(path)
        if start.startswith(b"PK\x03\x04"):
            return _archive(path)
        if start[257:262] == b"ustar":
            return "a tar archive"
        if start[4:8] == b"ftyp":
            return "a picture (HEIC, AVIF) or video"
        for beginning, words in _BEGINNINGS:
            if start.startswith(beginning):
                return words
        return _text(path, start)
    except FileNotFoundError:
        return "nothing"
    except PermissionError:
        return "a file that may not be read"
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return "a damaged file"


def is_ours(words: str) -> bool:
    """Whether ``kind_of`` found one of our own kinds of files, or a folder."""
    return words in _OURS.values() or words.startswith(("a folder", "the folder", "a checkpoint"))


def _folder(path: Path) -> str:
    if (path / "shards.json").is_file():
        return "a folder of shards"
    return "the folder of a run" if (path / "config.json").is_file() else "a folder"


def _hdf5(path: Path) -> str:
    import h5py

    with h5py.File(path, "r") as file:
        file_format = file.attrs.get("format")
    return _OURS.get(str(file_format), "an HDF5 file of another program")


def _archive(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        if not pickles:
            return "an npz of arrays" if all(name.endswith(".npy") for name in names) else "a zip archive"
        with archive.open(pickles[0]) as file:
            start = file.read(_MOST_TEXT)
    ours = [words for name, words in _OURS.items() if name.encode() in start]
    return ours[0] if ours else "a checkpoint of a training, or of another program"


def _text(path: Path, start: bytes) -> str:
    if b"\0" in start:
        return "a file of another kind"
    if start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] not in (b"{", b"["):
        return "a text" if start.isascii() else "a file of another kind"
    if path.stat().st_size <= _MOST_TEXT:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("format") in _OURS:
            return _OURS[content["format"]]
    return "a JSON text"
