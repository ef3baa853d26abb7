"""Checkpoints of a training: the latest few, damaged ones skipped."""

from __future__ import annotations

import pytest
import torch

from tokenizer.engine.errors import UserError
from tokenizer.engine.training import checkpoint


def test_checkpoints_keep_the_last_two_and_pass_over_a_damaged_one(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save_checkpoint(tmp_path, step, {"weights": torch.full((3,), float(step))})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step_000000002.pt", "step_000000003.pt"]
    newest = tmp_path / "step_000000003.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    state = checkpoint.load_latest(tmp_path)
    assert state["step"] == 2 and state["weights"].tolist() == [2.0, 2.0, 2.0]
    (tmp_path / "step_000000002.pt").write_bytes(b"")
    with pytest.raises(UserError, match="Cannot read checkpoint"):
        checkpoint.load_latest(tmp_path)
    assert checkpoint.load_latest(tmp_path / "none") is None
