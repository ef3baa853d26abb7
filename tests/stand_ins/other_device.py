"""A device that is not the CPU, on a machine without one: it computes what the CPU does, but is as strict as a GPU.

Its tensors hold CPU tensors inside, so that values are right and code may branch on them. Refused, as CUDA refuses it:
a tensor of the CPU among its own (0-dim ones pass, as on CUDA). Refused, as MPS refuses it: float64. Counted: copies to
it (``uploads``) and from it (``downloads``), among them those that no line of code spells out: an index or a scalar
that lies on the CPU, a number read from a tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "elsewhere"
_ROOT = f"{Path(__file__).resolve().parents[2]}/"
_aten = torch.ops.aten
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
"""What lets an index lie on the CPU, and copies it."""
_COPIED = {_aten.where.self}
"""What copies a 0-dim CPU tensor, where other operations pass its value."""
_READ = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten.repeat_interleave.Tensor,
}
"""What the host waits for: a number, or a size, that it does not know before."""


_AUTOCAST = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
"""Autocast changes nothing here."""


class _Module(_DummyBackendModule):
    """What PyTorch asks ``torch.elsewhere``."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


# While tests are collected: PyTorch counts the devices it computes gradients on at the first gradient of the process.
_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
_AUTOCAST.fallback(torch.library.fallthrough_kernel)


class Elsewhere(torch.Tensor):
    """A tensor of the other device; ``inside`` is the CPU tensor that holds its values."""

    inside: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inside: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.shape,
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=torch.device(NAME, 0),
        )
        made.inside = inside
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """In files its values lie as those of the CPU."""
        return self.inside.detach().clone().__reduce_ex__(protocol)

    def tolist(self) -> Any:
        """Its values, once they are on the CPU."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refused: an array is of the CPU."""
        raise TypeError(f"can't convert {NAME} tensor to numpy. Use Tensor.cpu() first")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.inside!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, kwargs or {}, None)


class OtherDevice(TorchDispatchMode):
    """Within, tensors can be made on ``device`` and moved there. A copy is noted down as ``file:line``, of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device(NAME, 0)
        self.uploads: list[str] = []
        self.downloads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, self)

    def __enter__(self) -> OtherDevice:
        # torch.tensor(numbers, device=…) then fills a tensor of the CPU and moves it, in sight of this mode.
        torch._C._set_only_lift_cpu_tensors(True)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch._C._set_only_lift_cpu_tensors(False)
        super().__exit__(*error)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count copies of this block alone."""
        self.uploads.clear()
        self.downloads.clear()
        yield

    def note(self, copies: str) -> None:
        """Note down one copy, and whose it was."""
        frame, place = sys._getframe(1), "?"
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(_ROOT) and "site-packages" not in path and path != __file__:
                place = f"{path[len(_ROOT) :]}:{frame.f_lineno}"
                break
            frame = frame.f_back
        getattr(self, copies).append(place)


def _is_here(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _leaves(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """``value``, a leaf or lists and tuples of them, with those of ``kind`` changed."""
    if isinstance(value, list | tuple):
        return type(value)(_mapped(one, kind, change) for one in value)
    return change(value) if isinstance(value, kind) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any], mode: OtherDevice | None) -> Any:
    leaves = [*_leaves(args), *_leaves(kwargs.values())]
    ours = [x for x in leaves if isinstance(x, Elsewhere)]
    wanted = kwargs.get("device")
    if not ours and not _is_here(wanted):
        return func(*args, **kwargs)
    note = mode.note if mode is not None else lambda copies: None
    if func is _aten._fused_sdp_choice.default:
        return 0  # the way that is spelled out: the others are kernels of certain devices
    wrappers = {id(x.inside): x for x in ours}
    plain = _mapped(args, Elsewhere, lambda x: x.inside)
    named = {name: _mapped(value, Elsewhere, lambda x: x.inside) for name, value in kwargs.items()}
    if "device" in named:
        named["device"] = torch.device("cpu")
    if named.get("pin_memory"):
        named["pin_memory"] = False
    here = _is_here(wanted) if wanted is not None else bool(ours)
    if func is _aten._to_copy.default:
        if here != bool(ours):
            note("uploads" if here else "downloads")
        made = func(*plain, **named)
        return _wrapped(func, made) if here else made
    if func is _aten.copy_.default:
        if len(ours) == 1:
            note("uploads" if args[0] is ours[0] else "downloads")
        func(*plain, **named)
        return args[0]
    _refuse_strangers(func, args, leaves, note)
    if func in _READ:
        note("downloads")
    made = func(*plain, **named)

    def back(value: torch.Tensor) -> torch.Tensor:
        return wrappers[id(value)] if id(value) in wrappers else _wrapped(func, value)

    return _mapped(made, torch.Tensor, back) if here else made


def _refuse_strangers(func: Any, args: Any, leaves: list[Any], note: Callable[[str], None]) -> None:
    others = [x for x in leaves if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere)]
    strangers = [x for x in others if x.ndim > 0]
    if func in _INDEXED and isinstance(args[0], Elsewhere):
        own = list(_leaves(args[1]))
        indices = [x for x in strangers if any(x is one for one in own)]
        for _ in indices:
            note("uploads")
        strangers = [x for x in strangers if not any(x is one for one in indices)]
        masks = [x for x in own if isinstance(x, torch.Tensor) and x.dtype == torch.bool]
        if masks:
            note("downloads")  # how many a mask chooses
    if strangers:
        shapes = ", ".join(str(tuple(x.shape)) for x in strangers)
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got {shapes} of the CPU among those of {NAME}"
        )
    if func in _COPIED:
        for _ in others:
            note("uploads")


def _wrapped(func: Any, inside: torch.Tensor) -> Elsewhere:
    if inside.dtype in (torch.float64, torch.complex128):
        raise TypeError(f"{NAME} has no float64, and {func} would make some")
    return Elsewhere(inside)
