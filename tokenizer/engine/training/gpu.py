"""What a training takes of its GPU; on other devices nothing is measured and nothing shown."""

from __future__ import annotations

import torch


class GpuUse:
    """Peak memory since the start, and the mean of the shares of time that the driver says the GPU was busy."""

    def __init__(self, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        self._busy: list[float] = []
        if self._device is not None:
            torch.cuda.reset_peak_memory_stats(self._device)

    def figures(self) -> dict[str, float]:
        """``gpu_memory_gib`` of PyTorch's tensors, and ``gpu_busy``, a share: asked for now, and the mean of all such
        answers. Without pynvml (package nvidia-ml-py) there is none; empty on other devices."""
        if self._device is None:
            return {}
        figures = {"gpu_memory_gib": round(torch.cuda.max_memory_allocated(self._device) / 2**30, 3)}
        try:
            self._busy.append(torch.cuda.utilization(self._device) / 100)
        except Exception:  # no pynvml, or one of its many reasons not to tell
            return figures
        return {**figures, "gpu_busy": round(sum(self._busy) / len(self._busy), 4)}


def described(figures: dict[str, float]) -> str | None:
    """What ``GpuUse.figures`` found, in words; None where there is nothing."""
    if "gpu_memory_gib" not in figures:
        return None
    busy = f"; busy {figures['gpu_busy']:.0%} of the time" if "gpu_busy" in figures else ""
    return f"GPU: {figures['gpu_memory_gib']:.1f} GiB at most{busy}"
