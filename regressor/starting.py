"""Where training begins: at what the annotation says before any image is seen."""

from __future__ import annotations

import torch

from tokenizer import FrozenTokenizer
from tokenizer.body.skeleton import NUM_BODY_JOINTS

from .batches import take, to_device
from .camera import ray_rotation, translation_to_crop_camera
from .datasets.sample import Sample, has_neutral_betas
from .heads import TokenHead
from .mixer_head import MixerTokenHead
from .model import RegressorNetwork


@torch.no_grad()
def start_from_means(
    network: RegressorNetwork, tokenizer: FrozenTokenizer, crops: Sample, *, relative: bool = True
) -> None:
    """Begin at what training crops say without a look at the image: mean rotations, shape, camera, token frequencies.

    Takes the samples of ``crops`` that know them; what nobody knows keeps its default. Orientations count
    ``relative`` to the ray through the middle of the crop, or as they are.
    """
    known = crops["has_body_pose"] & crops["has_global_orient"] & crops["has_betas"]
    if not known.any():
        return
    some = to_device(take(crops, known), network.mean_betas.device)
    box, intrinsics = some["box"], some["K"]
    pose, orientation = some["body_pose"][:, :NUM_BODY_JOINTS], some["global_orient"]
    if relative:
        orientation = ray_rotation(box, intrinsics).transpose(-1, -2) @ orientation
    camera = network.mean_camera[None]
    placed = some["translation"][:, 2] > 0
    if placed.any():
        camera = translation_to_crop_camera(some["translation"][placed], box[placed], intrinsics[placed])
    shaped = has_neutral_betas(some)
    betas = some["betas"][shaped] if shaped.any() else network.mean_betas[None]
    network.start_at(orientation, pose, betas, camera)
    if isinstance(network.pose_head, TokenHead | MixerTokenHead):
        network.pose_head.start_at(tokenizer.split_ids(tokenizer.encode(pose)))
