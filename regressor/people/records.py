"""What is done in a folder of predictions: a line an image in ``predictions.jsonl``, and summaries for spreadsheets.

1. A line is written after the last file of its image: what was cut off is done again.
2. An image is done where its file, the settings, and all files of its results are those of its line.
3. When an image is done again, files of people who are no longer in it are removed; by names made here, not read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizer.engine.files.atomic import append_line, write_text_atomically

from .jobs import Job

RECORDS = "predictions.jsonl"
_MOST_BYTES = 1 << 28
_COLUMNS = (
    *("image", "number", "x0", "y0", "x1", "y1", "score", "source", "camera"),
    *("translation_x", "translation_y", "translation_z", "files"),
)


@dataclass(frozen=True)
class Record:
    """The line of one image: its path and ``name`` of results, ``size`` in bytes and ``modified`` (nanoseconds) of its
    file, the digest of ``settings``, ``people``: a row each, and the names of the ``files`` written."""

    image: str
    name: str
    size: int
    modified: int
    settings: str
    people: list[dict[str, Any]]
    files: list[str]


class Records:
    """The records of the folder ``out``, for predictions with ``settings``, of which a digest is kept."""

    def __init__(self, out: Path, settings: object) -> None:
        self.out = out
        self.settings = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
        text = _text(out / RECORDS)
        self._by_name = {record.name: record for record in _records(text)}
        self._end = "" if not text or text.endswith("\n") else "\n"

    def done(self, job: Job) -> Record | None:
        """Return the record of an image that is done; None for one that is to be done."""
        record = self._by_name.get(job.name)
        if record is None or record != self._of(job, record.people, record.files):
            return None
        return record if all((self.out / Path(name).name).is_file() for name in record.files) else None

    def add(self, job: Job, people: list[dict[str, Any]], files: Sequence[Path]) -> Record:
        """Note that an image is done, and remove what an earlier prediction of it left."""
        record = self._of(job, people, [file.name for file in files])
        earlier = self._by_name.get(job.name)
        if earlier is not None:
            ours = re.compile(rf"{re.escape(job.name)}_(\d+\.(npz|obj)|overlay\.png)")
            for name in set(map(str, earlier.files)) - set(record.files):
                if ours.fullmatch(name):
                    (self.out / name).unlink(missing_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        append_line(self.out / RECORDS, self._end + json.dumps(asdict(record)))
        self._end = ""
        self._by_name[job.name] = record
        return record

    def _of(self, job: Job, people: list[dict[str, Any]], files: list[str]) -> Record:
        about = job.image.stat()
        settings = f"{self.settings} {','.join(map(str, job.boxes))}"
        return Record(str(job.image), job.name, about.st_size, about.st_mtime_ns, settings, people, files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= _MOST_BYTES else ""
    except OSError:
        return ""


def _records(text: str) -> list[Record]:
    """The lines that are records, in order; others, such as one that was cut off, are passed over."""
    records = []
    for line in text.splitlines():
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            continue
        texts = (record.name, *record.files) if isinstance(record.files, list) else (None,)
        people = record.people if isinstance(record.people, list) else [None]
        if all(isinstance(text, str) for text in texts) and all(map(_is_row, people)):
            records.append(record)
    return records


def _is_row(row: Any) -> bool:
    """Whether a value read from a record can be a row of a summary."""
    lists = {"box": 4, "translation": 3}
    return (
        isinstance(row, dict)
        and {"image", "number", "score", "source", "camera", "files"} <= row.keys()
        and all(isinstance(row.get(name), list) and len(row[name]) == count for name, count in lists.items())
        and isinstance(row["files"], list)
        and all(isinstance(file, str) for file in row["files"])
    )


def write_json(path: Path, records: Iterable[Record]) -> None:
    """Write a list with one row a person: image, number of the person in it, box in pixels, score and source of the
    detection, source of the camera, translation in metres, names of the files."""
    rows = [row for record in records for row in record.people]
    write_text_atomically(path, json.dumps(rows, indent=1) + "\n")


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """Write the rows of ``write_json`` as a table, with a column for each number."""
    rows = [row for record in records for row in record.people]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        numbers = (*row["box"], "" if row["score"] is None else row["score"])
        where = (row["source"], row["camera"], *row["translation"], " ".join(row["files"]))
        writer.writerow((row["image"], row["number"], *numbers, *where))
    write_text_atomically(path, table.getvalue())
