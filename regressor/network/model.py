"""Regressor = backbone → query decoder → heads → the artifact's frozen decoder; and the one place that builds it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer import Body, FrozenTokenizer
from tokenizer.body.keypoints import DETECTOR_POINTS
from tokenizer.body.rotations import matrix_to_rot6d, rot6d_to_matrix
from tokenizer.body.skeleton import KEYPOINT_NAMES, NUM_BODY_JOINTS, NUM_JOINTS
from tokenizer.engine.constants import constant
from tokenizer.engine.errors import fail
from tokenizer.engine.training.precision import ResolvedPrecision, autocast, without_autocast

from ..config import RegressorConfig
from ..geometry.camera import crop_geometry, lone_crop_camera, ray_rotation, translation_to_crop_camera
from ..geometry.rays import place_on_rays, rays_of_points
from ..sample import Sample
from .decoders import Decoded, QueryDecoder, SingleQueryDecoder
from .empty_weights import empty_weights
from .heads import MixerTokenHead, Rot6dHead, TokenHead
from .keypoint_encoder import KeypointEncoder, MLPDecoder, PointEvidence
from .prediction import Prediction
from .resnet import ResNet
from .vit import ViT

_IMAGE_MEAN = (0.485, 0.456, 0.406)
_IMAGE_STD = (0.229, 0.224, 0.225)
NUM_BETAS = 10
NUM_HANDS = NUM_JOINTS - NUM_BODY_JOINTS - 1


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB (...,3,H,W) → float32 with ImageNet's mean and spread taken out."""
    mean = constant(_IMAGE_MEAN, images.device)[:, None, None]
    std = constant(_IMAGE_STD, images.device)[:, None, None]
    return images.float().mul_(1 / (255 * std)).sub_(mean / std)


def evidence_of(sample: Sample) -> Tensor | PointEvidence:
    """Return what a regressor sees of a sample: detected points where there are any, else the normalised image."""
    return PointEvidence.of(sample) if "points_2d" in sample else normalise(sample["image"])


@dataclass
class RawPrediction:
    """Output of the network itself, float32.

    orientation6d (B,6), see ``HeadConfig.orientation``; betas (B,10); camera (B,3) as s, tx, ty; pose: logits (B,T,L_f)
    per factor, or 6D (B,21,6); soft_argmax_keypoints (B,44,2) crop units, or None; hands6d (B,2,6), or None where the
    hands rest.
    """

    orientation6d: Tensor
    betas: Tensor
    camera: Tensor
    pose: list[Tensor] | Tensor
    soft_argmax_keypoints: Tensor | None
    hands6d: Tensor | None = None


