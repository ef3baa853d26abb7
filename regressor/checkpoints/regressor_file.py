"""The exported regressor: one file of averaged weights, with the digest of the tokenizer it was trained with."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tokenizer import Body, FrozenTokenizer, __version__, load_tokenizer
from tokenizer.engine.config import from_dict, to_dict
from tokenizer.engine.errors import fail
from tokenizer.engine.files.contents import check_version, tensor_problems
from tokenizer.engine.files.file_kinds import kind_of
from tokenizer.engine.files.state_files import load_state, save_state
from tokenizer.engine.training.precision import HALF, Precision, resolve_device, resolve_precision
from tokenizer.engine.training.run import Export, RunFolder

from .. import SHIPPED
from ..config import RegressorConfig
from ..datasets.mixtures import Mixture
from ..network.model import Regressor, RegressorNetwork, build_regressor
from ..network.vit import ViT

FORMAT = "pose-token-hmr/regressor"
FORMAT_VERSION = 1
_LARGEST_CROP = 1 << 11
_RENAMED = {"betas_reach": "betas_bounds", "camera_reach": "camera_bounds"}
"""Former names of tensors, which older files and checkpoints still have."""


def save_regressor(
    path: str | Path,
    network: RegressorNetwork,
    config: RegressorConfig,
    tokenizer: FrozenTokenizer,
    provenance: dict[str, Any],
) -> Path:
    """Write weights (float32), configuration, the artifact's digest, and ``provenance`` (plain values), atomically."""
    about = {
        "package": f"pose-token-hmr {__version__}",
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **provenance,
    }
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    save_state(
        path,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "config": to_dict(config),
            "tokenizer": tokenizer.digest,
            "provenance": about,
            "network": state,
        },
    )
    return Path(path)


def pack_regressor(path: str | Path, out: str | Path, card: str) -> Path:
    """Write an exported regressor anew, its weights rounded to float16, with a model card; return ``out``.

    Raise ``UserError`` for a file that is none, and for weights that float16 cannot hold.
    """
    state = read_exported(path)
    state["network"] = {
        name: value.half() if value.is_floating_point() else value for name, value in state["network"].items()
    }
    check_finite(state["network"], path)
    state["provenance"]["card"] = card
    save_state(out, state)
    return Path(out)


def load_regressor(
    path: str | Path | None = None,
    *,
    tokenizer: FrozenTokenizer | str | Path | None = None,
    device: str = "cpu",
    precision: Precision = "fp32",
) -> Regressor:
    """The keypoint regressor that ships with the package, or that at ``path``, with the tokenizer that it was trained
    with (default: the one that ships). In eval mode, on ``device``; ``config`` and ``provenance`` are attributes of it.

    ``precision`` is ``fp32``, ``bf16``, ``fp16``, or ``auto``, whatever the one of training; in bf16 and fp16 a ViT is
    stored in half the memory, for inference and not for training. The weights are in memory once, as they were read.

    Raises ``UserError`` for a damaged file, one of another format or of a newer version, weights that do not fit its
    configuration (each named), or another artifact than the one it was trained with.
    """
    if path is None and not SHIPPED.exists():
        raise fail("No regressor ships with this package", next_step="Make it with `make weights`, or name another")
    path = SHIPPED if path is None else path
    state = read_exported(path)
    vocabulary = tokenizer if isinstance(tokenizer, FrozenTokenizer) else load_tokenizer(tokenizer)
    check_tokenizer_digest(f"Regressor {path}", state["tokenizer"], vocabulary)
    config = from_dict(RegressorConfig, state["config"])
    _check_sizes(config, state["network"], path)
    target = resolve_device(device)
    regressor = build_regressor(config, vocabulary, resolve_precision(precision, target), empty=True)
    load_strictly(regressor.network, state["network"], what=str(path), assign=True)
    regressor.provenance = state["provenance"]
    state.clear()
    if regressor.precision != "fp32" and isinstance(regressor.network.backbone, ViT):
        # Autocast would round each matrix anew in every pass.
        for module in regressor.network.backbone.modules():
            if isinstance(module, torch.nn.Linear):
                module.to(HALF[regressor.precision])
    return regressor.to(target).eval()


def read_exported(path: str | Path) -> dict[str, Any]:
    """What ``save_regressor`` wrote, on the CPU. Raises ``UserError`` for a file that is damaged, of another format, of
    a newer version, or with weights that are not finite."""
    state = load_state(path, what="regressor")
    if state.get("format") != FORMAT:
        raise fail(
            f"{path} is no exported regressor",
            got=kind_of(path),
            expected="an exported regressor",
            next_step="Give the file that `pose-regressor train` exported, such as RUN/regressor.pt",
        )
    check_version(state.get("format_version"), FORMAT_VERSION, path)
    check_finite(state["network"], path)
    return state


