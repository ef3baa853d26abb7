"""Shards that lie behind a URL: fetched when they are needed, kept in a cache of limited size."""

from __future__ import annotations

import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import quote

from tokenizer.engine.cache import cache_folder, locked
from tokenizer.engine.checkpoint import write_atomically
from tokenizer.engine.errors import fail

_SCHEMES = ("http://", "https://", "file://")
_TRIES = 3
_TIMEOUT_S = 60


def is_url(text: str) -> bool:
    """Whether data are named by a URL of a kind that is read: http, https, file."""
    return text.startswith(_SCHEMES)


def fetch(url: str) -> bytes:
    """What is at a URL, small things. Raises ``UserError`` where there is nothing, after three tries."""
    content: list[bytes] = []
    _transfer(url, lambda response: content.append(response.read()))
    return content[-1]


@dataclass(frozen=True)
class Cache:
    """A folder of fetched files; the longest unused go first when they are more than ``limit`` bytes."""

    folder: Path
    limit: int

    def file(self, url: str, name: str) -> Path:
        """The file at ``url`` under a ``name`` that says which version it is; several processes fetch it once.

        Raises ``UserError`` where it cannot be had or kept.
        """
        path = self.folder / name
        try:
            with locked(path.with_suffix(".lock")):
                if not path.exists():
                    _transfer(url, lambda response: write_atomically(path, lambda file: _copy(response, file)))
                    self._make_room(path)
                now = time.time_ns()  # finer than what the file system takes by itself
                os.utime(path, ns=(now, now))
        except OSError as error:
            raise fail(f"{url} cannot be kept in {self.folder}", got=error.strerror or error,
                       next_step="Choose a folder with more space by --cache") from None  # fmt: skip
        return path

    def _make_room(self, newest: Path) -> None:
        files = sorted((path for path in self.folder.glob("*.h5")), key=lambda path: path.stat().st_mtime)
        size = sum(path.stat().st_size for path in files)
        for path in files:
            if size <= self.limit:
                return
            if path != newest:
                size -= path.stat().st_size
                path.unlink(missing_ok=True)


def default_cache(folder: Path | None, gigabytes: float) -> Cache:
    """A cache in ``folder``, or in ``shards`` of the cache folder of the open body."""
    return Cache(folder or cache_folder() / "shards", int(gigabytes * 1e9))


def beside(url: str, name: str) -> str:
    """The URL of a file in the folder ``url``."""
    return f"{url.rstrip('/')}/{quote(name)}"


class _Cut(Exception):
    pass


def _copy(response: IO[bytes], file: IO[bytes]) -> None:
    shutil.copyfileobj(response, file)
    expected = getattr(response, "headers", {}).get("Content-Length")
    if expected is not None and file.tell() != int(expected):
        raise _Cut(f"{file.tell():,} of {int(expected):,} bytes")


def _transfer(url: str, use: Callable[[IO[bytes]], object]) -> None:
    for attempt in range(_TRIES):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
                use(response)
            return
        except urllib.error.HTTPError as error:
            reason: object = f"{error.code} {error.reason}"
            if error.code < 500:
                break
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, FileNotFoundError):
                break
        except (TimeoutError, ConnectionError, HTTPException, _Cut) as error:
            reason = error
        if attempt + 1 < _TRIES:
            time.sleep(2.0**attempt)
    raise fail(f"{url} cannot be read", got=reason, next_step="Check the address; where it needs a key, sign it")
