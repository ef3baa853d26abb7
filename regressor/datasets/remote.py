"""Shards that lie behind a URL: fetched when they are needed, kept in a cache of limited size."""

from __future__ import annotations

import glob
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tokenizer.engine.cache import cache_folder, locked
from tokenizer.engine.checkpoint import write_atomically
from tokenizer.engine.errors import fail

_SCHEMES = ("http://", "https://", "file://")
_TRIES_INDEX, _TRIES_SHARD = 3, 7
"""The pauses between them double, from a second: training waits out a minute without network."""
_PASSING = (408, 429)
"""Answers that ask to come again, next to those from 500."""
_TIMEOUT_S = 60


def is_url(text: str) -> bool:
    """Whether data are named by a URL of a kind that is read: http, https, file."""
    return text.startswith(_SCHEMES)


def fetch(url: str) -> bytes:
    """What is at a URL, small things. Raises ``UserError`` where there is nothing, after three tries."""
    content: list[bytes] = []
    _transfer(url, lambda response: content.append(response.read()), _TRIES_INDEX)
    return content[-1]


@dataclass(frozen=True)
class Cache:
    """A folder of fetched files; the longest unused go first when they are more than ``limit`` bytes."""

    folder: Path
    limit: int

    @contextmanager
    def file(self, url: str, name: str) -> Iterator[Path]:
        """The file at ``url`` under a ``name`` that says which version it is; several processes fetch it once.

        Within, no other process removes it; what is open then can be read on. Raises ``UserError`` where it cannot be
        had or kept.
        """
        path = self.folder / name
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(_lock(path)))
                if not path.exists():
                    for left in self.folder.glob(f"{glob.escape(name)}.*.partial"):
                        left.unlink(missing_ok=True)  # by a process that was killed: we hold the lock
                    _transfer(url, lambda response: write_atomically(path, lambda file: _copy(response, file)),
                              _TRIES_SHARD)  # fmt: skip
                    self._make_room(path)
                now = time.time_ns()  # finer than what the file system takes by itself
                os.utime(path, ns=(now, now))
            except OSError as error:
                raise fail(f"{without_key(url)} cannot be kept in {self.folder}", got=error.strerror or error,
                           next_step="Choose a folder with more space by --cache") from None  # fmt: skip
            yield path

    def _make_room(self, newest: Path) -> None:
        found = []
        for path in self.folder.glob("*.h5"):
            with suppress(FileNotFoundError):  # another process makes room, too
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        size = sum(bytes_ for _, bytes_, _ in found)
        for _, bytes_, path in sorted(found):
            if size <= self.limit:
                return
            if path == newest:
                continue
            with locked(_lock(path), wait=False) as ours:
                if ours:  # else somebody is about to open it
                    path.unlink(missing_ok=True)
                    size -= bytes_


def default_cache(folder: Path | None, gigabytes: float) -> Cache:
    """A cache in ``folder``, or in ``shards`` of the cache folder of the open body."""
    return Cache(folder or cache_folder() / "shards", int(gigabytes * 1e9))


def beside(url: str, name: str) -> str:
    """The URL of a file in the folder ``url``; a key behind a question mark stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def last_name(url: str) -> str:
    """What the folder behind a URL is called."""
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


def without_key(url: str) -> str:
    """A URL as it may be shown: what signs it is left out."""
    return urlunsplit(urlsplit(url)._replace(query=""))


class _Cut(Exception):
    pass


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _copy(response: IO[bytes], file: IO[bytes]) -> None:
    shutil.copyfileobj(response, file)
    expected = getattr(response, "headers", {}).get("Content-Length")
    if expected is not None and file.tell() != int(expected):
        raise _Cut(f"{file.tell():,} of {int(expected):,} bytes")


def _transfer(url: str, use: Callable[[IO[bytes]], object], tries: int) -> None:
    for attempt in range(tries):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
                use(response)
            return
        except urllib.error.HTTPError as error:
            reason: object = f"{error.code} {error.reason}"
            if error.code < 500 and error.code not in _PASSING:
                break
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, FileNotFoundError):
                break
        except (TimeoutError, ConnectionError, HTTPException, ssl.SSLError, _Cut) as error:
            reason = error
        if attempt + 1 < tries:
            time.sleep(2.0**attempt)
    raise fail(f"{without_key(url)} cannot be read", got=reason,
               next_step="Check the address; where it needs a key, sign it")  # fmt: skip
