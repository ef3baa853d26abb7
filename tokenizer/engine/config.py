"""Configuration: frozen dataclasses are the schema, files are JSON, ``a.b=value`` strings override.

A dataclass lists the former names of its fields in ``RENAMED`` (former → present), a ``ClassVar``: files and settings
that still use them are read.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from .errors import UserError, fail
from .files.text_files import read_json

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON-able values (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def require_at_least(config: Any, where: str, **least: float) -> None:
    """Raises ``UserError`` where a number of ``config`` lies below what ``least`` says of its name, or is not finite;
    ``where`` is the prefix of its key in the message: ``optim.``, or nothing."""
    for name, bound in least.items():
        value = getattr(config, name)
        if not math.isfinite(value):
            raise fail(f"{where}{name} is no finite number", got=value, expected=f"{bound} or more")
        if value < bound:
            raise fail(f"{where}{name} is too small", got=value, expected=f"{bound} or more")


def from_dict(
    schema: type[C],
    values: Mapping[str, Any],
    *,
    base: C | None = None,
    where: str = "",
    on_renamed: Callable[[str, str], None] | None = None,
) -> C:
    """Build ``schema`` from ``values`` over the defaults (or over ``base``).

    ``on_renamed`` is called with the former and the present key where a former one is used. Raise ``UserError`` for an
    unknown key (naming the nearest), a key given under both of its names, or a value of the wrong type.
    """
    hints = typing.get_type_hints(schema)
    names = [f.name for f in dataclasses.fields(schema)]  # type: ignore[arg-type]
    current = {name: getattr(base, name) for name in names} if base is not None else {}
    for key, value in _present_keys(schema, values, where, on_renamed).items():
        path = f"{where}.{key}" if where else key
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known keys here: {', '.join(sorted(names))}"
            raise fail(f"Unknown configuration key {path!r}", next_step=hint)
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise fail(f"Configuration key {path!r} is a group", got=repr(value), expected="a JSON object")
            group = current.get(key)
            current[key] = from_dict(kind, value, base=group, where=path, on_renamed=on_renamed)  # type: ignore[arg-type]
        else:
            current[key] = _coerce(kind, value, path)
    return schema(**current)


def _present_keys(
    schema: type, values: Mapping[str, Any], where: str, on_renamed: Callable[[str, str], None] | None
) -> dict[str, Any]:
    """Return ``values`` with every former key of ``schema`` replaced by the present one."""
    former_keys: Mapping[str, str] = getattr(schema, "RENAMED", {})
    present: dict[str, Any] = {}
    for key, value in values.items():
        name = former_keys.get(key, key)
        if name in present:
            raise fail(f"Configuration key {name!r} is given twice, the second time as {key!r}", next_step="Give one")
        if name != key and on_renamed is not None:
            prefix = f"{where}." if where else ""
            on_renamed(prefix + key, prefix + name)
        present[name] = value
    return present


def _coerce(kind: Any, value: Any, path: str) -> Any:
    """Return ``value`` as the annotated ``kind``. Raise ``UserError`` where its type is another."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    try:
        if origin in (typing.Union, types.UnionType):
            return _coerce_union(args, value, path)
        if origin is tuple and isinstance(value, (list, tuple)):
            return tuple(_coerce(args[0] if args else Any, item, path) for item in value)
        if origin is dict and isinstance(value, Mapping):
            return {str(key): _coerce(args[1], item, f"{path}.{key}") for key, item in value.items()}
        if origin is typing.Literal and value in args:
            return value
        if origin is None:
            return _coerce_plain(kind, value)
    except TypeError:
        pass
    expected = f"one of {', '.join(map(repr, args))}" if origin is typing.Literal else getattr(kind, "__name__", kind)
    raise fail(f"Configuration key {path!r} has the wrong type", got=repr(value), expected=expected)


def _coerce_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    for option in options:
        if option is type(None):
            if value is None:
                return None
            continue
        try:
            return _coerce(option, value, path)
        except UserError:
            continue
    raise TypeError


def _coerce_plain(kind: Any, value: Any) -> Any:
    """An int serves where a float is asked for; a bool is never a number."""
    if kind is Any:
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise TypeError


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["optim.lr=1e-4", "name=x"]`` → nested dict; values are JSON, bare words are strings."""
    nested: dict[str, Any] = {}
    for text in assignments:
        key, sign, raw = text.partition("=")
        if not sign or not key:
            raise fail("A setting is not of the form key=value", got=repr(text), expected="e.g. optim.lr=1e-4")
        value = _plain_value(raw)
        *groups, leaf = key.split(".")
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
            if not isinstance(target, dict):
                raise fail(f"Setting {text!r} contradicts an earlier one for {group!r}")
        target[leaf] = value
    return nested


def _plain_value(raw: str) -> Any:
    """JSON, or a number as Python writes it (``.5``), or the text itself."""
    for read in (json.loads, float):
        try:
            return read(raw)
        except ValueError:
            continue
    return raw


def resolve(preset: C, *, file: str | Path | None = None, assignments: Iterable[str] = ()) -> C:
    """Preset, then the JSON ``file``, then ``key=value`` assignments; later wins. Former keys are read, with a note.

    Raises ``UserError`` for a file that is no JSON object, an unknown key or a mistyped value.
    """
    config = preset
    if file is not None:
        try:
            values = read_json(file)
        except (OSError, ValueError) as error:
            raise fail(f"Cannot read configuration {file}", got=error, expected="a JSON object") from None
        if not isinstance(values, dict):
            raise fail(f"Configuration {file}", got=type(values).__name__, expected="a JSON object")
        config = from_dict(type(config), values, base=config, on_renamed=_note_renamed)
    return from_dict(type(config), parse_assignments(assignments), base=config, on_renamed=_note_renamed)


def _note_renamed(former: str, present: str) -> None:
    click.echo(f"note: {former} is now {present}", err=True)
