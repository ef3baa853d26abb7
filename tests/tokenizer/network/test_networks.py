"""Encoders and decoders: every joint counts, hidden joints do not, layers add up, both kinds train and export."""

from __future__ import annotations

import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance
from tokenizer.config import NetworkConfig, QuantizerConfig
from tokenizer.engine.errors import UserError
from tokenizer.network.model import build_tokenizer

NETWORKS = {
    "mlp": NetworkConfig(width=32, blocks=1),
    "linear": NetworkConfig(width=32, blocks=1, linear=True),
    "attention": NetworkConfig("attention", width=32, blocks=2),
}
QUANTIZERS = {
    "fsq": QuantizerConfig(levels=(4, 4), groups=3, layers=2),
    "ema_vq": QuantizerConfig("ema_vq", num_tokens=4, num_codes=32, dim=4),
    "residual_vq": QuantizerConfig("residual_vq", groups=3, layers=2, num_codes=32, dim=4),
}


@pytest.fixture(params=NETWORKS)
def model(request):
    torch.manual_seed(0)
    model = build_tokenizer(NETWORKS[request.param], QUANTIZERS["fsq"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def test_every_joint_moves_the_latents_and_hidden_ones_do_not(model):
    rotations = axis_angle_to_matrix(0.3 * torch.randn(1, 21, 3))
    turned = axis_angle_to_matrix(0.3 * torch.randn(21, 3))
    visible = torch.ones(1, 21, dtype=torch.bool)
    before = model.latents(rotations)
    assert torch.allclose(model.latents(rotations, visible), before, atol=1e-6)
    for joint in range(21):
        moved, hidden = rotations.clone(), visible.clone()
        moved[:, joint] = turned[joint]
        hidden[:, joint] = False
        assert (model.latents(moved) - before).abs().max() > 1e-4
        unseen = model.latents(rotations, hidden)
        assert torch.equal(model.latents(moved, hidden), unseen) and (unseen - before).abs().max() > 1e-4


def test_every_group_and_layer_moves_the_pose(model):
    values = torch.randn(1, 6, 2)
    before = model.decode_values(values)
    effect = []
    for token in range(6):
        changed = values.clone()
        changed[:, token] += 0.5
        effect.append((model.decode_values(changed) - before).abs().max().item())
    assert min(effect) > 1e-5
    assert sum(effect[:3]) > 2 * sum(effect[3:]), "coarse tokens move more"


def test_linear_maps_begin_at_principal_components():
    torch.manual_seed(0)
    directions = 0.2 * torch.randn(4, 63)
    poses = axis_angle_to_matrix((torch.randn(3000, 4) @ directions).unflatten(1, (21, 3)))
    quantizer = QuantizerConfig(levels=(4, 4, 2), groups=10, layers=3)
    errors = {}
    for linear in (False, True):
        model = build_tokenizer(NetworkConfig(width=32, blocks=1, linear=linear), quantizer).eval()
        model.fit_scale(poses)
        errors[linear] = geodesic_distance(model.decode(model.encode(poses)), poses).mean().rad2deg()
    assert errors[True] < 5 < 15 < errors[False]
    latents = torch.tanh(model.latents(poses)).flatten(1)
    # The four directions of the poses fill latents of four levels; those of two levels get what is left.
    spread = latents.std(0).unflatten(0, (10, 3))
    assert (spread[:, :2].flatten().sort(descending=True).values[:4] > 0.45).all()


@pytest.mark.parametrize(
    ("network", "quantizer"),
    [(NetworkConfig("attention", width=32, linear=True), "fsq"), (NetworkConfig(width=32, linear=True), "ema_vq")],
)
def test_linear_maps_go_with_mlps_and_fsq_alone(network, quantizer):
    with pytest.raises(UserError, match="Linear maps need another network or quantizer"):
        build_tokenizer(network, QUANTIZERS[quantizer])