class RegressorNetwork(nn.Module):
    """All that is trained. Everything but token logits is predicted as an offset from a mean, kept in buffers."""

    mean_orientation6d: Tensor
    mean_pose6d: Tensor
    mean_hands6d: Tensor
    mean_betas: Tensor
    mean_camera: Tensor
    betas_bounds: Tensor | None
    camera_bounds: Tensor | None

    def __init__(
        self,
        backbone: ResNet | ViT | KeypointEncoder,
        decoder: QueryDecoder | SingleQueryDecoder | MLPDecoder,
        pose_head: TokenHead | MixerTokenHead | Rot6dHead,
        *,
        hands: bool = False,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.decoder, self.pose_head = backbone, decoder, pose_head
        self.orientation = nn.Linear(decoder.width, 6)
        self.shape = nn.Linear(decoder.width, NUM_BETAS)
        self.camera = nn.Linear(decoder.width, 3)
        self.hands = nn.Linear(decoder.width, NUM_HANDS * 6) if hands else None
        with torch.no_grad():
            for head in filter(None, (self.orientation, self.shape, self.camera, self.hands)):
                head.weight.mul_(0.1)
                head.bias.zero_()
        if hands:
            self.register_buffer("mean_hands6d", torch.tensor([[1.0, 0, 0, 0, 1, 0]] * NUM_HANDS))
        self.register_buffer("mean_orientation6d", torch.tensor([1.0, 0, 0, 0, -1, 0]))
        self.register_buffer("mean_pose6d", torch.tensor([[1.0, 0, 0, 0, 1, 0]] * NUM_BODY_JOINTS))
        self.register_buffer("mean_betas", torch.zeros(NUM_BETAS))
        self.register_buffer("mean_camera", torch.tensor([1.0, 0, 0]))
        self.register_buffer("betas_bounds", torch.full((NUM_BETAS,), 3.0) if bounded else None)
        self.register_buffer("camera_bounds", torch.ones(3) if bounded else None)

    def forward(self, images: Tensor, geometry: Tensor | None = None) -> RawPrediction:
        """Normalised crops (B,3,S,S), ``camera.crop_geometry`` (B,3) where the decoder needs it → ``RawPrediction``.

        A keypoint encoder takes the features of points (B,F) in place of crops.
        """
        features = self.backbone(images)
        if isinstance(self.decoder, MLPDecoder):
            return self._heads(self.decoder(features))
        if isinstance(self.decoder, SingleQueryDecoder):
            # A hundredth of the work behind a ViT, and what turns its rounding into degrees: always in float32.
            with without_autocast(images.device):
                return self._heads(self.decoder(features.float()))
        return self._heads(self.decoder(features, geometry))

    def _heads(self, decoded: Decoded) -> RawPrediction:
        readout = decoded.readout
        pose = self.pose_head(readout)
        hands = None
        if self.hands is not None:
            hands = self.mean_hands6d + self.hands(readout).float().unflatten(-1, (NUM_HANDS, 6))
        return RawPrediction(
            orientation6d=self.mean_orientation6d + self.orientation(readout).float(),
            betas=self.mean_betas + _within(self.shape(readout).float(), self.betas_bounds),
            camera=self.mean_camera + _within(self.camera(readout).float(), self.camera_bounds),
            pose=pose if isinstance(pose, list) else self.mean_pose6d + pose,
            soft_argmax_keypoints=decoded.soft_argmax_keypoints,
            hands6d=hands,
        )

    @torch.no_grad()
    def init_from_statistics(self, orientation: Tensor, body_pose: Tensor, betas: Tensor, camera: Tensor) -> None:
        """Take means and ranges of N samples: orientation (N,3,3) in the network's frame, pose (N,21,3,3), betas,
        camera; one sample gives no range."""
        self.mean_orientation6d.copy_(matrix_to_rot6d(orientation).mean(0))
        self.mean_pose6d.copy_(matrix_to_rot6d(body_pose).mean(0))
        self.mean_betas.copy_(betas.mean(0))
        self.mean_camera.copy_(camera.mean(0))
        for reach, values in ((self.betas_bounds, betas), (self.camera_bounds, camera)):
            if reach is not None and len(values) > 1:
                reach.copy_((1.5 * (values - values.mean(0)).abs().amax(0)).clamp_min(0.1))


def _within(offset: Tensor, reach: Tensor | None) -> Tensor:
    return offset if reach is None else reach * torch.tanh(offset / reach)


class Regressor(nn.Module):
    """A crop, or detected points, with box and camera → ``Prediction``.

    The tokenizer follows ``.to()`` but is never saved with it: a checkpoint holds ``network`` and the artifact's
    digest.

    ``precision`` is that of the network alone: rotations, token decoding and cameras stay float32. ``config`` and
    ``provenance`` record how it was made.
    """

    def __init__(
        self,
        network: RegressorNetwork,
        tokenizer: FrozenTokenizer,
        config: RegressorConfig,
        *,
        precision: ResolvedPrecision = "fp32",
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.tokenizer = network, tokenizer
        self.config, self.provenance = config, provenance or {}
        self.precision: ResolvedPrecision = precision

    def forward(
        self,
        evidence: Tensor | PointEvidence,
        *,
        box: Tensor | None = None,
        K: Tensor | None = None,
        body: Body | None = None,
    ) -> Prediction:
        """Normalised crops (B,3,S,S) or ``PointEvidence``, box (B,4) x0,y0,x1,y1 px and K (B,3,3) of the full image →
        ``Prediction``.

        The paper's network (presets ``vit-*``) looks at crops alone; without box and K it takes each for an image of
        its own (``camera.lone_crop_camera``). A keypoint regressor predicts no camera: it puts the predicted ``body``
        onto the points by weighted least squares. Raises ``UserError`` for crops of another size, evidence of the other
        kind, and where box, K or body are needed.
        """
        self._check(evidence)
        device = self.network.mean_betas.device
        count = len(evidence.points if isinstance(evidence, PointEvidence) else evidence)
        if box is None or K is None:
            if self.network.decoder.needs_geometry or (box is None) != (K is None):
                raise fail("The regressor needs to know where the crops are", expected="box and K, both")
            box, K = lone_crop_camera(count, device)
        with autocast(device, self.precision):
            if isinstance(evidence, PointEvidence):
                raw: RawPrediction = self.network(evidence.features(box, K))
            else:
                raw = self.network(evidence, crop_geometry(box, K))
        relative = rot6d_to_matrix(raw.orientation6d)
        orientation = ray_rotation(box, K) @ relative if self.config.head.orientation == "ray" else relative
        if raw.hands6d is None:
            hands = torch.eye(3, device=device).expand(count, NUM_HANDS, 3, 3)
        else:
            hands = rot6d_to_matrix(raw.hands6d)
        pose = torch.cat([rot6d_to_matrix(self._body_pose6d(raw)), hands], 1)
        camera = raw.camera
        if isinstance(evidence, PointEvidence):
            if body is None:
                raise fail("A keypoint regressor places the body on the points", got="no body", expected="body=…")
            camera = _camera_on_points(evidence, box, K, body, pose, orientation, raw.betas)
        return Prediction(
            global_orient=orientation[:, None],
            body_pose=pose,
            betas=raw.betas,
            camera=camera,
            box=box,
            K=K,
            factor_logits=raw.pose if isinstance(raw.pose, list) else None,
            soft_argmax_keypoints=raw.soft_argmax_keypoints,
        )

    def _check(self, evidence: Tensor | PointEvidence) -> None:
        """Raise ``UserError`` for evidence that the network does not take."""
        of_points = self.config.backbone.kind == "keypoints"
        if isinstance(evidence, PointEvidence) != of_points:
            kinds = ("image crops", "2D keypoints")
            raise fail(
                f"The regressor sees {kinds[of_points]}",
                got=kinds[not of_points],
                next_step="Give a regressor of the other kind, or data that it can see",
            )
        size = self.config.image_size
        if isinstance(evidence, PointEvidence):
            wanted = (len(DETECTOR_POINTS), 3)
            if evidence.points.shape[-2:] != wanted or evidence.hints.shape[-2:] != wanted:
                got = f"{tuple(evidence.points.shape)} and {tuple(evidence.hints.shape)}"
                raise fail("The points do not fit the regressor", got=got, expected="(B, 25, 3), both")
        elif evidence.shape[-3:] != (3, size, size):
            raise fail(
                "The crops do not fit the regressor", got=tuple(evidence.shape), expected=f"(B, 3, {size}, {size})"
            )

    def _body_pose6d(self, raw: RawPrediction) -> Tensor:
        """(B,21,6) float32."""
        if not isinstance(raw.pose, list):
            return raw.pose
        decoded = self.tokenizer.decode_factored_rot6d([logits.softmax(-1) for logits in raw.pose])
        return decoded + self.network.mean_pose6d if self.config.head.add_mean else decoded


def _camera_on_points(
    evidence: PointEvidence, box: Tensor, K: Tensor, body: Body, pose: Tensor, orientation: Tensor, betas: Tensor
) -> Tensor:
    """Return the crop camera (B,3) that puts the points of the body onto those that were detected."""
    turn = ray_rotation(box, K)
    rays = rays_of_points(evidence.points[..., :2], box, K)
    _, points = body.detector_points(pose, root=turn.transpose(-1, -2) @ orientation, betas=betas)
    confidence = evidence.points[..., 2]
    # Where nothing at all was seen, every point is a guess as good as the others.
    weights = torch.where(confidence.any(-1, keepdim=True), confidence, torch.ones_like(confidence))
    place = place_on_rays(points, rays, weights)
    return translation_to_crop_camera((turn @ place[..., None])[..., 0], box, K)


def build_regressor(
    config: RegressorConfig,
    tokenizer: FrozenTokenizer,
    precision: ResolvedPrecision = "fp32",
    *,
    empty: bool = False,
) -> Regressor:
    """Build an untrained regressor for an artifact; weights are drawn from torch's global generator, or, where
    ``empty``, take no memory and no time until they are assigned.

    Raises ``UserError`` for a crop size the backbone cannot divide, and for parts that do not fit together.
    """
    with empty_weights() if empty else nullcontext():
        backbone = _backbone(config)
        decoder = _decoder(config, backbone)
        head = _pose_head(config, tokenizer)
        network = RegressorNetwork(backbone, decoder, head, hands=config.head.hands, bounded=config.head.bounded)
    return Regressor(network, tokenizer, config, precision=precision)


def _backbone(config: RegressorConfig) -> ResNet | ViT | KeypointEncoder:
    settings, size = config.backbone, config.image_size
    if settings.kind == "keypoints":
        return KeypointEncoder(settings.width)
    if settings.kind == "resnet":
        if size % 32:
            raise fail("The crop size does not fit the backbone", got=size, expected="a multiple of 32")
        return ResNet(settings.width, settings.blocks, settings.channels)
    if size % 64:
        raise fail("The crop size does not fit the backbone", got=size, expected="a multiple of 64")
    if len(settings.blocks) != 1 or settings.heads < 1 or settings.width % settings.heads:
        got = f"blocks {list(settings.blocks)}, width {settings.width}, heads {settings.heads}"
        raise fail("No ViT has these sizes", got=got, expected="one number of blocks; heads that divide the width")
    return ViT(
        size,
        settings.width,
        settings.blocks[0],
        settings.heads,
        drop_path=settings.drop_path,
        gradient_checkpointing=settings.gradient_checkpointing,
    )


def _decoder(
    config: RegressorConfig, backbone: ResNet | ViT | KeypointEncoder
) -> QueryDecoder | SingleQueryDecoder | MLPDecoder:
    settings = config.decoder
    if (settings.kind == "mlp") != isinstance(backbone, KeypointEncoder):
        got = f"decoder.kind {settings.kind!r}, backbone.kind {config.backbone.kind!r}"
        raise fail("The decoder does not fit the backbone", got=got, expected="mlp with keypoints, and only there")
    if isinstance(backbone, KeypointEncoder):
        if backbone.out_channels != settings.width:
            got = f"backbone {backbone.out_channels}, decoder {settings.width}"
            raise fail("Keypoint backbone and decoder have different widths", got=got, expected="the same")
        return MLPDecoder(settings)
    if settings.kind == "single":
        if settings.heads < 1 or settings.dim % settings.heads:
            raise fail("The decoder's heads do not divide its width", got=f"dim {settings.dim}, heads {settings.heads}")
        return SingleQueryDecoder(
            channels=backbone.out_channels,
            layers=settings.layers,
            heads=settings.heads,
            head_dim=settings.dim // settings.heads,
            width=settings.width,
            hidden=settings.hidden,
        )
    if isinstance(backbone, ViT):
        raise fail(
            "The pointing decoder needs the square map of a ResNet",
            got="backbone.kind 'vit'",
            next_step="Set decoder.kind=single",
        )
    return QueryDecoder(
        settings,
        queries=len(KEYPOINT_NAMES),
        channels=backbone.out_channels,
        map_size=config.image_size // backbone.stride,
        geometry=3,
    )


def _pose_head(config: RegressorConfig, tokenizer: FrozenTokenizer) -> TokenHead | MixerTokenHead | Rot6dHead:
    width, head = config.decoder.width, config.head
    if head.pose == "rot6d":
        return Rot6dHead(width)
    if head.logits == "mixer":
        return MixerTokenHead(width, tokenizer.num_tokens, tokenizer.levels)
    return TokenHead(width, tokenizer.num_tokens, tokenizer.levels, tokenizer.codebook.cpu(), head.logits)
