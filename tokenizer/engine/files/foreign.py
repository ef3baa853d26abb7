"""Checkpoints of other projects, read as tensors and plain containers: nothing in them is run, none of their
libraries is needed."""

from __future__ import annotations

import collections
import re
import typing
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from ..errors import fail
from .contents import tensor_problems
from .state_files import reason_of
from .torch_files import check_torch_file

# Settings of yacs and OmegaConf come as objects. Their classes are only named, never imported: dictionaries take their
# place, and keep their state as attributes.
_SETTINGS = (
    "yacs.config.CfgNode",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
)
_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")


def load_foreign(path: str | Path, *, expected: str) -> dict[str, Any]:
    """The dictionary in a file of ``torch.save`` by another project; large tensors stay on disk until they are used.

    The tensors of a safetensors file stand under ``state_dict``.
    ``expected`` says in messages what the file should be. Raises ``UserError`` for a file that is missing, damaged,
    hostile, or holds no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(f"No file at {path}", expected=expected)
    if _is_safetensors(path):
        return {"state_dict": _safetensors(path, expected)}
    plain: list[Any] = [collections.OrderedDict, collections.defaultdict, dict, list, int, typing.Any]
    plain += [(collections.OrderedDict, name) for name in _SETTINGS]
    try:
        check_torch_file(path, _SETTINGS, repeated=True)
        with torch.serialization.safe_globals(plain):
            # Files of old versions of torch are no archives, and cannot be mapped.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        message = f"Cannot read {path}; nothing in it was run"
        raise fail(message, got=reason_of(error), expected=expected) from None
    if not isinstance(content, dict):
        raise fail(f"{path} holds no dictionary", got=type(content).__name__, expected=expected)
    return content


def foreign_tensors(content: Mapping[Any, Any], key: str, path: str | Path, *, expected: str) -> dict[str, Tensor]:
    """The tensors by name under ``key``, without what wrappers put before names (``module.`` of DataParallel,
    ``_orig_mod.`` of torch.compile). Raises ``UserError`` where there are none."""
    named = content.get(key)
    tensors = (
        {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
        if isinstance(named, Mapping)
        else {}
    )
    if not tensors:
        raise fail(
            f"{path} holds no tensors under {key!r}",
            got=f"the keys {', '.join(map(str, list(content)[:6]))}",
            expected=expected,
        )
    bare = {_WRAPPERS.sub("", name): value for name, value in tensors.items()}
    return bare if len(bare) == len(tensors) else tensors


def _is_safetensors(path: Path) -> bool:
    """A length of eight bytes, then as much JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _safetensors(path: Path, expected: str) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        step = "Run `pip install safetensors`, or give the .pth of the same weights"
        raise fail(f"{path} is a safetensors file, which nothing installed reads", next_step=step) from None
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except Exception as error:
        raise fail(f"Cannot read {path}", got=reason_of(error), expected=expected) from None
    return tensors


def check_names_and_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, Iterable[int]], what: str) -> None:
    """Raise ``UserError`` naming every tensor that is missing, unknown, misshapen, or no plain array of finite numbers.

    Only tensors that fit are read to the end.
    """
    problems = tensor_problems(tensors, shapes)
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != Size(shape):
            continue
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            problems.append(f"{name} of {tensor.dtype}, {tensor.layout}")
        elif not torch.isfinite(tensor).all():
            problems.append(f"{name} with numbers that are not finite")
    if problems:
        raise fail(what, got="; ".join(sorted(problems)))


def setting(settings: Any, *keys: str) -> Any:
    """The value under ``keys`` of settings by yacs or OmegaConf as ``load_foreign`` leaves them; None where there is
    none."""
    for key in keys:
        settings = _content(settings)
        if not isinstance(settings, Mapping) or key not in settings:
            return None
        settings = settings[key]
    return _content(settings)


def _content(node: Any) -> Any:
    """What an OmegaConf node wraps; anything else as it is."""
    state = getattr(node, "__dict__", {})
    for inner in ("_content", "_val"):
        if inner in state:
            return state[inner]
    return node
