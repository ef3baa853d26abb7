"""What data-parallel training needs beside DDP itself; without ``torchrun`` every function is the identity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .errors import CommonError, UserError, fail

T = TypeVar("T")
_PATIENCE = timedelta(hours=1)
"""How long processes wait for each other: the first validates and saves while the others wait."""


@contextmanager
def process_group() -> Iterator[None]:
    """Join the group that ``torchrun`` describes in the environment; leave it at the end.

    Tensors on a GPU go through nccl, others through gloo. A group that is joined already is left alone. A process that
    fails alone leaves without a word: the others may be waiting in the middle of a sum, and ``torchrun`` ends them.
    """
    if _launched() == 1 or dist.is_initialized():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    except CommonError:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _launched() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, 0 where there is only one; known before the group is joined."""
    if dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", "0")) if _launched() > 1 else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_device(device: torch.device) -> torch.device:
    """The device of this process: of several on one machine, each takes the GPU of its local number.

    Raises ``UserError`` for more processes than GPUs, or one numbered GPU for several processes.
    """
    if world_size() == 1 or device.type != "cuda":
        return device
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device.index is not None:
        raise fail("Several processes cannot train on one GPU", got=str(device), expected="cuda, each taking its own")
    if number >= count:
        raise fail("There are more processes than GPUs", got=f"local rank {number}", expected=f"at most {count}",
                   next_step=f"torchrun --nproc_per_node {count}, or --device cpu")  # fmt: skip
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def data_parallel(module: nn.Module) -> nn.Module:
    """``module`` in DDP: backward leaves the mean of all processes' gradients. Weights are taken from rank 0, now.

    Buffers are not sent around: whoever changes one in forward must do the same on every process.
    """
    return DistributedDataParallel(module, broadcast_buffers=False) if world_size() > 1 else module


def without_exchange(module: nn.Module) -> AbstractContextManager[object]:
    """Within, backward of what ``data_parallel`` gave leaves each process its own gradients: more are to be added."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def from_rank_0(make: Callable[..., T], *arguments: Any) -> T:
    """What ``make(*arguments)`` returns on rank 0, on every process: tensors on the CPU and plain values.

    A ``UserError`` there is raised everywhere, as a ``CommonError``.
    """
    if world_size() == 1:
        return make(*arguments)
    message: list[Any] = [None, None]
    if rank() == 0:
        try:
            message[0] = make(*arguments)
        except UserError as error:
            message[1] = str(error)
    dist.broadcast_object_list(message, src=0)
    if message[1] is not None:
        raise CommonError(message[1])
    value: T = message[0]
    return value


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of ``tensor`` over all processes, on every one of them."""
    if world_size() > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return sum_over_ranks(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_ranks(gradients[0].contiguous())


def differentiable_sum_over_ranks(tensor: Tensor) -> Tensor:
    """``sum_over_ranks`` that passes gradients on: each process's share moves the losses of all."""
    out: Tensor = _Sum.apply(tensor)
    return out


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of ``tensor`` over all processes, on every one of them."""
    return sum_over_ranks(tensor) / world_size()


def rows_over_ranks(rows: Tensor, chosen: Tensor) -> Tensor:
    """Rows ``chosen`` (K,) int64, the same on every process, of all processes' ``rows`` (N,D) in order of rank.

    Every process has the same N. Only the chosen rows travel, not all of them.
    """
    if world_size() == 1:
        return rows[chosen]
    local = chosen - rank() * len(rows)
    own = (local >= 0) & (local < len(rows))
    return sum_over_ranks(torch.where(own[:, None], rows[local.clamp(0, len(rows) - 1)], rows.new_zeros(())))
