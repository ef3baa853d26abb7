"""What was done in a folder, in ``history.jsonl``: a record an attempt at a stage, interrupted ones included.

While a stage is at work ``attempt.json`` is updated every second: what is left there after a kill is taken for an
interrupted attempt by whoever reads next, so that no time is lost.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Record = dict[str, Any]
"""``stage``, ``commands``, ``recipe``, ``inputs``, ``began``, ``resumed``, ``seconds``; ``finished`` and ``made`` where
it came to its end."""
_FILE, _ATTEMPT = "history.jsonl", "attempt.json"


@contextmanager
def attempt(runs: Path, about: Record) -> Iterator[Record]:
    """Note down an attempt at the stage that ``about`` describes; what the block puts into the record is kept.

    An exception leaves it as an interrupted attempt, a kill as ``attempt.json``.
    """
    began = time.monotonic()
    record = {**about, "began": time.time()}
    ended = threading.Event()

    def keep_time() -> None:
        while not ended.wait(1.0):
            note_time()

    def note_time() -> None:
        with suppress(OSError):  # a full disk: the files of the stage itself meet it, too, and say so
            _write_quickly(runs / _ATTEMPT, {**record, "pid": os.getpid(), "seconds": seconds()})

    def seconds() -> float:
        return round(time.monotonic() - began, 1)

    note_time()
    clock = threading.Thread(target=keep_time, daemon=True)
    clock.start()
    result: Record = {}
    try:
        yield result
    except BaseException:
        ended.set()
        clock.join()
        with suppress(OSError):
            _append(runs, {**record, "seconds": seconds()})
            _forget(runs)
        raise
    ended.set()
    clock.join()
    _append(runs, {**record, "seconds": seconds(), **result})
    _forget(runs)


def take_over(runs: Path) -> None:
    """Put what a killed process left in ``attempt.json`` into the history. Call while no other process is at work."""
    unfinished = _left(runs, _lines(runs))
    if unfinished is not None:
        _append(runs, unfinished)
    _forget(runs)


def records(runs: Path) -> list[Record]:
    """Every attempt so far, in order; last the one at work now, or left by a process that was killed."""
    records = _lines(runs)
    unfinished = _left(runs, records)
    return records if unfinished is None else [*records, unfinished]


def last_finished(runs: Path) -> dict[str, Record]:
    """The newest record of every stage that came to its end, by stage name."""
    return {record["stage"]: record for record in records(runs) if _is_finished(record)}


def last_runs(runs: Path) -> dict[str, Record]:
    """The newest record of every stage, by name, with ``seconds`` of all attempts at the same and their number.

    An attempt belongs to the one before it where that was interrupted, or where it went on with its training, on the
    same data with the same settings. A stage begun anew that has not come to its end does not hide what it last made.
    """
    last: dict[str, Record] = {}
    finished: dict[str, Record] = {}
    for record in records(runs):
        name, before = record["stage"], last.get(record["stage"])
        now = {**record, "attempts": 1}
        if before is not None and _same(before, record) and (record.get("resumed") or not _is_finished(before)):
            now["seconds"] += before["seconds"]
            now["attempts"] += before["attempts"]
        last[name] = now
        if _is_finished(record) or record.get("pid") == os.getpid():
            finished[name] = now
    return {name: finished.get(name, record) for name, record in last.items()}


def _is_finished(record: Record) -> bool:
    return record.get("finished") is not None


def _same(record: Record, other: Record) -> bool:
    keys = ("recipe", "inputs") if "recipe" in record and "recipe" in other else ("commands",)
    return all(record.get(key) == other.get(key) for key in keys)


def _lines(runs: Path) -> list[Record]:
    file = runs / _FILE
    records = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        with suppress(json.JSONDecodeError):  # cut by a kill
            records.append(json.loads(line))
    return records


def _left(runs: Path, known: list[Record]) -> Record | None:
    """What ``attempt.json`` holds, unless it came to its end and its record is there."""
    try:
        unfinished: Record = json.loads((runs / _ATTEMPT).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return None if any(record.get("began") == unfinished["began"] for record in known) else unfinished


def _append(runs: Path, record: Record) -> None:
    with (runs / _FILE).open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * torn + json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _forget(runs: Path) -> None:
    """Remove ``attempt.json``. Where it cannot be (read by another process, on Windows) its record in the history tells
    that it has ended."""
    with suppress(OSError):
        (runs / _ATTEMPT).unlink()


def _write_quickly(path: Path, record: Record) -> None:
    """Whole or not at all, but not synced: a power cut may cost the time of one attempt."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(record), encoding="utf-8")
    partial.replace(path)
