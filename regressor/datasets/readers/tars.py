"""Tars of training data: a picture and a pickle ``data.pyd`` of its people under one key, read without unpacking."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.safe_pickle import loads_pickle
from tokenizer.engine.files.state_files import reason_of

from ..annotation import ImageRecord, Item, Person, SkippedItem, file_key

_PICTURES = ("jpg", "jpeg", "png")
_PEOPLE = "data.pyd"
_MOST_BYTES = 1 << 28
"""A member larger than that is neither a photograph nor its annotation."""

PersonOf = Callable[[Any, str], Person]


@dataclass(frozen=True)
class TarPart:
    """A tar. ``person``: annotation of one person and how messages call it → ``Person``; ``turned``: word in the keys
    of pictures that are to be turned; ``corrupt``: keys, whole or without folders, of pictures to leave out."""

    path: Path
    key: str
    split: str
    person: PersonOf
    turned: str = ""
    corrupt: frozenset[str] = frozenset()

    def photos(self) -> Iterator[Item]:
        """The photographs in the order of the tar; members of one key stand together, as the writers put them."""
        current, members = "", dict[str, bytes]()
        taken = 0
        try:
            with tarfile.open(self.path) as tar:
                for member in tar:
                    name = PurePosixPath(member.name)
                    stem, _, ending = name.name.partition(".")
                    key, ending = str(name.parent / stem), ending.lower()
                    if not member.isfile() or ending not in (*_PICTURES, _PEOPLE):
                        continue
                    if key != current and members:
                        yield from self._photo(current, members)
                        members, taken = {}, taken + 1
                    current = key
                    if member.size > _MOST_BYTES:
                        raise tarfile.ReadError(f"{member.name} of {member.size:,} bytes")
                    file = tar.extractfile(member)
                    data = b"" if file is None else file.read()
                    if len(data) != member.size:
                        raise tarfile.ReadError("unexpected end of data")
                    members[ending] = data
        except (tarfile.TarError, OSError, EOFError) as error:
            # What is whole comes out; the picture that the cut went through does not.
            reason = reason_of(error).rstrip(":")
            yield SkippedItem(str(self.path), f"cut short or damaged after {taken} pictures: {reason}")
            return
        if members:
            yield from self._photo(current, members)

    def _photo(self, key: str, members: dict[str, bytes]) -> Iterator[Item]:
        where = f"{self.path.name}, {key}"
        if self.corrupt & {key, PurePosixPath(key).name}:
            yield SkippedItem(where, "listed as corrupt")
            return
        picture = next((members[ending] for ending in _PICTURES if ending in members), None)
        if picture is None or _PEOPLE not in members:
            yield SkippedItem(where, f"has no {'picture' if picture is None else _PEOPLE}")
            return
        try:
            people = loads_pickle(members[_PEOPLE], f"{where}.{_PEOPLE}")
            if not isinstance(people, list | tuple):
                raise fail(f"{where}.{_PEOPLE} is no list of people", got=type(people).__name__)
        except UserError as error:
            yield SkippedItem(where, str(error))
            return
        people_read = []
        for number, person_json in enumerate(people):
            try:
                people_read.append(self.person(person_json, f"{where}, person {number}"))
            except UserError as error:
                yield SkippedItem(f"{where}, person {number}", str(error))
        yield ImageRecord(where, picture, tuple(people_read), turned=bool(self.turned) and self.turned in key)


def tar_parts(sources: list[Path], split: str, person: PersonOf, turned: str = "") -> list[TarPart]:
    """A part for each tar among ``sources``, files or folders of them, sorted. Raises ``UserError`` without any."""
    paths: list[Path] = []
    for source in sources:
        paths += sorted(source.rglob("*.tar")) if source.is_dir() else [source]
    if not paths:
        raise fail(f"No tars in {', '.join(map(str, sources))}")
    return [TarPart(path, file_key(path), split, person, turned) for path in paths]
