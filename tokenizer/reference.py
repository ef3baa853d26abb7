"""Reads and writes the format of the released ``tokenizer.pth``: plain tensors under the reference's names.

Nothing in such a file is run: its settings object is rebuilt as an ordered dictionary by ``torch``'s restricted reader.
"""

from __future__ import annotations

import collections
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .config import TokenizerConfig, preset
from .engine.errors import fail
from .engine.files.foreign import check_names_and_shapes, foreign_tensors, load_foreign
from .engine.files.state_files import save_state
from .network.model import PoseTokenizer, build_tokenizer

_STEPS = {"stretch": ("encoder", (0, 3, 6, 9, 12)), "shrink": ("decoder", (0, 3, 6, 9, 12))}
_CONVOLUTIONS = {
    **{
        f"{part}.{ours}.{i}": f"{part}.{part}.{theirs}"
        for ours, (part, places) in _STEPS.items()
        for i, theirs in enumerate(places)
    },
    "encoder.halve": "encoder.encoder.14.0",
    "encoder.out": "encoder.encoder.15",
    "decoder.mix": "decoder.decoder.14.1",
    "decoder.out": "decoder.decoder.15",
    **{
        f"{part}.residual.{i}.{ours}": f"{part}.{part}.14.{place}.model.{i}.{theirs}"
        for part, place in (("encoder", 1), ("decoder", 0))
        for i in range(2)
        for ours, theirs in (("wide", "conv1"), ("point", "conv2"))
    },
}
KEY_TABLE = {
    f"{ours}.{leaf}": f"{theirs}.{leaf}" for ours, theirs in _CONVOLUTIONS.items() for leaf in ("weight", "bias")
} | {"quantizer.codebook": "quantizer.codebook"}
"""Our name of every tensor → the reference's."""


def read_reference(path: str | Path) -> tuple[PoseTokenizer, TokenizerConfig]:
    """The tokenizer in a released file, in eval mode, and the ``paper`` preset at its sizes.

    Raise ``UserError`` for a file that is missing, damaged or hostile, and names every tensor that is missing, extra
    or misshapen.
    """
    tensors = _tensors(Path(path))
    config = _config_of(tensors, path)
    with torch.random.fork_rng(devices=[]):
        tokenizer = build_tokenizer(config.network, config.quantizer)
    ours = tokenizer.state_dict()
    expected = {theirs: ours[name].shape for name, theirs in KEY_TABLE.items()}
    check_names_and_shapes(tensors, expected, f"{path} is not a tokenizer of the reference's architecture")
    with torch.no_grad():
        for name, theirs in KEY_TABLE.items():
            ours[name].copy_(tensors[theirs])
        # The reference does not save its averages; training on from here starts them at the codes themselves.
        tokenizer.quantizer.load_state_dict(
            {
                "code_sum": ours["quantizer.codebook"],
                "code_count": torch.ones(config.quantizer.num_codes),
                "codebook": ours["quantizer.codebook"],
                "ready": torch.tensor(True),
            }
        )
    return tokenizer.eval(), config


def write_reference(tokenizer: PoseTokenizer, path: str | Path) -> None:
    """Write a ``paper`` tokenizer as the reference's ``{'net': ...}`` with its keys and shapes, in plain containers.

    Raise ``UserError`` for a tokenizer of another architecture.
    """
    ours = tokenizer.state_dict()
    missing = sorted(KEY_TABLE.keys() - ours.keys())
    if missing:
        raise fail(
            "Only tokenizers of the paper's architecture can be written so",
            got=f"no {missing[0]}",
            expected="preset paper",
        )
    net = collections.OrderedDict((theirs, ours[name].detach().cpu().clone()) for name, theirs in KEY_TABLE.items())
    save_state(path, {"net": net})


def _config_of(tensors: dict[str, Tensor], path: str | Path) -> TokenizerConfig:
    try:
        width = tensors["encoder.encoder.0.weight"].shape[0]
        codes, dim = tensors["quantizer.codebook"].shape
    except (KeyError, ValueError, IndexError):
        first_names = ", ".join(list(tensors)[:4])
        expected = "encoder.encoder.0.weight and quantizer.codebook (codes × dims) among its tensors"
        raise fail(f"{path} is no tokenizer of the reference", got=f"{first_names} …", expected=expected) from None
    paper = preset("paper")
    return replace(
        paper,
        preset="imported",
        network=replace(paper.network, width=width),
        quantizer=replace(paper.quantizer, num_codes=codes, dim=dim),
    )


def _tensors(path: str | Path) -> dict[str, Tensor]:
    expected = "the released tokenizer.pth"
    tensors = foreign_tensors(load_foreign(path, expected=expected), "net", path, expected=expected)
    return {name: value.float() for name, value in tensors.items()}