def _check_sizes(config: RegressorConfig, network: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise ``UserError`` for a configuration that names far more than the file's tensors: each block has some."""
    blocks = sum(map(abs, config.backbone.blocks)) + abs(config.decoder.layers) + abs(config.decoder.blocks)
    least = 0 if config.backbone.kind == "keypoints" else 1
    if blocks > len(network) or not least <= config.image_size <= _LARGEST_CROP:
        raise fail(
            f"The weights of {path} do not fit its configuration",
            got=f"{len(network)} tensors, crops of {config.image_size} px",
            expected=f"those of {blocks} blocks and layers, crops of at most {_LARGEST_CROP} px",
        )


def check_finite(network: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise ``UserError`` naming the weights that are not finite numbers."""
    # A sum is not finite where a number of it is not; the opposite may happen by overflow alone.
    doubtful = [name for name, value in network.items() if not torch.isfinite(value.sum())]
    broken = [name for name in doubtful if not torch.isfinite(network[name]).all()]
    if broken:
        raise fail(f"{path} holds weights that are not finite", got=", ".join(broken[:8]), next_step="Export it again")


def check_body(what: str | Path, provenance: dict[str, Any], kind: str) -> None:
    """Raise ``UserError`` unless ``kind`` of body is what a regressor of this ``provenance`` predicts: the shape
    numbers of another would mean nothing."""
    own_body = provenance.get("body", kind)
    if own_body != kind:
        step = "Give its neutral model file, or the folder of all genders, with --body" if own_body != "open" else None
        raise fail(
            f"Regressor {what} predicts another body",
            got=f"--body of kind {kind!r}",
            expected=repr(own_body),
            next_step=step,
        )


def check_tokenizer_digest(what: str, digest: str, tokenizer: FrozenTokenizer) -> None:
    """Raise ``UserError`` unless ``tokenizer`` is the artifact whose digest was noted down."""
    if digest != tokenizer.digest:
        raise fail(
            f"{what} was trained with another tokenizer",
            got=f"tokenizer {tokenizer.digest[:12]}…",
            expected=f"{digest[:12]}…",
            next_step="Give the tokenizer it was trained with",
        )


def load_strictly(network: torch.nn.Module, state: dict[str, torch.Tensor], *, what: str, assign: bool = False) -> None:
    """Load weights; with ``assign`` the tensors of ``state`` become the weights, instead of being copied.

    Raises ``UserError`` naming every tensor that is missing, unknown or misshapen.
    """
    state = {_RENAMED.get(name, name): value for name, value in state.items()}
    expected = network.state_dict()
    problems = tensor_problems(state, {name: value.shape for name, value in expected.items()})
    if problems:
        raise fail(f"The weights of {what} do not fit its configuration", got="; ".join(problems[:8]))
    if assign:
        state = {name: value.to(expected[name].dtype) for name, value in state.items()}
    network.load_state_dict(state, assign=assign)


def export_run(path: Path, out: Path, mixture: Mixture, tokenizer: FrozenTokenizer, body: Body, export: Export) -> Path:
    """Write ``out`` with averaged weights from the newest checkpoint of the run at ``path``: those of the best
    validation so far, or the last. Raises ``UserError`` where there is no run."""
    run = RunFolder.open(path)
    assert run.state is not None
    chosen = run.state.get("best") if export == "best" else None
    if chosen is None:
        records = [record for record in run.metrics() if any(name.startswith("val_") for name in record)]
        figures = {name: value for name, value in records[-1].items() if name.startswith("val_")}
        export, chosen = "last", {**run.state, "figures": figures}
    config = from_dict(RegressorConfig, run.config["regressor"])
    network = build_regressor(config, tokenizer, empty=True).network
    load_strictly(network, chosen["average"], what="the checkpoint", assign=True)
    provenance = {
        "crops": mixture.digest,
        "crops_attributes": mixture.attributes,
        "body": body.kind,
        "steps": run.state["step"],
        "metrics": chosen["figures"],
        "weights": f"{export}, step {chosen['step']}",
    }
    provenance |= {name: run.config[name] for name in ("start", "backbone") if name in run.config}
    return save_regressor(out, network, config, tokenizer, provenance)
