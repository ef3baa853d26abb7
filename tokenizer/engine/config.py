"""Configuration: frozen dataclasses are the schema, files are JSON, ``a.b=value`` strings override."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import UserError, fail
from .files.text_files import read_json

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON-able values (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def require_at_least(config: Any, where: str, **least: float) -> None:
    """Raises ``UserError`` where a number of ``config`` lies below what ``least`` says of its name, or is not finite;
    ``where`` begins the key it is told by: ``optim.``, or nothing."""
    for name, bound in least.items():
        value = getattr(config, name)
        if not math.isfinite(value):
            raise fail(f"{where}{name} is no finite number", got=value, expected=f"{bound} or more")
        if value < bound:
            raise fail(f"{where}{name} is too small", got=value, expected=f"{bound} or more")


def from_dict(schema: type[C], values: Mapping[str, Any], *, base: C | None = None, where: str = "") -> C:
    """Build ``schema`` from ``values`` over the defaults (or over ``base``).

    Raises ``UserError`` for an unknown key (naming the nearest) or a value of the wrong type.
    """
    hints = typing.get_type_hints(schema)
    current = {f.name: getattr(base, f.name) for f in dataclasses.fields(schema)} if base is not None else {}  # type: ignore[arg-type]
    for key, value in values.items():
        path = f"{where}.{key}" if where else key
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known keys here: {', '.join(sorted(hints))}"
            raise fail(f"Unknown configuration key {path!r}", next_step=hint)
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise fail(f"Configuration key {path!r} is a group", got=repr(value), expected="a JSON object")
            current[key] = from_dict(kind, value, base=current.get(key), where=path)  # type: ignore[arg-type]
        else:
            current[key] = _coerce(kind, value, path)
    return schema(**current)


def _coerce(kind: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            if option is type(None):
                if value is None:
                    return None
                continue
            try:
                return _coerce(option, value, path)
            except UserError:
                continue
    elif origin is typing.Literal:
        if value in args:
            return value
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            element = args[0] if args else Any
            return tuple(_coerce(element, item, path) for item in value)
    elif origin is dict:
        if isinstance(value, Mapping):
            return {str(k): _coerce(args[1], v, f"{path}.{k}") for k, v in value.items()}
    elif kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind is Any or (isinstance(kind, type) and isinstance(value, kind)):
        return value
    expected = f"one of {', '.join(map(repr, args))}" if origin is typing.Literal else getattr(kind, "__name__", kind)
    raise fail(f"Configuration key {path!r} has the wrong type", got=repr(value), expected=expected)


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
    """Preset, then the JSON ``file``, then ``key=value`` assignments; later wins.

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
        config = from_dict(type(config), values, base=config)
    return from_dict(type(config), parse_assignments(assignments), base=config)
