"""Text files as people save them: Notepad, Excel and PowerShell put marks in front, or use other encodings."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "cp1252"
"""What Excel for Windows saves "CSV" in, where umlauts are no UTF-8."""


def decode_text(data: bytes) -> str:
    """The text in ``data``: UTF-8, with a byte order mark or without, or UTF-16 with one; what is none of these is
    taken as Windows' western encoding. Raises ``UnicodeDecodeError`` for bytes that are no text in any of them."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    try:
        return data.decode()
    except UnicodeDecodeError:
        if b"\0" in data:
            raise
        return data.decode(_WESTERN)


def read_text(path: str | Path) -> str:
    """The text of a file, see ``decode_text``; its lines end in a line feed. Raises ``OSError``, too."""
    return decode_text(Path(path).read_bytes()).replace("\r\n", "\n")


def read_json(path: str | Path) -> Any:
    """Return the value of a JSON file, see ``decode_text``. Raise ``OSError``, and ``ValueError`` for other text."""
    try:
        return json.loads(decode_text(Path(path).read_bytes()))
    except RecursionError:
        raise ValueError("brackets in brackets, beyond all depth") from None
