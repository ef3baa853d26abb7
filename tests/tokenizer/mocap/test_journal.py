"""Records of finished work survive a kill; what is half-written does not."""

from __future__ import annotations

from tokenizer.mocap.journal import Journal


def test_records_of_the_same_purpose_are_there_again(tmp_path):
    with Journal(tmp_path / "j", "a") as journal:
        journal.add("clip", {"frames": 3}, b"payload")
    with Journal(tmp_path / "j", "a") as journal:
        assert "clip" in journal and len(journal) == 1


def test_a_journal_of_another_purpose_starts_afresh(tmp_path):
    with Journal(tmp_path / "j", "a") as journal:
        journal.add("clip", {})
    with Journal(tmp_path / "j", "b") as journal:
        assert "clip" not in journal


def test_a_half_written_record_is_cut_off(tmp_path):
    with Journal(tmp_path / "j", "a") as journal:
        journal.add("first", {}, b"1234")
        journal.add("second", {}, b"5678")
    data = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(data[:-2])
    with Journal(tmp_path / "j", "a") as journal:
        assert "first" in journal and "second" not in journal


def test_an_empty_journal_leaves_no_file(tmp_path):
    with Journal(tmp_path / "j", "a"):
        pass
    assert not (tmp_path / "j").exists()
