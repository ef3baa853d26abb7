"""Files of tensors and plain values: damage is noticed, nothing runs."""

from __future__ import annotations

import io

import pytest
import torch

from tokenizer.engine.errors import UserError
from tokenizer.engine.files import state_files


def test_a_flipped_byte_in_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "x.pt"
    state_files.save_state(path, {"weights": torch.arange(1000.0)})
    data = bytearray(path.read_bytes())
    position = data.find(torch.arange(1000.0).numpy().tobytes()[400:800])
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="checksum"):
        state_files.load_state(path)


def test_a_hostile_checkpoint_does_not_run(tmp_path):
    import os

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"x": Hostile()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="Cannot read"):
        state_files.load_state(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


FULL = OSError(28, "No space left on device")


class Disk(io.BytesIO):
    """Takes ``room`` bytes."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def write(self, data):
        self.room -= len(bytes(data))
        if self.room < 0:
            raise FULL
        return super().write(data)

    def fileno(self):
        return 0


@pytest.mark.parametrize("room", [0, 100, 700, 5000, 40_000])
def test_the_zip_writer_of_torch_does_not_hide_a_full_disk(tmp_path, monkeypatch, room):
    monkeypatch.setattr(type(tmp_path), "open", lambda path, mode: Disk(room))
    with pytest.raises(OSError, match="No space left on device") as told:
        state_files.save_state(tmp_path / "x.pt", {"weights": torch.zeros(10_000)})
    assert told.value.filename == str(tmp_path / "x.pt") and told.value.errno == 28


def test_other_errors_of_torch_stay_what_they_are(tmp_path, monkeypatch):
    def fails(state, file):
        raise RuntimeError("enforce fail")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(RuntimeError, match="enforce fail"):
        state_files.save_state(tmp_path / "x.pt", {})
