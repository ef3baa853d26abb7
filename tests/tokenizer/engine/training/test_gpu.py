"""What is said of a GPU, and that nothing is said without one."""

from __future__ import annotations

import pytest
import torch

from tokenizer.engine.training.gpu import GpuUse, described


def test_a_cpu_has_nothing_to_say():
    use = GpuUse(torch.device("cpu"))
    assert use.figures() == {} and described(use.figures()) is None


def test_busy_is_the_mean_of_what_the_driver_said(monkeypatch):
    said = iter([90, 100])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: next(said))
    use = GpuUse(torch.device("cuda", 0))
    use.figures()
    assert use.figures() == {"gpu_memory_gib": 1.5, "gpu_busy": 0.95}
    assert described(use.figures()) == "GPU: 1.5 GiB at most", "the driver fell silent"
    assert described({"gpu_memory_gib": 1.5, "gpu_busy": 0.95}) == "GPU: 1.5 GiB at most; busy 95% of the time"


@pytest.mark.gpu
def test_a_gpu_tells_its_memory():
    use = GpuUse(torch.device("cuda", 0))
    block = torch.ones(2**28, device="cuda:0")
    assert use.figures()["gpu_memory_gib"] >= 1
    del block
