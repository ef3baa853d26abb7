"""``prepare`` after a kill: finished files are not read again, the store is the same, one process writes at a time."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tokenizer.engine.errors import UserError
from tokenizer.mocap import prepare as prepare_module
from tokenizer.mocap import sampling
from tokenizer.mocap.journal import Journal
from tokenizer.mocap.prepare import PrepareOptions, prepare
from tokenizer.mocap.store import open_store

CLIPS = 12


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mocap" / "cmu"
    folder.mkdir(parents=True)
    for seed in range(CLIPS):
        poses = np.random.default_rng(seed).normal(size=(5, 156)) * 0.1
        np.savez(folder / f"{seed:02d}_poses.npz", poses=poses, mocap_framerate=30.0)
    (folder / "05_poses.npz").write_bytes(b"broken")
    return tmp_path / "mocap"


@pytest.fixture
def read_again(monkeypatch):
    """Names of the files that are read from here on."""
    names = []

    def noted(file, options):
        names.append(file.path.name[:2])
        return sampling.sample_file(file, options)

    monkeypatch.setattr(prepare_module, "sample_file", noted)
    return names


def killed(folder: Path, out: Path, stage: str, calls: int) -> None:
    """``prepare`` in a process that is killed when progress of ``stage`` is told for that many times."""
    script = f"""
        import os, signal
        from pathlib import Path
        from tokenizer.mocap.prepare import PrepareOptions, prepare
        told = []
        def progress(stage, done, total):
            told.append(stage)
            if told.count({stage!r}) == {calls}:
                os.kill(os.getpid(), signal.SIGKILL)
        prepare([Path({str(folder)!r})], {str(out)!r}, PrepareOptions(), workers=1, progress=progress)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(("stage", "calls", "left"), [("read", 8, CLIPS - 7), ("write", 4, 0)])
def test_a_killed_run_goes_on_where_it_was(folder, tmp_path, read_again, stage, calls, left):
    whole = prepare([folder], tmp_path / "whole.h5", PrepareOptions(), workers=1)
    out = tmp_path / "poses.h5"
    killed(folder, out, stage, calls)
    assert not out.exists() and (tmp_path / "poses.h5.unfinished").exists()
    read_again.clear()
    told = []
    report = prepare([folder], out, PrepareOptions(), workers=1, progress=lambda *now: told.append(now))
    assert read_again == [f"{seed:02d}" for seed in range(CLIPS - left, CLIPS)]
    assert report.resumed == CLIPS - left and report.broken == whole.broken and report.datasets == whole.datasets
    assert (told[0][1] > 0) and told[0][0] == "read" and all(done <= total for _, done, total in told)
    assert told[left][1] == told[left][2] == told[-1][1], "all bytes are read, then written"
    assert open_store(out).digest == open_store(tmp_path / "whole.h5").digest
    np.testing.assert_array_equal(open_store(out).poses(), open_store(tmp_path / "whole.h5").poses())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mocap", "poses.h5", "whole.h5"]


def test_only_what_is_still_the_same_is_taken(folder, tmp_path, read_again):
    out = tmp_path / "poses.h5"
    killed(folder, out, "write", 1)
    with np.load(folder / "cmu" / "02_poses.npz") as old:
        changed = old["poses"] + 0.01
    np.savez(folder / "cmu" / "02_poses.npz", poses=changed, mocap_framerate=30.0)
    (folder / "cmu" / "03_poses.npz").unlink()
    prepare([folder], out, PrepareOptions(), workers=1)
    assert read_again == ["02"]
    store = open_store(out)
    assert len(store.sources) == CLIPS - 2
    np.testing.assert_allclose(store.poses()[10:15].reshape(5, 63), changed[:, 3:66], atol=1e-6)


@pytest.mark.parametrize("options", [PrepareOptions(fps=10), PrepareOptions(trim=0.5), PrepareOptions(max_jumps=1)])
def test_other_options_read_everything_again(folder, tmp_path, read_again, options):
    killed(folder, tmp_path / "poses.h5", "write", 1)
    assert prepare([folder], tmp_path / "poses.h5", options, workers=1).resumed == 0
    assert len(read_again) == CLIPS


