"""Batch norm over the batches of all processes; PyTorch's own does it on GPUs alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tokenizer.engine.distributed import differentiable_sum_over_ranks, world_size


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
