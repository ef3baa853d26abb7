"""Run folders: a resumed run logs each step once."""

from __future__ import annotations

import pytest

from tokenizer.engine.errors import UserError
from tokenizer.engine.training import checkpoint
from tokenizer.engine.training.run import RunFolder


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    run = RunFolder.start(tmp_path / "run", {"a": 1})
    for step in (10, 20, 30):
        run.log({"step": step})
        if step == 20:
            checkpoint.save_checkpoint(run.checkpoints, step, {"seconds": 5.0})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')
    resumed = RunFolder.resume(tmp_path / "run")
    assert [record["step"] for record in resumed.metrics()] == [10, 20]
    assert resumed.state["step"] == 20 and resumed.config == {"a": 1} and resumed.seconds >= 5.0
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder.start(tmp_path / "run", {})
    with pytest.raises(UserError, match="No run"):
        RunFolder.resume(tmp_path / "other")
