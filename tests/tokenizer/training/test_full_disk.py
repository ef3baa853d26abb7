"""A disk that takes no more while training: one message that names the file and what to do, never a traceback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_trainings import SMALL

from tokenizer.engine.errors import UserError
from tokenizer.engine.training.memory import disk_errors
from tokenizer.training.train import train_tokenizer


def test_a_full_disk_is_told_apart_from_other_mistakes():
    says = r"^Cannot write a/b; got No space left on device\. Free some\.$"
    with pytest.raises(UserError, match=says), disk_errors("Free some"):
        raise OSError(28, "No space left on device", "a/b")
    with pytest.raises(FileNotFoundError), disk_errors("Free some"):
        raise FileNotFoundError(2, "No such file", "a/b")


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl", "log.txt", "decisions.jsonl", "step_000000002.pt"])
def test_whatever_file_fills_the_disk_is_named_with_the_next_step(store, tmp_path, open_body, monkeypatch, file):
    """Nothing is left of a run that has nothing to resume."""
    opened = Path.open

    def open_or_refuse(path, mode="r", *arguments, **options):
        if path.name.startswith(file) and mode[0] in "wa":
            raise OSError(28, "No space left on device")
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_or_refuse)
    budget = 60.0 if file == "decisions.jsonl" else 0.0  # with fixed steps the second writes a checkpoint
    config = replace(SMALL, optim=replace(SMALL.optim, budget_s=budget))
    says = rf"Cannot write .*{file}; got No space left on device. Free some disk space, then resume with --resume"
    with pytest.raises(UserError, match=says):
        train_tokenizer(store, tmp_path / "a" / "run", config, open_body)
    assert (tmp_path / "a").exists() == file.startswith("step")  # figures are worth looking at
