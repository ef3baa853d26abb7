"""Numbers that never change, as tensors: copied to a device once, and not in every step."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """``values`` (N,) on ``device``: the same tensor at every call, which nobody may change.

    To make a tensor of Python numbers on a GPU is to copy them there, and the copy waits for all that the GPU still has
    to do.
    """
    with torch.inference_mode(False):  # one made within could take no part in a training
        return torch.tensor(values, dtype=dtype, device=device)
