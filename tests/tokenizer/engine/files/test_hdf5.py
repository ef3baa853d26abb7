"""Reading HDF5 of ours: format and version are checked, links, false claims and other kinds refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.hdf5 import plain_datasets, reading

STEP = "Make it again"


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "ours/things", 2
        file["group/values"] = np.arange(6.0)
        file["words"] = np.zeros(2, np.uint8)
    return tmp_path / "a.h5"


def read(path, version=2):
    with reading(path, "ours/things", version, what="thing", next_step=STEP) as file:
        return {name: values[:].tolist() for name, values in plain_datasets(file).items()}


def test_every_dataset_is_found_by_its_path(path):
    assert read(path) == {"group/values": [0, 1, 2, 3, 4, 5], "words": [0, 0]}


def test_an_older_version_is_read_and_a_newer_one_is_refused(path):
    assert read(path, version=3)
    with pytest.raises(UserError, match=r"newer version|version 2"):
        read(path, version=1)


def test_another_format_is_called_by_its_name(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "someone/else"
    with pytest.raises(UserError, match="is no thing") as refused:
        read(path)
    assert STEP in str(refused.value)


def test_a_missing_file_is_one_message_with_the_next_step(tmp_path):
    with pytest.raises(UserError, match="No thing at") as refused:
        read(tmp_path / "none.h5")
    assert STEP in str(refused.value)


@pytest.mark.parametrize("link", [h5py.SoftLink("/words"), h5py.ExternalLink("b.h5", "/words")])
def test_links_are_refused(path, link):
    with h5py.File(path, "r+") as file:
        file["linked"] = link
    with pytest.raises(UserError, match="link"):
        read(path)


def test_more_bytes_than_the_file_has_are_refused(path):
    with h5py.File(path, "r+") as file:
        file.create_dataset("claimed", (1 << 34,), "f4", chunks=(1 << 10,))
    with pytest.raises(UserError, match=r"claim|more"):
        read(path)