def test_another_share_of_one_data_set_reads_only_that_again(folder, tmp_path, read_again):
    (folder / "kit").mkdir()
    poses = np.random.default_rng(99).normal(size=(5, 156)) * 0.1
    np.savez(folder / "kit" / "99_poses.npz", poses=poses, mocap_framerate=30.0)
    killed(folder, tmp_path / "poses.h5", "write", 1)
    report = prepare([folder], tmp_path / "poses.h5", PrepareOptions(trim_of={"KIT": 0.6}), workers=1)
    assert read_again == ["99"] and report.resumed == CLIPS
    assert open_store(tmp_path / "poses.h5").sources[-1].frames == 3


def test_another_split_or_licence_reads_nothing_again(folder, tmp_path, read_again):
    killed(folder, tmp_path / "poses.h5", "write", 1)
    options = PrepareOptions(split="by-dataset", licence="mine", val_fraction=0.5)
    report = prepare([folder], tmp_path / "poses.h5", options, workers=1)
    assert read_again == [] and report.resumed == CLIPS and report.total.clips == {"train": CLIPS - 1}


def test_strict_meets_the_broken_file_again(folder, tmp_path):
    killed(folder, tmp_path / "poses.h5", "write", 1)
    for _ in range(2):
        with pytest.raises(UserError, match=r"05_poses\.npz.*--strict"):
            prepare([folder], tmp_path / "poses.h5", PrepareOptions(), workers=1, strict=True)
    with Journal(tmp_path / "poses.h5.unfinished", sampling.purpose(PrepareOptions(), True)) as journal:
        assert len(journal) == 5, "those before it are kept"


def test_one_process_prepares_a_store_at_a_time(folder, tmp_path):
    out = tmp_path / "poses.h5"
    seen = []

    def progress(*_):
        with pytest.raises(UserError, match=r"Another process is writing .*poses\.h5\. Wait until it has ended"):
            prepare([folder], out, PrepareOptions(), workers=1)
        seen.append(1)

    prepare([folder], out, PrepareOptions(), workers=1, progress=progress)
    assert seen and len(open_store(out).sources) == CLIPS - 1


def filled(path: Path) -> tuple[Path, bytes]:
    with Journal(path, "test") as journal:
        for number in range(5):
            journal.add(f"key {number}", {"number": number, "name": "é\udce9"}, bytes([number]) * 1000 * number)
    return path, path.read_bytes()


def found(path: Path) -> list[int]:
    with Journal(path, "test") as journal:
        present = [number for number in range(6) if f"key {number}" in journal]
        for number in present:
            facts, payload = journal.read(f"key {number}")
            assert facts == {"key": f"key {number}", "number": number, "name": "é\udce9"}
            assert payload == bytes([number]) * 1000 * number
    return present


def test_a_journal_cut_anywhere_keeps_the_records_before_the_cut(tmp_path):
    path, data = filled(tmp_path / "j")
    ends = [data.index(b"key %d" % number) for number in range(5)]
    for cut in (*range(0, len(data), 397), len(data) - 1, len(data)):
        path.write_bytes(data[:cut])
        kept = found(path)
        assert kept == list(range(len(kept))) and len(kept) <= sum(cut > end for end in ends) <= len(kept) + 1
        with Journal(path, "test") as journal:
            journal.add("key 5", {"number": 5, "name": "é\udce9"}, bytes([5]) * 5000)
        assert found(path) == [*kept, 5]


def test_a_flipped_byte_drops_that_record_and_those_after_it(tmp_path):
    path, data = filled(tmp_path / "j")
    for where in range(0, len(data), 61):
        path.write_bytes(data[:where] + bytes([data[where] ^ 4]) + data[where + 1 :])
        kept = found(path)
        assert kept == list(range(len(kept))) and len(kept) < 5


def test_a_journal_of_another_purpose_is_started_afresh_and_an_empty_one_leaves_nothing(tmp_path):
    path, _ = filled(tmp_path / "j")
    with Journal(path, "other") as journal:
        assert len(journal) == 0
    assert not path.exists()
    path.write_bytes(b"no journal at all")
    assert found(path) == []


def test_a_journal_that_the_disk_refuses_is_one_message(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path, _ = filled(tmp_path / "j")
    with Journal(path, "test") as journal:
        monkeypatch.setattr(journal, "_append", no_space)
        with pytest.raises(UserError, match=r"No space left on device.*5 finished files are in"):
            journal.add("key 9", {})
        assert "key 9" not in journal
    assert found(path) == [0, 1, 2, 3, 4]
