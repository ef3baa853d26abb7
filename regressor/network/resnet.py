"""A narrow ResNet whose stages are fused into one feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokenizer.engine.distributed import differentiable_sum_over_ranks, world_size


class PointwiseConv2d(nn.Conv2d):
    """1×1 convolution without bias of every ``step``-th pixel: what ``nn.Conv2d(inputs, outputs, 1, step)`` computes.

    The pixels are picked first. PyTorch 2.13's own backward pass for that layer corrupts the heap on CPUs without
    AVX-512 when the input has fewer than 8 channels in channels_last.
    """

    def __init__(self, inputs: int, outputs: int, step: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,H,W) → (B,outputs,ceil(H/step),ceil(W/step))."""
        if self.step > 1:
            x = x[:, :, :: self.step, :: self.step].contiguous(memory_format=torch.channels_last)
        out: Tensor = super().forward(x)
        return out


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and a shortcut (He et al., 2016, the basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(PointwiseConv2d(inputs, outputs, stride), BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,H,W) → (B,outputs,H/stride,W/stride)."""
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace=True)))
        return F.relu(inner + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """A narrow ResNet whose stages are fused into one map at an eighth of the crop (Lin et al., FPN, 2017).

    A 7×7 stem of stride 4 without pooling, then one stage per entry of ``blocks``, each half as large and twice as
    wide as the one before. ``out_channels`` is the width of the fused map.
    """

    stride = 8

    def __init__(self, width: int, blocks: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 4, 3, bias=False), BatchNorm2d(width), nn.ReLU(inplace=True))
        stages, lateral, inputs = [], [], width
        for number, count in enumerate(blocks):
            outputs = width * 2**number
            strides = [2 if number else 1] + [1] * (count - 1)
            stages.append(
                nn.Sequential(
                    *[
                        ResidualBlock(inputs if first == 0 else outputs, outputs, stride)
                        for first, stride in enumerate(strides)
                    ]
                )
            )
            inputs = outputs
            if number:
                lateral.append(nn.Conv2d(outputs, out_channels, 1))
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(lateral)
        self.norm = BatchNorm2d(out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised crops (B,3,S,S), S a multiple of 32 → features (B,out_channels,S/8,S/8)."""
        # Convolutions on a CPU run several times as fast with channels last; elsewhere it costs nothing.
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        fused = self.lateral[-1](maps[-1])
        for lateral, finer in zip(reversed(self.lateral[:-1]), reversed(maps[1:-1]), strict=True):
            fused = F.interpolate(fused, scale_factor=2.0, mode="nearest") + lateral(finer)
        return F.relu(self.norm(fused))


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d``, whose statistics in training are those of all processes together (each has as many samples).

    Of accumulated gradients each part has statistics of its own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) → the same shape."""
        if not self.training or world_size() == 1:
            out: Tensor = super().forward(x)
            return out
        values = x.float()
        mean = differentiable_sum_over_ranks(values.mean((0, 2, 3))) / world_size()
        centred = values - mean[:, None, None]
        # A second pass: the difference of mean square and squared mean loses digits.
        variance = differentiable_sum_over_ranks(centred.square().mean((0, 2, 3))) / world_size()
        with torch.no_grad():
            count = world_size() * x.numel() // x.shape[1]
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
