"""PoseTokenizer = encoder + quantizer + decoder, and the one place that builds it from a configuration."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..body.rotations import matrix_to_rot6d, rot6d_to_matrix
from ..config import NetworkConfig, QuantizerConfig
from ..engine.constants import constant
from ..engine.errors import fail
from .attention import AttentionDecoder, AttentionEncoder
from .convolutions import NUM_TOKENS, ConvDecoder, ConvEncoder
from .networks import MLPDecoder, MLPEncoder, fit_linear_maps
from .quantizers import EmaVQ, LayeredFSQ, Quantized, Quantizer, ResidualVQ


@dataclass
class TokenizerOutput:
    """rotations (B,21,3,3) after the tokens; ids (B,T); latents (B,...) before the quantizer; commitment: scalar."""

    rotations: Tensor
    ids: Tensor
    latents: Tensor
    commitment: Tensor


class PoseTokenizer(nn.Module):
    """A VQ-VAE over body poses (van den Oord et al., 2017; TokenHMR stage 1): 21 joint rotations ↔ T token ids."""

    def __init__(self, encoder: nn.Module, quantizer: Quantizer, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder

    def forward(
        self, rotations: Tensor, visible: Tensor | None = None, generator: torch.Generator | None = None
    ) -> TokenizerOutput:
        """Rotations (B,21,3,3), visible (B,21) bool or None → reconstruction with straight-through gradients.

        ``generator`` feeds the random draws of a quantizer in training mode. Under autocast the networks alone run in
        low precision: distances to codes do not bear it.
        """
        latents = self.latents(rotations, visible)
        with torch.autocast(latents.device.type, enabled=False):
            quantized: Quantized = self.quantizer(latents, generator)
        return TokenizerOutput(self.decode_values(quantized.values), quantized.ids, latents, quantized.commitment)

    def latents(self, rotations: Tensor, visible: Tensor | None = None) -> Tensor:
        """What the quantizer gets for rotations (B,21,3,3): (B, *quantizer.latent_shape)."""
        latents: Tensor = self.encoder(matrix_to_rot6d(rotations), visible)
        return latents

    @property
    def num_codes(self) -> int:
        """How many codes a token chooses from."""
        return self.quantizer.num_codes

    def encode(self, rotations: Tensor, visible: Tensor | None = None) -> Tensor:
        """Rotations (B,21,3,3) → token ids (B,T) int64."""
        ids: Tensor = self.quantizer(self.latents(rotations, visible)).ids
        return ids

    def decode(self, ids: Tensor) -> Tensor:
        """Token ids (B,T) → rotations (B,21,3,3)."""
        return self.decode_values(self.quantizer.codebook[ids])

    def decode_values(self, values: Tensor) -> Tensor:
        """Codebook rows, or mixtures of them, (B,T,D) → rotations (B,21,3,3); differentiable to ``values``."""
        return rot6d_to_matrix(self.decode_rot6d(values))

    def decode_rot6d(self, values: Tensor) -> Tensor:
        """``decode_values`` before Gram and Schmidt: the decoder's own 6D (B,21,6), float32."""
        rot6d: Tensor = self.decoder(values).float()
        return rot6d

    @torch.no_grad()
    def fit_scale(self, rotations: Tensor) -> None:
        """Set the mean and the spread by which networks standardise, and their linear maps, from poses (N,21,3,3)."""
        rot6d = matrix_to_rot6d(rotations)
        mean = rot6d.mean(0)
        scale = rot6d.std(0).clamp_min(0.1)
        targets = ((self.encoder, "mean", mean), (self.encoder, "scale", scale), (self.decoder, "mean", mean))
        for module, name, value in targets:
            if name in dict(module.named_buffers()):
                module.get_buffer(name).copy_(value)
        if isinstance(self.encoder, MLPEncoder) and isinstance(self.decoder, MLPDecoder) and self.encoder.linear:
            fit_linear_maps(
                self.encoder, self.decoder, rot6d, constant(self.quantizer.levels, rot6d.device, torch.float32)
            )


def build_tokenizer(network: NetworkConfig, quantizer: QuantizerConfig, *, empty: bool = False) -> PoseTokenizer:
    """Build an untrained tokenizer; weights are drawn from torch's global generator, or, where ``empty``, those of the
    networks take no memory and no time until they are assigned.

    Raise ``UserError`` for convolutions with another quantizer than ``ema_vq`` of their 160 tokens, and for linear maps
    with others than ``mlp`` and ``fsq``.
    """
    codes = _build_quantizer(quantizer)
    with torch.device("meta") if empty else nullcontext():
        return PoseTokenizer(*_build_networks(network, quantizer, codes))


def codebook_shape(quantizer: QuantizerConfig) -> tuple[int, int]:
    """(codes, dims) of the codebook that these settings give."""
    if quantizer.kind == "fsq":
        return math.prod(quantizer.levels), len(quantizer.levels)
    return quantizer.num_codes, quantizer.dim


def _build_networks(
    network: NetworkConfig, quantizer: QuantizerConfig, codes: Quantizer
) -> tuple[nn.Module, Quantizer, nn.Module]:
    if network.linear and (network.kind != "mlp" or quantizer.kind != "fsq"):
        raise fail(
            "Linear maps need another network or quantizer",
            got=f"{network.kind}, {quantizer.kind}",
            expected="mlp and fsq",
            next_step="Set network.linear=false",
        )
    if network.kind == "conv":
        if quantizer.kind != "ema_vq" or quantizer.num_tokens != NUM_TOKENS:
            raise fail(
                "Convolutions need another quantizer",
                got=f"{quantizer.kind}, {codes.num_tokens} tokens",
                expected=f"ema_vq of {NUM_TOKENS} tokens",
            )
        return ConvEncoder(network.width, codes.dim), codes, ConvDecoder(network.width, codes.dim)
    sizes = (network.width, network.blocks)
    if network.kind == "attention":
        encoder = AttentionEncoder(codes.latent_shape, *sizes)
        return encoder, codes, AttentionDecoder(codes.num_tokens, codes.layer_scale, *sizes)
    decoder = MLPDecoder(codes.num_tokens, codes.layer_scale, *sizes, network.linear)
    return MLPEncoder(codes.latent_shape, *sizes, network.linear), codes, decoder


def _build_quantizer(config: QuantizerConfig) -> Quantizer:
    if config.kind == "fsq":
        return LayeredFSQ(config.levels, config.groups, config.layers)
    if config.kind == "ema_vq":
        return EmaVQ(config.num_tokens, config.num_codes, config.dim, config.decay, config.restart_below)
    return ResidualVQ(config.groups, config.layers, config.num_codes, config.dim, config.decay, config.restart_below)
