"""The pose store: what goes in comes out, a failed write changes nothing, a damaged file gets one clear message."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pose_stores import poses_of, write

from tokenizer.commands.cli import main
from tokenizer.engine.errors import UserError
from tokenizer.mocap import store as store_module
from tokenizer.mocap.store import FORMAT_VERSION, PoseStoreWriter, open_store


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "poses.h5", [("a", "train", 5), ("b", "val", 3), ("c", "train", 4)])


def test_what_goes_in_comes_out(path):
    store = open_store(path)
    np.testing.assert_array_equal(store.poses("train"), np.concatenate([poses_of(5, 0), poses_of(4, 2)]))
    np.testing.assert_array_equal(store.poses("val"), poses_of(3, 1))
    np.testing.assert_array_equal(store.poses(), np.concatenate([poses_of(5, 0), poses_of(3, 1), poses_of(4, 2)]))
    assert store.poses("train").dtype == np.float32 and store.betas("train").dtype == np.float32
    np.testing.assert_allclose(store.betas("train")[:, 9], [0.0] * 5 + [0.2] * 4)
    np.testing.assert_array_equal(store.source_index("train"), [0] * 5 + [2] * 4)
    assert [(s.name, s.split, s.frames, s.fps, s.licence) for s in store.sources] == [
        ("a", "train", 5, 30.0, "none"),
        ("b", "val", 3, 30.0, "none"),
        ("c", "train", 4, 30.0, "none"),
    ]
    assert store.poses("test").shape == (0, 21, 3) and store.command == "test"
    assert list(path.parent.iterdir()) == [path]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.integers(0, 9), min_size=1, max_size=8), buffered=st.integers(1, 12))
def test_any_buffering_gives_the_same_store(tmp_path, monkeypatch, frames, buffered):
    clips = [(f"clip {i}", "train" if i % 3 else "val", count) for i, count in enumerate(frames)]
    whole = open_store(write(tmp_path / "whole.h5", clips))
    monkeypatch.setattr(store_module, "_BUFFERED", buffered)
    pieces = open_store(write(tmp_path / "pieces.h5", clips))
    assert pieces.digest == whole.digest and pieces.sources == whole.sources
    for split in (None, "train", "val"):
        np.testing.assert_array_equal(pieces.poses(split), whole.poses(split))
        np.testing.assert_array_equal(pieces.source_index(split), whole.source_index(split))


def test_digest_names_poses_betas_splits_and_names(tmp_path):
    def digest(name="a", split="train", pose=0.0, beta=0.0):
        with PoseStoreWriter(tmp_path / "one.h5", "any") as writer:
            writer.add(name, split, np.full((2, 21, 3), pose), np.full(10, beta), fps=30, licence="none")
        return open_store(tmp_path / "one.h5").digest

    assert digest() == digest()
    assert len({digest(), digest(name="b"), digest(split="val"), digest(pose=1e-6), digest(beta=1e-6)}) == 5


def test_a_clip_can_move_to_another_split_before_the_store_is_whole(tmp_path):
    with PoseStoreWriter(tmp_path / "poses.h5", "test") as writer:
        for name in ("a", "b"):
            writer.add(name, "train", poses_of(2), np.zeros(10), fps=30, licence="none")
        writer.move(1, "val")
    assert [source.split for source in open_store(tmp_path / "poses.h5").sources] == ["train", "val"]


def test_names_that_are_no_utf8_are_kept_readable(tmp_path):
    name = b"caf\xe9.npz".decode("utf-8", "surrogateescape")
    store = open_store(write(tmp_path / "poses.h5", [(name, "train", 2)], command=f"prepare {name}"))
    assert store.sources[0].name == "caf\\udce9.npz" and store.command == "prepare caf\\udce9.npz"


def test_a_very_long_command_is_kept(tmp_path):
    command = "prepare " + "x" * 200_000
    assert open_store(write(tmp_path / "poses.h5", [("a", "train", 2)], command=command)).command == command


@pytest.mark.parametrize("wrong", [np.zeros((2, 63)), np.zeros((2, 23, 3)), np.full((2, 21, 3), np.nan)])
def test_wrong_poses_are_refused_and_the_old_store_stays(path, wrong):
    before = path.read_bytes()
    with pytest.raises(UserError, match="Poses"), PoseStoreWriter(path, "again") as writer:
        writer.add("a", "train", wrong, np.zeros(10), fps=30, licence="none")
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def edit(path: Path, name: str, change) -> None:
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        change(values)
        file[name][...] = values


def set_value(place, value):
    return lambda values: values.__setitem__(place, value)


EDITS = {
    "a pose": ("pose_body", set_value((6, 3, 1), 0.25), "b with other poses or betas than its digest was taken of"),
    "a beta": ("betas", set_value((11, 9), 0.25), "c with other poses or betas"),
    "no number": ("pose_body", set_value((0, 0, 0), np.nan), "a with numbers that are not finite"),
    "infinity": ("betas", set_value((0, 0), np.inf), "a with numbers that are not finite"),
    "an index": ("source_index", set_value(4, 1), "a with frames that are said to be of other sources"),
    "an index of nothing": ("source_index", set_value(4, -7), "a with frames that are said to be of other sources"),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("what", EDITS)
def test_edits_in_place_are_refused_when_they_are_read(path, what, version):
    if version == 1:
        make_version_1(path)
    name, change, message = EDITS[what]
    edit(path, name, change)
    store = open_store(path)
    with pytest.raises(UserError, match=f"is damaged; got {message}"):
        store.check()
    split, other = ("val", "train") if message.startswith("b") else ("train", "val")
    for read in (store.poses, store.betas, store.source_index):
        with pytest.raises(UserError, match="is damaged"):
            read(split)
    assert len(store.poses(other)) == len(open_store(path).betas(other)), "what is whole can be read"


def test_long_sources_are_checked_in_parts(path, monkeypatch):
    monkeypatch.setattr(store_module, "_CHECKED_AT_ONCE", 2)
    open_store(path).check()
    edit(path, "betas", set_value((11, 0), 1.5))
    with pytest.raises(UserError, match="c with other poses or betas"):
        open_store(path).check()


@pytest.mark.parametrize(
    ("key", "value"), [("licence", "other"), ("fps", 60.0), ("fps", 30.000001), ("digest", "0" * 64), ("name", "z")]
)
def test_what_is_said_of_a_source_is_part_of_the_digest(path, key, value):
    edit(path, f"sources/{key}", set_value(1, value))
    with pytest.raises(UserError, match="digest that does not match"):
        open_store(path)


def make_version_1(path: Path) -> str:
    """Turn a store into what version 1 wrote; returns its digest, by the rule of then."""
    with h5py.File(path, "r+") as file:
        columns = {key: file[f"sources/{key}"] for key in ("name", "split", "fps", "frames", "digest")}
        rows = zip(*(data.asstr()[:] if data.dtype.kind == "O" else data[:] for data in columns.values()), strict=True)
        lines = [f"{name}\t{split}\t{fps:.6f}\t{frames}\t{digest}" for name, split, fps, frames, digest in rows]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        file.attrs["format_version"], file.attrs["digest"] = 1, digest
        del file.attrs["former_digest"]
    return digest


def test_a_store_of_version_1_opens_with_a_note_and_is_upgraded_to_the_same_poses(path):
    newer = open_store(path)
    digest = make_version_1(path)
    old = open_store(path)
    assert (old.version, old.digest) == (1, digest) and "inspect" in old.note and "--upgrade" in old.note
    np.testing.assert_array_equal(old.poses("train"), np.concatenate([poses_of(5, 0), poses_of(4, 2)]))
    done = CliRunner().invoke(main, ["inspect", str(path), "--upgrade"])
    assert done.exit_code == 0 and f"{path} is of version 2 now" in done.output and "note" not in done.output
    store = open_store(path)
    assert (store.version, store.digest, store.sources, store.note) == (2, newer.digest, newer.sources, "")
    assert store.holds(digest) and store.holds(store.digest) and not store.holds("") and not newer.holds(digest)
    for split in (None, "train", "val"):
        np.testing.assert_array_equal(store.poses(split), open_store(path).poses(split))
    assert list(path.parent.iterdir()) == [path]
    before = path.read_bytes()
    assert CliRunner().invoke(main, ["inspect", str(path), "--upgrade"]).exit_code == 0 and path.read_bytes() == before


def test_a_former_digest_is_that_of_the_same_poses(path):
    with h5py.File(path, "r+") as file:
        file.attrs["former_digest"] = "0" * 64
    with pytest.raises(UserError, match="a former digest that is of other poses"):
        open_store(path)


def test_a_damaged_store_is_not_upgraded(path):
    make_version_1(path)
    edit(path, "betas", set_value((0, 0), 9.0))
    before = path.read_bytes()
    for arguments in (["--upgrade"], []):
        done = CliRunner().invoke(main, ["inspect", str(path), *arguments])
        assert done.exit_code == 2 and "a with other poses or betas" in done.output
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_claims_of_a_small_store_take_no_memory(tmp_path, measured):
    """11 kB took 4.8 GiB: fill values and compression make rows that are nowhere; rows can share one long text."""
    rows = 20_000_000
    paths = [write(tmp_path / f"{number}.h5", [("a", "train", 5)]) for number in range(3)]
    for path, layout in zip(paths[:2], ({"fillvalue": 0.5}, {"compression": "gzip"}), strict=True):
        with h5py.File(path, "r+") as file:
            for name in ("pose_body", "betas", "source_index"):
                shape, kind = file[name].shape[1:], file[name].dtype
                del file[name]
                file.create_dataset(name, (rows, *shape), kind, chunks=(4096, *shape), **layout)
            file["sources/frames"][0] = rows
    with h5py.File(paths[2], "r+") as file:
        for name, data in list(file["sources"].items()):
            kind = data.dtype
            del file["sources"][name]
            if name != "name":
                file["sources"].create_dataset(name, (9000,), h5py.string_dtype() if kind == "O" else kind)[:] = (
                    "x" if kind == "O" else 0
                )
        names = file.create_dataset("sources/name", (9000,), h5py.string_dtype())
        names[0] = "x" * 1_000_000
        reference = names.id.get_offset()
    data = bytearray(paths[2].read_bytes())
    data[reference : reference + 9000 * 16] = data[reference : reference + 16] * 9000
    paths[2].write_bytes(data)
    code = "store = open_store(path)\nstore.poses()"
    for cost in measured("from tokenizer.mocap.store import open_store", code, paths):
        assert re.search("claims more|compressed data", cost["message"]), cost
        assert cost["mib"] < 200, cost


def damage(path: Path, how: str) -> str:
    """Spoil the store; returns what the message must say."""
    if how == "absent":
        path.unlink()
        return "No pose store at"
    if how == "text":
        path.write_text("poses")
        return "Cannot read pose store"
    if how == "short":
        path.write_bytes(path.read_bytes()[:-100])
        return "Cannot read pose store"
    with h5py.File(path, "r+") as file:
        if how == "newer":
            file.attrs["format_version"] = FORMAT_VERSION + 1
            return "newer version"
        if how == "unversioned":
            del file.attrs["format_version"]
            return "got format_version None"
        if how == "other format":
            file.attrs["format"] = "somebody's"
            return "is no pose store"
        if how == "missing":
            del file["betas"]
            return "no betas"
        if how == "misshapen":
            file["pose_body"].resize(7, axis=0)
            return r"pose_body \(7, 21, 3\)"
        if how == "renamed split":
            file["sources/split"][0] = "val"
            return "digest that does not match"
        name = "sources/name" if how == "link in a group" else "pose_body"
        del file[name]
        if how == "external storage":
            file.create_dataset(name, (12, 21, 3), "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
        else:
            file[name] = h5py.SoftLink("/betas") if how == "soft link" else h5py.ExternalLink("other.h5", "/x")
        return "outside itself" if how == "external storage" else "holds a link"


@pytest.mark.parametrize(
    "how",
    [
        "absent",
        "text",
        "short",
        "newer",
        "unversioned",
        "other format",
        "missing",
        "misshapen",
        "renamed split",
        "soft link",
        "external link",
        "link in a group",
        "external storage",
    ],
)
def test_a_damaged_store_gets_one_clear_message(path, how):
    if how == "external link":
        write(path.with_name("other.h5"), [("a", "train", 12)])
    expected = damage(path, how)
    with pytest.raises(UserError, match=expected):
        open_store(path)


def test_a_flipped_byte_in_the_poses_is_noticed(path):
    with h5py.File(path) as file:
        where = file["pose_body"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[where + 10] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="Cannot read pose store"):
        open_store(path).poses("train")


def test_a_store_being_written_is_not_seen(tmp_path):
    path = tmp_path / "poses.h5"
    with PoseStoreWriter(path, "test") as writer:
        writer.add("a", "train", poses_of(3), np.zeros(10), fps=30, licence="none")
        with pytest.raises(UserError, match=r"poses\.h5 is still being written; got poses\.h5\.\d+\.partial.*Wait"):
            open_store(path)
        for partial in tmp_path.glob("*.partial"):
            with pytest.raises(UserError, match=r"Cannot read|is damaged|is no pose store"):
                open_store(partial)
    assert open_store(path).poses().shape == (3, 21, 3)


def test_the_old_store_serves_while_a_new_one_is_written_and_is_never_mixed_with_it(path):
    old = open_store(path)
    with PoseStoreWriter(path, "test") as writer:
        writer.add("new", "train", poses_of(12, 9), np.zeros(10), fps=30, licence="none")
        assert open_store(path).digest == old.digest and len(old.poses("train")) == 9
    with pytest.raises(UserError, match="was replaced since it was opened"):
        old.poses("train")
    assert len(open_store(path).poses("train")) == 12


def test_a_store_that_another_process_writes_in_place_is_one_message(path):
    script = "import sys, h5py; file = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=r"is being written by another process.*Wait until it has ended") as caught:
            open_store(path)
        other.communicate("")
    assert "\n" not in str(caught.value)
    assert len(open_store(path).poses()) == 12
