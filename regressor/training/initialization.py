"""What a training starts from: statistics of its data, a regressor, or a backbone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tokenizer import FrozenTokenizer
from tokenizer.body.skeleton import NUM_BODY_JOINTS
from tokenizer.engine.config import from_dict, to_dict
from tokenizer.engine.errors import fail

from ..checkpoints.backbones import saved_backbone
from ..checkpoints.regressor_file import check_body, check_tokenizer_digest, load_strictly, read_exported
from ..config import DataConfig, RegressorConfig
from ..geometry.camera import ray_rotation, translation_to_crop_camera
from ..network.heads import MixerTokenHead, TokenHead
from ..network.model import RegressorNetwork
from ..sample import Sample, has_neutral_betas, take, to_device


@torch.no_grad()
def start_from_means(
    network: RegressorNetwork, tokenizer: FrozenTokenizer, crops: Sample, *, relative: bool = True
) -> None:
    """Initialize from statistics of annotations, not images: mean rotations, shape, camera, token frequencies.

    Takes the samples of ``crops`` that know them; what nobody knows keeps its default. Orientations count
    ``relative`` to the ray through the middle of the crop, or as they are.
    """
    known = crops["has_body_pose"] & crops["has_global_orient"] & crops["has_betas"]
    if not known.any():
        return
    known_crops = to_device(take(crops, known), network.mean_betas.device)
    box, intrinsics = known_crops["box"], known_crops["K"]
    pose, orientation = known_crops["body_pose"][:, :NUM_BODY_JOINTS], known_crops["global_orient"]
    if relative:
        orientation = ray_rotation(box, intrinsics).transpose(-1, -2) @ orientation
    camera = network.mean_camera[None]
    placed = known_crops["translation"][:, 2] > 0
    if placed.any():
        camera = translation_to_crop_camera(known_crops["translation"][placed], box[placed], intrinsics[placed])
    shaped = has_neutral_betas(known_crops)
    betas = known_crops["betas"][shaped] if shaped.any() else network.mean_betas[None]
    network.init_from_statistics(orientation, pose, betas, camera)
    if isinstance(network.pose_head, TokenHead | MixerTokenHead):
        network.pose_head.init_from_statistics(tokenizer.split_ids(tokenizer.encode(pose)))


_OF_TRAINING = ("backbone.drop_path", "backbone.gradient_checkpointing", "backbone.trainable", "decoder.dropout")
"""Settings in the groups of the network that change no weight's name, shape or meaning."""


def network_settings(config: RegressorConfig) -> dict[str, Any]:
    """What decides the network's tensors and what they mean, by dotted name."""
    plain = to_dict(config)
    by_key = {f"{group}.{key}": plain[group][key] for group in ("backbone", "decoder", "head") for key in plain[group]}
    return {"image_size": plain["image_size"], **{key: by_key[key] for key in by_key if key not in _OF_TRAINING}}


def starting_config(path: str | Path, training: RegressorConfig | None = None) -> RegressorConfig:
    """The configuration to train on with from the exported regressor at ``path``: its own, with device, precision
    and data open and no time budget; or ``training``, a preset, which must be of its network.

    Raises ``UserError`` for a file that is none, and where the networks differ, naming the settings.
    """
    config = from_dict(RegressorConfig, read_exported(path)["config"])
    if training is None:
        optim = replace(config.optim, budget_s=0.0)
        return replace(config, device="auto", precision="auto", optim=optim, data=DataConfig())
    _check_network(path, config, training)
    return training


def about_start(path: str | Path, config: RegressorConfig, tokenizer: FrozenTokenizer, body: str) -> dict[str, Any]:
    """Name, SHA-256 and provenance of the exported regressor that a run begins with.

    Raises ``UserError`` unless it is of ``config``'s network, was trained with ``tokenizer``, and predicts this kind of
    ``body``.
    """
    state = read_exported(path)
    _check_network(path, from_dict(RegressorConfig, state["config"]), config)
    check_tokenizer_digest(f"Regressor {path}", state["tokenizer"], tokenizer)
    check_body(path, state["provenance"], body)
    return {"file": Path(path).name, "sha256": _sha256(path), "provenance": state["provenance"]}


def about_backbone(path: str | Path) -> dict[str, Any]:
    """Name, SHA-256 and provenance of the backbone's file that a run begins with. Raises ``UserError`` for another kind
    of file."""
    return {"file": Path(path).name, "provenance": saved_backbone(path)["provenance"], "sha256": _sha256(path)}


def check_same_start(about: dict[str, Any] | None, path: str | Path | None, what: str = "regressor") -> None:
    """Raise ``UserError`` unless a run of this ``about_start`` or ``about_backbone`` (None: without) is given the same
    file again; ``what`` it is."""
    begun = None if about is None else about["sha256"]
    if begun != (None if path is None else _sha256(path)):
        raise fail(
            f"This run began with another {what}",
            got=path or "none",
            next_step="Give the same again",
            expected=about["file"] if about else "none",
        )


def start_from_regressor(network: RegressorNetwork, path: str | Path) -> None:
    """Put the weights and means of an exported regressor into ``network``. Raises ``UserError`` naming every tensor
    that does not fit."""
    load_strictly(network, read_exported(path)["network"], what=str(path))


def _sha256(path: str | Path) -> str:
    if not Path(path).is_file():
        raise fail(f"No file at {path}", next_step="Check the path")
    with Path(path).open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_network(path: str | Path, own: RegressorConfig, wanted: RegressorConfig) -> None:
    ours, theirs = network_settings(wanted), network_settings(own)
    differing = [key for key in theirs if ours[key] != theirs[key]]
    if differing:
        means = "; --loss means needs a network that adds no mean pose" if "head.add_mean" in differing else ""
        raise fail(
            f"Regressor {path} has another network than asked for",
            got=f"preset {wanted.preset!r} with " + ", ".join(f"{key} {ours[key]}" for key in differing),
            expected=f"preset {own.preset!r} with " + ", ".join(f"{key} {theirs[key]}" for key in differing),
            next_step=f"Leave these to the file that training starts from (no --preset, no --set of them){means}",
        )
