"""Decoders: the keypoint queries, and the paper's single query."""

from __future__ import annotations

import torch
from narrow_networks import attention, lively

from regressor.network.decoders import PointingAttention, SingleQueryDecoder


def test_pointing_finds_a_bright_spot():
    """A query whose key is the one channel that lights up at a single place points at that place."""
    grid = torch.tensor([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
    attention = PointingAttention(queries=1, channels=2, dim=3)
    with torch.no_grad():
        attention.query.weight.copy_(torch.tensor([[50.0, 0.0]]))
    tokens = torch.zeros(1, 4, 2)
    tokens[0, 1, 0] = 1.0
    queries, pointed = attention(tokens, grid)
    assert queries.shape == (1, 1, 3)
    assert torch.allclose(pointed[0, 0], grid[1], atol=1e-5)


def test_the_decoder_equals_whole_attention_over_keys_and_values():
    decoder = lively(SingleQueryDecoder(channels=16, layers=2, heads=2, head_dim=4, width=24, hidden=20))
    features = torch.randn(3, 16, 4, 3)
    tokens = features.flatten(2).transpose(1, 2)
    x = decoder.query.expand(3, 1, -1)
    for layer in decoder.layers:
        h = layer.norms[0](x)
        # Any queries and keys at all: over one vector, attention is 1.
        x = x + layer.self_out(attention(torch.randn(3, 1, 8), torch.randn(3, 1, 8), layer.self_value(h), 2))
        keys, values = (tokens @ weight.flatten(0, 1).T for weight in (layer.cross.key, layer.cross.value))
        x = x + layer.cross.out(attention(layer.cross.query(layer.norms[1](x)), keys, values, 2))
        x = x + layer.mlp(layer.norms[2](x))
    decoded = decoder(features)
    assert decoded.soft_argmax_keypoints is None and torch.allclose(decoded.readout, x[:, 0], atol=1e-4)
