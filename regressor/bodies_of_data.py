"""Whose body an annotation is of: its shape numbers, and where its joints lie, mean nothing on another."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizer import Body

from .datasets.crop_store import CropStore

_OF_SMPL = ("4dhumans", "bedlam", "3dpw", "emdb", "evaluation-npz")
"""Formats that annotate people with SMPL's bodies; those of the others know none, or that they were made with."""


def note_on_body(stores: Iterable[CropStore], body: Body) -> str | None:
    """Plain words where crops of SMPL's bodies are to be trained on with the open body; None where all is well."""
    names = [str(store.path) for store in stores if store.attributes.get("format") in _OF_SMPL]
    if body.kind != "open" or not names:
        return None
    return (
        f"{', '.join(names)} annotate SMPL's bodies, and --body is the open one: shapes will mean nothing, and "
        "joints be off. Give SMPL's neutral model with --body."
    )
