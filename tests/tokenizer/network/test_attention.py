"""Encoder and decoder that attend over joints."""

from __future__ import annotations

import torch

from tokenizer.network.attention import AttentionBlock, AttentionDecoder, AttentionEncoder


def test_shapes_of_latents_and_joints():
    encoder = AttentionEncoder((5, 3), width=32, blocks=1)
    assert encoder(torch.randn(2, 21, 6)).shape == (2, 5, 3)
    decoder = AttentionDecoder(10, torch.ones(2, 3), width=32, blocks=1)
    assert decoder(torch.randn(2, 10, 3)).shape == (2, 21, 6)


def test_what_a_hidden_joint_does_is_not_seen():
    torch.manual_seed(0)
    encoder, pose = AttentionEncoder((5, 3), width=32, blocks=1), torch.randn(1, 21, 6)
    visible = torch.ones(1, 21, dtype=torch.bool)
    visible[0, 5] = False
    other = pose.clone()
    other[0, 5] += 1
    torch.testing.assert_close(encoder(pose, visible), encoder(other, visible))
    assert not torch.allclose(encoder(pose), encoder(other))


def test_a_block_knows_no_order():
    torch.manual_seed(0)
    block, x = AttentionBlock(64), torch.randn(1, 6, 64)
    torch.testing.assert_close(block(x.flip(1)), block(x).flip(1), atol=1e-5, rtol=1e-5)
