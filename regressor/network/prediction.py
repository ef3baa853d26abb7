"""A regressor's prediction for a batch of crops: a dataclass whose meshes and cameras are computed on demand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.engine.errors import fail

from ..geometry.camera import crop_camera_to_translation


@dataclass
class Prediction:
    """Rotations in OpenCV camera axes; lengths in metres.

    global_orient (B,1,3,3): body to camera; body_pose (B,23,3,3); betas (B,10); camera (B,3) as s, tx, ty: the
    crop's weak perspective, see ``camera.crop_camera_to_translation``; box (B,4) px and K (B,3,3) px: of the full
    image, as given; factor_logits: one (B,T,L_f) per factor of the artifact's code ids, None from a 6D head;
    soft_argmax_keypoints (B,44,2): the places of the keypoint queries, crop units.
    """

    global_orient: Tensor
    body_pose: Tensor
    betas: Tensor
    camera: Tensor
    box: Tensor
    K: Tensor
    factor_logits: list[Tensor] | None = None
    soft_argmax_keypoints: Tensor | None = None

    @property
    def token_logits(self) -> Tensor:
        """Log-probabilities (B,T,K) of whole token ids, first factor fastest. Raises ``UserError`` for a 6D head."""
        if self.factor_logits is None:
            raise fail("This regressor predicts no tokens", got="a 6D pose head", next_step="Use pose head 'tokens'")
        joint = self.factor_logits[0].log_softmax(-1)
        for logits in self.factor_logits[1:]:
            joint = (logits.log_softmax(-1)[..., :, None] + joint[..., None, :]).flatten(-2)
        return joint

    @property
    def token_ids(self) -> Tensor:
        """The likeliest id (B,T) int64 of every token: that of its likeliest digits."""
        if self.factor_logits is None:
            raise fail("This regressor predicts no tokens", got="a 6D pose head", next_step="Use pose head 'tokens'")
        ids, stride = torch.zeros_like(self.factor_logits[0][..., 0], dtype=torch.int64), 1
        for logits in self.factor_logits:
            ids, stride = ids + stride * logits.argmax(-1), stride * logits.shape[-1]
        return ids

    def camera_translation(self) -> Tensor:
        """Translation (B,3) of the body in the camera frame of the full image, metres."""
        return crop_camera_to_translation(self.camera, self.box, self.K)

    def joints(self, body: Body) -> Tensor:
        """(B,24,3) in camera axes, metres; not yet translated."""
        return body.joints(self.body_pose, root=self.global_orient[:, 0], betas=self.betas)

    def keypoints(self, body: Body) -> Tensor:
        """(B,44,3) in camera axes, metres; not yet translated."""
        return body.keypoints(self.body_pose, root=self.global_orient[:, 0], betas=self.betas)

    def vertices(self, body: Body, subset: Tensor | None = None) -> Tensor:
        """(B,V,3), or (B,S,3) of a subset, in camera axes, metres; not yet translated."""
        return body.vertices(self.body_pose, root=self.global_orient[:, 0], betas=self.betas, subset=subset)
