"""Configuration: files and assignments over defaults, former keys, mistakes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from tokenizer.engine import config as options
from tokenizer.engine.errors import UserError


@dataclass(frozen=True)
class Inner:
    lr: float = 1e-3
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    levels: tuple[int, ...] = (8, 8)
    name: str | None = None


def test_later_settings_win(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"inner": {"lr": 0.5, "kind": "b"}, "levels": [4]}))
    config = options.resolve(Outer(), file=file, assignments=["inner.lr=2", "name=x"])
    assert config == Outer(Inner(2.0, "b"), (4,), "x")
    assert options.from_dict(Outer, options.to_dict(config)) == config


@dataclass(frozen=True)
class Renamed:
    RENAMED: ClassVar[dict[str, str]] = {"rate": "lr"}
    lr: float = 1e-3


@dataclass(frozen=True)
class OuterRenamed:
    RENAMED: ClassVar[dict[str, str]] = {"inside": "inner"}
    inner: Renamed = field(default_factory=Renamed)


def test_former_keys_are_read_and_settings_say_their_present_name(tmp_path, capsys):
    assert options.from_dict(OuterRenamed, {"inside": {"rate": 2}}) == OuterRenamed(Renamed(2.0))
    assert capsys.readouterr().err == ""
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"inner": {"rate": 0.5}}))
    assert options.resolve(OuterRenamed(), file=file) == OuterRenamed(Renamed(0.5))
    assert options.resolve(OuterRenamed(), assignments=["inside.rate=3"]) == OuterRenamed(Renamed(3.0))
    assert capsys.readouterr().err.splitlines() == [
        "note: inner.rate is now inner.lr",
        "note: inside is now inner",
        "note: inner.rate is now inner.lr",
    ]
    assert options.to_dict(OuterRenamed()) == {"inner": {"lr": 1e-3}}
    with pytest.raises(UserError, match="given twice"):
        options.from_dict(Renamed, {"lr": 1, "rate": 2})
    with pytest.raises(UserError, match="Unknown configuration key 'RENAMED'"):
        options.resolve(Renamed(), assignments=["RENAMED={}"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("inner.lrr=1", "Did you mean 'lr'"),
        ("inner.lr=fast", "wrong type"),
        ("inner=3", "is a group"),
        ("inner.kind=c", "one of 'a', 'b'"),
        ("levels=[1.5]", "wrong type"),
        ("nothing", "key=value"),
    ],
)
def test_bad_settings_say_what_is_wrong(text, says):
    with pytest.raises(UserError, match=says):
        options.resolve(Outer(), assignments=[text])
