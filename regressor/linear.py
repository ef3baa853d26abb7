"""Linear layers at the speed the CPU has.

PyTorch multiplies float32 matrices on a CPU with MKL, which leaves half of an AMD processor's AVX-512 units idle;
oneDNN, part of every CPU build too, asks the processor and not its maker. With AVX2 both reach what the processor can,
and nothing is gained (``pose-pipeline bench-vit``). bfloat16 always goes to oneDNN.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokenizer.engine.processor import instruction_set


def wants_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether a product of ``x`` and ``weight`` should be handed to oneDNN by name: float32 on a CPU with AVX-512."""
    return (
        x.device.type == "cpu"
        and instruction_set().startswith("AVX512")
        and x.dtype == weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class Linear(nn.Linear):
    """``nn.Linear`` whose float32 products on a CPU with AVX-512 go to oneDNN; the same parameters, equal up to
    rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(...,in_features) → (...,out_features)."""
        if not wants_onednn(x, self.weight):
            return F.linear(x, self.weight, self.bias)
        return F.linear(x.to_mkldnn(), self.weight, self.bias).to_dense()


class MLP(nn.Module):
    """Linear, GELU (the exact one), Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = Linear(width, hidden), Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(...,width) → the same shape."""
        if not wants_onednn(x, self.inner.weight):
            out: Tensor = self.outer(F.gelu(self.inner(x)))
            return out
        # Between the two layers the values stay in oneDNN's hands: nothing is copied out and in.
        hidden = F.gelu(F.linear(x.to_mkldnn(), self.inner.weight, self.inner.bias))
        return F.linear(hidden, self.outer.weight, self.outer.bias).to_dense()
