"""The exported tokenizer: one HDF5 file that holds everything stage 2 needs, and refuses to be anything else.

Attributes ``format``, ``format_version``, ``config`` (JSON), ``provenance`` (JSON), ``sha256`` over the configuration
and the sorted tensors, as float32; groups ``encoder`` and ``decoder`` of float32 data sets, of version 2 float16;
``codebook`` (codes × dims).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from . import __version__
from .config import TokenizerConfig
from .engine.config import from_dict, to_dict
from .engine.errors import fail
from .engine.files.contents import tensor_problems
from .engine.files.hdf5 import plain_datasets, reading
from .engine.files.hdf5_writing import writing
from .network.model import PoseTokenizer, build_tokenizer, codebook_shape

FORMAT = "pose-token-hmr/tokenizer"
FORMAT_VERSION = 2
_FLOAT32_VERSION = 1
_MAX_BYTES = 4 << 30


@dataclass
class Artifact:
    """The content of a file: built tokenizer, configuration, provenance, digest (sha256, hex) and size in bytes."""

    tokenizer: PoseTokenizer
    config: TokenizerConfig
    provenance: dict[str, Any]
    digest: str
    num_bytes: int


def export_tokenizer(
    tokenizer: PoseTokenizer,
    config: TokenizerConfig,
    path: str | Path,
    *,
    poses_digest: str = "",
    metrics: dict[str, float] | None = None,
    weights: str = "",
    half: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``tokenizer`` to ``path``, atomically: in float32, or, where ``half``, its weights rounded to float16.

    ``poses_digest``, ``metrics``, ``weights`` (which of a run's they are) and all of ``about`` become provenance.
    """
    tensors = _tensors(tokenizer)
    if half:
        tensors = {name: values.astype(np.float16) for name, values in tensors.items()}
    settings = json.dumps(to_dict(config), sort_keys=True)
    provenance = {
        "package": f"pose-token-hmr {__version__}",
        "commit": source_commit(),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "poses_digest": poses_digest,
        "weights": weights,
        "metrics": metrics or {},
        **(about or {}),
    }
    with writing(path, FORMAT, FORMAT_VERSION if half else _FLOAT32_VERSION) as file:
        file.attrs["config"], file.attrs["provenance"] = settings, json.dumps(provenance, sort_keys=True)
        file.attrs["sha256"] = _digest(settings, tensors)
        for name, values in tensors.items():
            file.create_dataset(name, data=values)
    return Path(path)


def read_artifact(path: str | Path) -> Artifact:
    """Read and check an exported tokenizer; nothing in the file is executed or followed.

    Raise ``UserError`` for a file that is missing, cut short, of another or newer format, with links or external or
    virtual storage, with a tensor missing, extra, misshapen or not finite (each named), or whose digest does not match.
    """
    path = Path(path)
    ways = "Train one with `pose-tokenizer train`, or import the released tokenizer.pth with `import-reference`"
    with reading(path, FORMAT, FORMAT_VERSION, what="tokenizer", next_step=ways) as file:
        return _read(file, path)


def _read(file: h5py.File, path: Path) -> Artifact:
    settings = str(file.attrs["config"])
    config = from_dict(TokenizerConfig, json.loads(settings))
    datasets = plain_datasets(file)
    _check_sizes(config, datasets, path)
    tokenizer = build_tokenizer(config.network, config.quantizer, empty=True)
    expected = {name: tuple(values.shape) for name, values in _named(tokenizer).items()}
    problems = tensor_problems(datasets, expected)
    kinds = (np.float32,) if file.attrs["format_version"] == _FLOAT32_VERSION else (np.float32, np.float16)
    problems += [f"{name} {data.dtype}, not float32" for name, data in datasets.items() if data.dtype not in kinds]
    if problems:
        raise fail(f"The tensors of {path} do not fit its configuration", got="; ".join(problems[:8]))
    if sum(data.size for data in datasets.values()) * 4 > _MAX_BYTES:
        raise fail(f"{path} is too large", expected=f"at most {_MAX_BYTES} bytes")
    tensors = {name: data[()].astype(np.float32, copy=False) for name, data in datasets.items()}
    if broken := [name for name, values in tensors.items() if not np.isfinite(values).all()]:
        raise fail(f"{path} holds weights that are not finite", got=", ".join(broken[:8]), next_step="Export it again")
    digest = _digest(settings, tensors)
    if digest != file.attrs["sha256"]:
        raise fail(
            f"{path} is damaged",
            got=f"sha256 {digest[:12]}…",
            expected=f"{str(file.attrs['sha256'])[:12]}…",
            next_step="Export or download it again",
        )
    state = {name.replace("/", ".", 1): torch.from_numpy(values) for name, values in tensors.items()}
    codebook = state.pop("codebook")
    missing, unexpected = tokenizer.load_state_dict(state, strict=False, assign=True)
    assert not unexpected and all(name.startswith("quantizer.") for name in missing)
    tokenizer.quantizer.codebook.copy_(codebook)
    provenance = json.loads(str(file.attrs["provenance"]))
    return Artifact(tokenizer, config, provenance, digest, path.stat().st_size)


def _check_sizes(config: TokenizerConfig, datasets: dict[str, h5py.Dataset], path: Path) -> None:
    """Raise ``UserError`` unless what is built before tensors are compared is as small as what the file holds."""
    shape, blocks, quantizer = codebook_shape(config.quantizer), config.network.blocks, config.quantizer
    there = datasets["codebook"].shape if "codebook" in datasets else ()
    num_values = sum(data.size for data in datasets.values())
    counts = (quantizer.groups, quantizer.layers, quantizer.num_tokens, config.network.width, *quantizer.levels)
    if min(counts) < 1:
        raise fail(f"{path} has an impossible configuration", got=f"sizes of {min(counts)}", expected="at least 1")
    if there != shape or blocks > len(datasets) or quantizer.layers * shape[1] > num_values:
        raise fail(
            f"The tensors of {path} do not fit its configuration",
            got=f"a codebook {there}, {len(datasets)} tensors",
            expected=f"a codebook {shape}, {blocks} blocks, {quantizer.layers} layers",
        )


def _named(tokenizer: PoseTokenizer) -> dict[str, torch.Tensor]:
    """What is stored of a tokenizer, by the name it has in the file."""
    parts = {"encoder": tokenizer.encoder, "decoder": tokenizer.decoder}
    tensors = {f"{part}/{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}
    return {**tensors, "codebook": tokenizer.quantizer.codebook}


def _tensors(tokenizer: PoseTokenizer) -> dict[str, np.ndarray]:
    return {name: value.detach().float().cpu().numpy() for name, value in _named(tokenizer).items()}


def _digest(settings: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(settings.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name], "<f4").tobytes())
    return digest.hexdigest()


def source_commit() -> str | None:
    """The git commit this package was run from, with ``+`` if files differ; None outside a checkout."""
    package = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(package), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
