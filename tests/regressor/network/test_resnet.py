"""The ResNet's strided shortcut: PyTorch's values, without the layer that corrupts the heap on AVX2 CPUs."""

from __future__ import annotations

import copy
import subprocess
import sys

import torch
from torch import nn

from regressor.network.resnet import PointwiseConv2d, ResNet

NARROW = """
import torch
from regressor.network.resnet import ResNet
for width in (2, 4, 6):
    network = ResNet(width, (1, 1, 1), 8).train()
    for _ in range(20):
        network(torch.randn(4, 3, 64, 64)).square().sum().backward()
"""


def test_pointwise_convolution_equals_the_strided_one():
    torch.manual_seed(0)
    for step in (1, 2, 3):
        plain = nn.Conv2d(8, 5, 1, step, bias=False)
        ours = PointwiseConv2d(8, 5, step)
        ours.load_state_dict(plain.state_dict())
        x = torch.randn(2, 8, 7, 10).contiguous(memory_format=torch.channels_last).requires_grad_()
        other = x.detach().clone().requires_grad_()
        out, expected = ours(x), plain(other)
        assert torch.allclose(out, expected, atol=1e-6)
        weights = torch.randn_like(out)
        (out * weights).sum().backward()
        (expected * weights).sum().backward()
        assert torch.allclose(x.grad, other.grad, atol=1e-6)
        assert torch.allclose(ours.weight.grad, plain.weight.grad, atol=1e-5)


def test_no_strided_pointwise_convolution_is_left():
    strided = [
        layer
        for layer in ResNet(8, (2, 2, 2), 8).modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1)
    ]
    assert strided == []


def test_narrow_networks_train_without_corrupting_memory():
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_names_of_the_weights_stay():
    names = set(ResNet(8, (1, 1), 8).state_dict())
    assert {"stages.1.0.shortcut.0.weight", "stages.1.0.shortcut.1.weight"} <= names
    assert copy.deepcopy(ResNet(8, (1, 1), 8)).stages[1][0].shortcut[0].step == 2
