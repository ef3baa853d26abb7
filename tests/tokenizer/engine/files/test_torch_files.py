"""Files of torch.save: what they claim is compared with what they hold before torch takes memory for it."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.foreign import load_foreign
from tokenizer.engine.files.state_files import load_state, save_state

STATE = {
    "step": 3,
    "network": OrderedDict(a=torch.arange(8.0), b=torch.ones(2, 3, dtype=torch.bfloat16).T, empty=torch.zeros(0, 4)),
    "one": torch.nn.Parameter(torch.tensor(2.0)),
    "shared": [torch.arange(8)[2:4]],
    "optimizer": {"state": {0: {"step": torch.tensor(1)}}, "betas": (0.9, 0.99)},
    "random": torch.get_rng_state(),
}


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "old file"])
def test_tensors_of_every_kind_come_back(tmp_path, archive):
    torch.save(STATE, tmp_path / "a.pt", _use_new_zipfile_serialization=archive)
    content = load_foreign(tmp_path / "a.pt", expected="anything")
    for name, value in STATE["network"].items():
        assert torch.equal(content["network"][name], value) and content["network"][name].dtype == value.dtype
    assert content["one"] == 2 and content["shared"][0].tolist() == [2, 3] and content["step"] == 3
    assert content["optimizer"] == STATE["optimizer"]
    if archive:
        assert load_state(tmp_path / "a.pt")["random"].equal(STATE["random"])


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_parts(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


HUGE = b"J\x00\x00\x00\x40"
LIES = {
    "more in its size": (b"K\x08\x85", HUGE + b"\x85"),
    "more in its storage": (b"K\x08tq", HUGE + b"tq"),
    "an offset beyond": (b"QK\x00K\x08", b"QK\x07K\x08"),
    "a negative size": (b"K\x08\x85", b"J\xff\xff\xff\xff\x85"),
    "a stride beyond": (b"K\x01\x85", b"K\x09\x85"),
    "another kind of numbers": (b"FloatStorage", b"DoubleStorage"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("load", [load_state, lambda path: load_foreign(path, expected="weights")])
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path, lie, load):
    save_state(tmp_path / "a.pt", {"a": torch.arange(8.0)})
    parts = parts_of(tmp_path / "a.pt")
    (name,) = [name for name in parts if name.endswith("data.pkl")]
    old, new = LIES[lie]
    write_parts(tmp_path / "b.pt", {**parts, name: changed(parts[name], old, new)})
    with pytest.raises(UserError, match=r"Cannot read .*(a tensor of|numbers in a part)"):
        load(tmp_path / "b.pt")


def test_a_billion_numbers_from_one_are_refused_in_files_of_ours(tmp_path):
    save_state(tmp_path / "a.pt", {"a": torch.zeros(1).expand(1 << 30)})
    with pytest.raises(UserError, match=r"a tensor of \(1073741824,\) from 1 numbers"):
        load_state(tmp_path / "a.pt")


def test_a_file_that_is_compressed_or_doubled_is_refused(tmp_path):
    """A few kilobytes could stand for gigabytes."""
    save_state(tmp_path / "a.pt", {"a": torch.zeros(100_000)})
    write_parts(tmp_path / "b.pt", parts_of(tmp_path / "a.pt"), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        load_state(tmp_path / "b.pt")


def test_an_old_file_that_claims_more_than_it_holds_is_refused(tmp_path):
    torch.save({"a": torch.arange(8.0)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(data.replace(b"K\x08", HUGE))
    with pytest.raises(UserError, match=r"Cannot read .*more numbers than"):
        load_foreign(tmp_path / "b.pt", expected="weights")


def test_a_deep_key_does_not_crash(tmp_path):
    """Python hashes tuples by recursion without a limit: this was a segmentation fault."""
    save_state(tmp_path / "a.pt", {"a": 1})
    parts = parts_of(tmp_path / "a.pt")
    (name,) = [name for name in parts if name.endswith("data.pkl")]
    write_parts(tmp_path / "b.pt", {**parts, name: b"\x80\x02})" + b"\x85" * 300_000 + b"Ns."})
    with pytest.raises(UserError, match="a key of tuple"):
        load_state(tmp_path / "b.pt")


class Runs:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize("load", [load_state, lambda path: load_foreign(path, expected="weights")])
def test_what_could_run_is_refused(tmp_path, load):
    torch.save({"a": Runs()}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="neither tensors nor plain values"):
        load(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="Cannot read"):
        load(tmp_path / "b.pt")
