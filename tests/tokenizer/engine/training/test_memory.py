"""Memory that runs out is one message with the next step; other errors stay what they are."""

from __future__ import annotations

import pytest
import torch

from tokenizer.engine.errors import UserError
from tokenizer.engine.training.memory import memory_errors


def too_much_on_a_cpu():
    torch.empty(1 << 60, dtype=torch.uint8)


def too_much_on_a_gpu():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …")


def too_much_for_python():
    raise MemoryError


@pytest.mark.parametrize("allocate", [too_much_on_a_cpu, too_much_on_a_gpu, too_much_for_python])
def test_no_memory_is_one_line_with_the_next_step(allocate):
    with (
        pytest.raises(UserError, match=r"^Memory ran out while baking[^\n]*\. Bake less\.$"),
        memory_errors("while baking", "Bake less"),
    ):
        allocate()


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"), memory_errors("while baking", "Bake less"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    with pytest.raises(UserError, match="as it was"), memory_errors("while baking", "Bake less"):
        raise UserError("as it was")
