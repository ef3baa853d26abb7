"""Regressor = backbone → query decoder → heads → the artifact's frozen decoder; and the one place that builds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tokenizer import FrozenTokenizer
from tokenizer.body.rotations import matrix_to_rot6d, rot6d_to_matrix
from tokenizer.body.skeleton import KEYPOINT_NAMES, NUM_BODY_JOINTS
from tokenizer.engine.errors import fail
from tokenizer.engine.precision import autocast

from .backbone import ResNet
from .camera import crop_geometry, ray_rotation
from .config import RegressorConfig
from .decoder import QueryDecoder
from .heads import Rot6dHead, TokenHead
from .prediction import Prediction

_IMAGE_MEAN = (0.485, 0.456, 0.406)
_IMAGE_STD = (0.229, 0.224, 0.225)
NUM_BETAS = 10


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB (...,3,H,W) → float32 with ImageNet's mean and spread taken out."""
    mean = torch.tensor(_IMAGE_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(_IMAGE_STD, device=images.device)[:, None, None]
    return images.float().mul_(1 / (255 * std)).sub_(mean / std)


@dataclass
class RawPrediction:
    """What the network itself gives, float32: orientation6d (B,6), relative to the viewing ray of the crop; betas
    (B,10); camera (B,3) s, tx, ty; pose: logits (B,T,L_f) per factor, or 6D (B,21,6); pointed (B,44,2) crop units."""

    orientation6d: Tensor
    betas: Tensor
    camera: Tensor
    pose: list[Tensor] | Tensor
    pointed: Tensor


class RegressorNetwork(nn.Module):
    """All that is trained. Everything but token logits is predicted as an offset from a mean, kept in buffers."""

    mean_orientation6d: Tensor
    mean_pose6d: Tensor
    mean_betas: Tensor
    mean_camera: Tensor

    def __init__(self, backbone: ResNet, decoder: QueryDecoder, pose_head: TokenHead | Rot6dHead) -> None:
        super().__init__()
        self.backbone, self.decoder, self.pose_head = backbone, decoder, pose_head
        self.orientation = nn.Linear(decoder.width, 6)
        self.shape = nn.Linear(decoder.width, NUM_BETAS)
        self.camera = nn.Linear(decoder.width, 3)
        with torch.no_grad():
            for head in (self.orientation, self.shape, self.camera):
                head.weight.mul_(0.1)
                head.bias.zero_()
        self.register_buffer("mean_orientation6d", torch.tensor([1.0, 0, 0, 0, -1, 0]))
        self.register_buffer("mean_pose6d", torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(NUM_BODY_JOINTS, 1))
        self.register_buffer("mean_betas", torch.zeros(NUM_BETAS))
        self.register_buffer("mean_camera", torch.tensor([1.0, 0, 0]))

    def forward(self, images: Tensor, geometry: Tensor) -> RawPrediction:
        """Normalised crops (B,3,S,S), ``camera.crop_geometry`` (B,3) → ``RawPrediction``."""
        decoded = self.decoder(self.backbone(images), geometry)
        readout = decoded.readout
        pose = self.pose_head(readout)
        return RawPrediction(
            orientation6d=self.mean_orientation6d + self.orientation(readout).float(),
            betas=self.mean_betas + self.shape(readout).float(),
            camera=self.mean_camera + self.camera(readout).float(),
            pose=pose if isinstance(pose, list) else self.mean_pose6d + pose,
            pointed=decoded.pointed,
        )

    @torch.no_grad()
    def start_at(self, orientation: Tensor, body_pose: Tensor, betas: Tensor, camera: Tensor) -> None:
        """Take the means of N samples: orientation (N,3,3) relative to the ray, pose (N,21,3,3), betas, camera."""
        self.mean_orientation6d.copy_(matrix_to_rot6d(orientation).mean(0))
        self.mean_pose6d.copy_(matrix_to_rot6d(body_pose).mean(0))
        self.mean_betas.copy_(betas.mean(0))
        self.mean_camera.copy_(camera.mean(0))


class Regressor(nn.Module):
    """A crop with its box and camera → ``Prediction``. The tokenizer follows ``.to()`` but is never saved with it:
    a checkpoint holds ``network`` and the artifact's digest.

    ``precision`` is that of the network alone: rotations, token decoding and cameras stay float32. ``config`` and
    ``provenance`` say how it came to be.
    """

    def __init__(
        self, network: RegressorNetwork, tokenizer: FrozenTokenizer, config: RegressorConfig, *,
        precision: Literal["fp32", "bf16"] = "fp32", provenance: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.tokenizer = network, tokenizer
        self.config, self.provenance = config, provenance or {}
        self.precision: Literal["fp32", "bf16"] = precision

    def forward(self, images: Tensor, *, box: Tensor, K: Tensor) -> Prediction:
        """Normalised crops (B,3,S,S), box (B,4) x0,y0,x1,y1 px and K (B,3,3) of the full image → ``Prediction``."""
        with autocast(images.device, self.precision):
            raw: RawPrediction = self.network(images, crop_geometry(box, K))
        orientation = ray_rotation(box, K) @ rot6d_to_matrix(raw.orientation6d)
        if isinstance(raw.pose, list):
            rotations = self.tokenizer.decode_factored([logits.softmax(-1) for logits in raw.pose])
        else:
            rotations = rot6d_to_matrix(raw.pose)
        hands = torch.eye(3, device=images.device).expand(len(images), 2, 3, 3)
        return Prediction(
            global_orient=orientation[:, None],
            body_pose=torch.cat([rotations, hands], 1),
            betas=raw.betas,
            camera=raw.camera,
            box=box,
            K=K,
            factor_logits=raw.pose if isinstance(raw.pose, list) else None,
            pointed=raw.pointed,
        )


def build_regressor(
    config: RegressorConfig, tokenizer: FrozenTokenizer, precision: Literal["fp32", "bf16"] = "fp32"
) -> Regressor:
    """Build an untrained regressor for an artifact; weights are drawn from torch's global generator.

    Raises ``UserError`` for a crop size the backbone cannot divide.
    """
    if config.image_size % 32:
        raise fail("The crop size does not fit the backbone", got=config.image_size, expected="a multiple of 32")
    backbone = ResNet(config.backbone.width, config.backbone.blocks, config.backbone.channels)
    settings = config.decoder
    decoder = QueryDecoder(
        queries=len(KEYPOINT_NAMES), channels=backbone.out_channels, map_size=config.image_size // backbone.stride,
        geometry=3, dim=settings.dim, layers=settings.layers, heads=settings.heads, width=settings.width,
        blocks=settings.blocks, dropout=settings.dropout,
    )  # fmt: skip
    head: TokenHead | Rot6dHead
    if config.head.pose == "tokens":
        head = TokenHead(
            settings.width, tokenizer.num_tokens, tokenizer.levels, tokenizer.codebook.cpu(), config.head.logits
        )
    else:
        head = Rot6dHead(settings.width)
    return Regressor(RegressorNetwork(backbone, decoder, head), tokenizer, config, precision=precision)
