"""Text as other people's programs save it."""

from __future__ import annotations

import json

import pytest

from tokenizer.config import TokenizerConfig
from tokenizer.engine.config import resolve
from tokenizer.engine.files.text_files import decode_text, read_json, read_text
from tokenizer.mocap.joint_maps import read_joint_map

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")


@pytest.mark.parametrize("encoding", [*ENCODINGS, "cp1252"])
def test_umlauts_and_line_ends_survive(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("März\r\nJuli\n".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "März\nJuli\n"


def test_big_endian_is_read_and_pictures_are_no_text():
    assert decode_text(b"\xfe\xff" + "ä".encode("utf-16-be")) == "ä"
    with pytest.raises(UnicodeDecodeError):
        decode_text(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_with_a_mark_is_json(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"optim": {"lr": 0.5}}).encode(encoding))
    assert read_json(path) == {"optim": {"lr": 0.5}}
    assert resolve(TokenizerConfig(), file=path).optim.lr == 0.5
    path.write_bytes(json.dumps({"left_knee": "lShin"}).encode(encoding))
    assert read_joint_map(path) == {"left_knee": ("lShin",)}


def test_json_of_endless_depth_is_a_value_error(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")
