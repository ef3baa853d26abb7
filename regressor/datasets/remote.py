"""Shards that lie behind a URL: fetched when they are needed, kept in a cache of limited size."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

import requests
import urllib3
from urllib3.util.retry import Retry

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.atomic import write_atomically, write_bytes_atomically
from tokenizer.engine.files.cache import cache_folder, locked

_SCHEMES = ("http://", "https://", "file://")
_TRIES_INDEX, _TRIES_SHARD = 3, 7
"""The pauses between them double: training waits out a minute without network."""
_PASSING = (408, 429)
"""Status codes that are retried, in addition to those from 500."""
_TIMEOUT_S = 60
_MOST_INDEX, _MOST_SHARD = 64 << 20, 8 << 30
"""Bytes that are taken from a network at most."""
_NAME = re.compile(r"\w[\w .+()-]{0,200}")


def is_url(text: str) -> bool:
    """Whether data are named by a URL of a kind that is read: http, https, file."""
    return text.startswith(_SCHEMES)


def is_plain_name(name: object) -> bool:
    """Whether a file of that name lies in its folder, on every system: letters, digits and few signs, no path."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def fetch(url: str, cache: Cache | None = None) -> tuple[bytes, str]:
    """What is at a URL, small things, and a note where it is what ``cache`` has from before: no network, or a server
    that does not answer.

    Raises ``UserError`` where there is nothing, after three tries, or more than 64 MiB.
    """
    content: list[bytes] = []
    cached = (
        None if cache is None else cache.folder / f"{hashlib.sha256(without_key(url).encode()).hexdigest()[:32]}.index"
    )

    def take(response: IO[bytes]) -> None:
        memory = io.BytesIO()
        _copy(response, memory, _MOST_INDEX)
        content.append(memory.getvalue())

    try:
        _transfer(url, take, _TRIES_INDEX)
    except _NoAnswerError:
        if cached is None or not cached.is_file():
            raise
        with cached.open("rb") as file:
            return file.read(_MOST_INDEX), f"{without_key(url)} does not answer: what was fetched before is used"
    if cached is not None and not url.startswith("file://"):
        with suppress(OSError):  # without it, training continues as long as there is a network
            write_bytes_atomically(cached, content[-1])
    return content[-1], ""


@dataclass(frozen=True)
class Cache:
    """A folder of fetched files; the longest unused go first when they are more than ``limit`` bytes."""

    folder: Path
    limit: int

    @contextmanager
    def file(self, url: str, name: str) -> Iterator[Path]:
        """The file at ``url`` under a ``name`` that says which version it is; several processes fetch it once.

        Within, no other process removes it; what is open then can be read on. Raises ``UserError`` where it cannot be
        had or kept, and for a name that leads out of the cache.
        """
        if not is_plain_name(name):
            raise fail("A shard's name leads out of the cache", got=repr(name)[:100], expected="letters and digits")
        path = self.folder / name
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(_lock(path)))
                if not path.exists():
                    for leftover in self.folder.glob(f"{glob.escape(name)}.*.partial"):
                        leftover.unlink(missing_ok=True)  # by a process that was killed: we hold the lock
                    _transfer(url, lambda response: write_atomically(path, partial(_copy, response)), _TRIES_SHARD)
                    self._make_room(path)
                now = time.time_ns()  # finer than what the file system takes by itself
                os.utime(path, ns=(now, now))
            except OSError as error:
                raise fail(
                    f"{without_key(url)} cannot be kept in {self.folder}",
                    got=error.strerror or error,
                    next_step="Choose a folder with more space by --cache",
                ) from None
            yield path

    def _make_room(self, newest: Path) -> None:
        cached = []
        for path in self.folder.glob("*.h5"):
            with suppress(FileNotFoundError):  # another process makes room, too
                status = path.stat()
                cached.append((status.st_mtime_ns, status.st_size, path))
        size = sum(bytes_ for _, bytes_, _ in cached)
        for _, bytes_, path in sorted(cached):
            if size <= self.limit:
                return
            if path == newest:
                continue
            with locked(_lock(path), wait=False) as is_locked:
                if is_locked:  # else somebody is about to open it
                    path.unlink(missing_ok=True)
                    size -= bytes_


def default_cache(folder: Path | None, gigabytes: float) -> Cache:
    """A cache in ``folder``, or in ``shards`` of the cache folder of the open body."""
    return Cache(folder or cache_folder() / "shards", int(gigabytes * 1e9))


def join_url(url: str, name: str) -> str:
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


class _TooLargeError(Exception):
    pass


class _NoAnswerError(UserError):
    """Nobody was reached, or nobody who could answer."""


class _Session(requests.Session):
    """Follows ten redirections at most, and none from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 10

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer redirects to. Raise ``_RefusedError`` for another scheme than https, or the same."""
        target: str | None = super().get_redirect_target(resp)
        scheme = urlsplit(target).scheme if target else ""
        if scheme and scheme not in ("https", urlsplit(resp.url).scheme):
            raise _RefusedError(f"redirects to {without_key(str(target))}")
        return target


class _RefusedError(Exception):
    pass


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _copy(response: IO[bytes], file: IO[bytes], most: int | None = None) -> None:
    """Copy what was promised, and ``most`` bytes at most, by default those of a shard."""
    most = _MOST_SHARD if most is None else most
    stated = str(getattr(response, "headers", {}).get("Content-Length") or "")
    expected = int(stated) if stated.isdecimal() and len(stated) < 20 else None
    received = 0
    while received <= most and (expected or 0) <= most and (block := response.read(1 << 20)):
        file.write(block)
        received += len(block)
    if max(received, expected or 0) > most:
        raise _TooLargeError(f"more than {most:,} bytes")
    if expected is not None and received != expected:
        raise _Cut(f"{received:,} of {expected:,} bytes")


def _transfer(url: str, use: Callable[[IO[bytes]], object], tries: int) -> None:
    """Let ``use`` read what is at a URL, again from the beginning after an error that may pass.

    Raise ``_NoAnswerError`` where ``tries`` have failed so, ``UserError`` at once for any other error.
    """
    retry = Retry(total=tries - 1, backoff_factor=1.0, respect_retry_after_header=False)
    while True:
        kind: type[UserError] = UserError
        try:
            _open(url, use)
            return
        except requests.HTTPError as error:
            answer = error.response
            status = 0 if answer is None else answer.status_code
            reason: object = error if answer is None else f"{status} {answer.reason}"
            if status >= 500 or status in _PASSING:
                kind = _NoAnswerError
        except (FileNotFoundError, _TooLargeError, _RefusedError, requests.TooManyRedirects) as error:
            reason = error
        except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError, ConnectionError, _Cut) as error:
            reason, kind = error, _NoAnswerError
        if kind is UserError or not retry.total:
            break
        retry = retry.increment(method="GET", url=url, error=ConnectionError())
        retry.sleep()
    reason = getattr(reason, "strerror", None) or reason
    raise kind(
        str(
            fail(
                f"{without_key(url)} cannot be read",
                got=reason,
                next_step="Check the address; where it needs a key, sign it",
            )
        )
    )


def _open(url: str, use: Callable[[IO[bytes]], object]) -> None:
    if url.startswith("file://"):
        with Path(url2pathname(urlsplit(url).path)).open("rb") as file:
            use(file)
        return
    # Bytes as they are stored: a compressed answer would not have the length that it states.
    with (
        _Session() as session,
        session.get(url, stream=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}) as response,
    ):
        response.raise_for_status()
        response.raw.enforce_content_length = False  # ``_copy`` compares, and says both numbers
        use(response.raw)
