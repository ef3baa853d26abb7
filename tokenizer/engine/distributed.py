"""What data-parallel training needs in addition to DDP; without ``torchrun`` every function is the identity."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .errors import CommonError, UserError, fail

T = TypeVar("T")
_PATIENCE = timedelta(hours=1)
"""How long processes wait for each other: the first validates and saves while the others wait."""
_JOINING = timedelta(minutes=10)
"""How long they wait for the last of them to start."""
_DDP_OPTIONS = signature(DistributedDataParallel).parameters
_FEW = 256
"""Up to this many numbers a tensor travels with the plain values."""


@contextmanager
def process_group() -> Iterator[None]:
    """Join the group that ``torchrun`` describes in the environment; leave it at the end.

    Tensors on a GPU go through nccl, others through gloo. A group that is joined already is left alone. A process that
    fails alone leaves without a word: the others may be waiting in the middle of a sum, and ``torchrun`` ends them.
    Raises ``UserError`` where the processes cannot meet.
    """
    if _launched() == 1 or dist.is_initialized():
        yield
        return
    _join()
    try:
        yield
    except CommonError:
        _leave()
        raise
    _leave()


def _leave() -> None:
    # What still refers to the group, in cycles too, would keep its threads: one that lets go of a tensor while the
    # interpreter ends aborts the process.
    gc.collect()
    dist.destroy_process_group()
    gc.collect()


def _join() -> None:
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise fail(
            f"WORLD_SIZE={_launched()} asks for several processes, but not where they meet",
            got=f"no {', no '.join(missing)}",
            expected="what torchrun sets",
            next_step="Start with torchrun, or unset WORLD_SIZE",
        )
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, number, size = next(dist.rendezvous("env://", timeout=_JOINING))
        store.set_timeout(_PATIENCE)
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if "EADDRINUSE" in reason:
            message, expected = "The port where the processes should meet is in use", "a free one"
            got, next_step = place, "Set another MASTER_PORT (torchrun --master_port, or --standalone)"
        else:
            message, got = "The processes of the training cannot meet", reason
            expected = f"{_launched()} of them at {place}; this is rank {os.environ['RANK']}"
            next_step = "See that all were started, each with a RANK of its own, and reach that address"
        raise fail(message, got=got, expected=expected, next_step=next_step) from None


def _launched() -> int:
    return _number("WORLD_SIZE", 1)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise fail(f"The environment variable {name} is not a number", got=repr(text), expected="what torchrun sets")
    return int(text)


def rank() -> int:
    """This process's number, 0 where there is only one; known before the group is joined."""
    if dist.is_initialized():
        return dist.get_rank()
    return _number("RANK", 0) if _launched() > 1 else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_here() -> int:
    """How many of those that train together run on this machine."""
    return _number("LOCAL_WORLD_SIZE", world_size()) if world_size() > 1 else 1


def own_device(device: torch.device) -> torch.device:
    """The device of this process: of several on one machine, each takes the GPU of its local number.

    Raises ``UserError`` for more processes than GPUs, or one numbered GPU for several processes.
    """
    if world_size() == 1 or device.type != "cuda":
        return device
    number, count = _number("LOCAL_RANK", 0), torch.cuda.device_count()
    if device.index is not None:
        raise fail("Several processes cannot train on one GPU", got=str(device), expected="cuda, each taking its own")
    if number >= count:
        raise fail(
            "There are more processes than GPUs",
            got=f"local rank {number}",
            expected=f"at most {count}",
            next_step=f"torchrun --nproc_per_node {count}, or --device cpu",
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def data_parallel(module: nn.Module) -> nn.Module:
    """``module`` in DDP: backward leaves the mean of all processes' gradients. Weights are taken from rank 0, now.

    Buffers are not sent around: whoever changes one in forward must do the same on every process. Every parameter that
    asks for a gradient must get one in every step.
    """
    if world_size() == 1:
        return module
    # Newer versions of PyTorch call it otherwise.
    name = "forward_sync_buffers" if "forward_sync_buffers" in _DDP_OPTIONS else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return DistributedDataParallel(module, **options)


def without_exchange(module: nn.Module) -> AbstractContextManager[object]:
    """Within, backward of what ``data_parallel`` gave leaves each process its own gradients: more are to be added."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def run_on_all_ranks(make: Callable[..., T], *arguments: Any) -> T:
    """What ``make(*arguments)`` returns, on each process its own; it must not wait for the others.

    A ``UserError`` of any is raised in all, as a ``CommonError``: that of the first of them.
    """
    if world_size() == 1:
        return make(*arguments)
    value, problems = None, [None] * world_size()
    problem = None
    try:
        value = make(*arguments)
    except UserError as error:
        problem = str(error)
    dist.all_gather_object(problems, problem)
    for text in problems:
        if text is not None:
            raise CommonError(text)
    return cast(T, value)


def from_rank_0(make: Callable[..., T], *arguments: Any) -> T:
    """What ``make(*arguments)`` returns on rank 0, on every process: plain values and tensors, nested in dictionaries,
    lists and tuples.

    Of a large tensor the others learn shape and type alone (it is on the device ``meta``): those that need its content
    get it by ``broadcast_tensors``. A ``UserError`` there is raised everywhere, as a ``CommonError``.
    """
    if world_size() == 1:
        return make(*arguments)
    value = None
    message: list[Any] = [None, None]
    if rank() == 0:
        try:
            value = make(*arguments)
            message = [_on_tensors(value, lambda tensor: tensor.to("meta")), None]
        except UserError as error:
            message = [None, str(error)]
    dist.broadcast_object_list(message, src=0)
    if message[1] is not None:
        raise CommonError(message[1])
    return cast(T, value if rank() == 0 else message[0])


def broadcast_tensors(value: T, device: torch.device) -> T:
    """``value``, or a part of it, as ``from_rank_0`` gave it, with the content of its tensors on every process.

    Elsewhere than on rank 0, whose ``value`` is returned as it is, large tensors come to lie on ``device``; they travel
    one by one, from there to there, so that no process holds all of it twice.
    """
    if world_size() == 1:
        return value

    def sent(tensor: Tensor) -> Tensor:
        if rank() == 0:
            received = tensor.to(device).contiguous()
        else:
            received = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        # As bytes: not every backend knows every type.
        dist.broadcast(received.flatten().view(torch.uint8), src=0)
        return tensor if rank() == 0 else received

    return cast(T, _on_tensors(value, sent))


def _on_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The nested ``value`` with its large tensors changed, in an order that is the same on every process."""
    if isinstance(value, Tensor):
        return change(value) if value.numel() > _FEW else value
    if isinstance(value, dict):
        return {key: _on_tensors(entry, change) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_tensors(entry, change) for entry in value)
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


def check_batch_division(batch: int, what: str, *, accumulate: int = 1) -> None:
    """Raise ``UserError`` unless every process gets as many of a batch, in ``accumulate`` parts of equal size."""
    if accumulate < 1 or batch % (world_size() * accumulate):
        parts = f", optim.accumulate {accumulate}" if accumulate != 1 else ""
        raise fail(
            "The batch cannot be divided evenly",
            got=f"{batch} {what} for {world_size()} processes{parts}",
            expected="as many for each",
            next_step="Change optim.batch, or the number of processes",
        )
