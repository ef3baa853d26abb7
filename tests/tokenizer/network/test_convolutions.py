"""The paper's convolutions over joints."""

from __future__ import annotations

import torch

from tokenizer.network.convolutions import NUM_TOKENS, ConvDecoder, ConvEncoder, ResidualConv


def test_poses_become_160_tokens_and_tokens_21_joints():
    assert NUM_TOKENS == 160
    latents = ConvEncoder(8, 4)(torch.randn(2, 21, 6))
    assert latents.shape == (2, 160, 4)
    assert ConvDecoder(8, 4)(latents).shape == (2, 21, 6)


def test_what_a_hidden_joint_does_is_not_seen():
    torch.manual_seed(0)
    encoder, pose = ConvEncoder(8, 4).eval(), torch.randn(1, 21, 6)
    visible = torch.ones(1, 21, dtype=torch.bool)
    visible[0, 5] = False
    other = pose.clone()
    other[0, 5] += 1
    assert torch.equal(encoder(pose, visible), encoder(other, visible))
    assert not torch.equal(encoder(pose), encoder(other))


def test_a_residual_block_without_weights_passes_its_input_on():
    block = ResidualConv(4, 3)
    with torch.no_grad():
        block.point.weight.zero_()
        assert block.point.bias is not None
        block.point.bias.zero_()
    x = torch.randn(2, 4, 7)
    assert torch.equal(block(x), x)
