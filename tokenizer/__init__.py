"""Stage 1: a vocabulary of body poses, learned from mocap and frozen into one file."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Body": "body.model",
    "load_body": "body.model",
    "PoseTokenizer": "network.model",
    "FrozenTokenizer": "frozen",
    "load_tokenizer": "frozen",
    "Clip": "mocap.clip",
    "read_clip": "mocap.readers",
    "encode_clip": "codec",
    "decode_clip": "codec",
    "complete_clip": "codec",
    "evaluate_tokenizer": "evaluation.reconstruction",
    "token_stability": "evaluation.reconstruction",
}

__all__ = [
    "Body",
    "Clip",
    "FrozenTokenizer",
    "PoseTokenizer",
    "complete_clip",
    "decode_clip",
    "encode_clip",
    "evaluate_tokenizer",
    "load_body",
    "load_tokenizer",
    "read_clip",
    "token_stability",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Public names load on first use, so that ``--help`` never pays for torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
