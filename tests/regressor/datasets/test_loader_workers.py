"""Processes that make batches: their errors arrive as they are, their deaths are named."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from torch.utils.data import Dataset

from regressor.datasets.loader import prefetch, worker_errors
from tokenizer.engine.errors import UserError, fail

CPU = torch.device("cpu")


class Failing(Dataset):
    """Gives numbers, and from 2 on does what it is told."""

    def __init__(self, how):
        self.how = how

    def __getitem__(self, step):
        if step >= 2:
            if self.how == "bug":
                raise RuntimeError("shapes do not match")
            if self.how == "user":
                return fail("A shard is gone", next_step="Prepare again")
            os.kill(os.getpid(), signal.SIGKILL)
        return {"image": torch.full((2,), step)}


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ("bug", RuntimeError, r"shapes do not match"),
        ("user", UserError, r"A shard is gone\. Prepare again"),
        ("death", UserError, r"ended; got DataLoader worker \(pid.*data\.workers"),
    ],
)
def test_what_goes_wrong_in_another_process_is_said(how, kind, says):
    seen = []
    with pytest.raises(kind, match=says), worker_errors():
        for batch in prefetch(Failing(how), range(5), 1, CPU):
            seen.append(int(batch["image"][0]))
    assert seen == [0, 1] or how == "death"


def test_a_death_is_named_whatever_training_is_busy_with():
    """Torch raises it from a signal handler, here while nobody waits for a batch."""
    with pytest.raises(UserError, match="ended"), worker_errors():
        batches = prefetch(Failing("death"), range(5), 1, CPU)
        next(batches)
        for _ in range(600):
            time.sleep(0.1)
        pytest.fail("the death went unnoticed")


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="out of memory"), worker_errors():
        raise RuntimeError("CUDA out of memory")
