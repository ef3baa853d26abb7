"""`inspect` says what a file of ours holds."""

from __future__ import annotations

import pytest

from tokenizer.engine.errors import UserError
from tokenizer.evaluation.describe import describe


def test_a_pose_store_is_told_by_its_splits(store):
    text = describe(store.path)
    assert "2 sources" in text and "300 poses" in text and "50 poses" in text


def test_a_tokenizer_is_told_with_its_digest(tokenizer_file, tokenizer):
    assert tokenizer.digest in describe(tokenizer_file)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="No file"):
        describe(tmp_path / "none.h5")
    (tmp_path / "notes.txt").write_text("words", encoding="utf-8")
    with pytest.raises(UserError, match="does not know"):
        describe(tmp_path / "notes.txt")
