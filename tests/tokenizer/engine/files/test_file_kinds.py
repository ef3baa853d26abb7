"""A file of another kind than a command wants: the message says what it is, and what to give."""

from __future__ import annotations

import json
import pickle
import zipfile

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regressor.checkpoints.regressor_file import load_regressor, save_regressor
from regressor.commands.cli import main as regressor_main
from regressor.datasets.crop_dataset import open_crops
from tokenizer import load_tokenizer
from tokenizer.commands.cli import main as tokenizer_main
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.file_kinds import kind_of
from tokenizer.engine.files.state_files import save_state
from tokenizer.mocap.store import PoseStoreWriter, open_store

WORDS = {
    "tokenizer": "an exported tokenizer",
    "poses": "a pose store",
    "crops": "a crop store",
    "regressor": "an exported regressor",
    "checkpoint": "a checkpoint of a training, or of another program",
    "shards": "a folder of shards",
    "run": "the folder of a run",
    "folder": "a folder",
    "index": "the index of a folder of shards (give the folder)",
    "npz": "an npz of arrays",
    "npy": "one array (.npy)",
    "png": "a picture (PNG)",
    "jpg": "a picture (JPEG)",
    "json": "a JSON text",
    "text": "a text",
    "bvh": "motion (BVH)",
    "pickle": "a pickle",
    "zip": "a zip archive",
    "empty": "an empty file",
    "bytes": "a file of another kind",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory, tokenizer_file, crops_file, tiny_config):
    from regressor.network.model import build_regressor

    folder = tmp_path_factory.mktemp("kinds")
    files = {name: folder / f"{name}.file" for name in WORDS}
    files["tokenizer"], files["crops"] = tokenizer_file, crops_file
    with PoseStoreWriter(files["poses"], "test") as writer:
        writer.add("a", "train", np.zeros((3, 21, 3)), np.zeros(10), fps=30, licence="none")
    vocabulary = load_tokenizer(tokenizer_file)
    network = build_regressor(tiny_config, vocabulary).network
    save_regressor(files["regressor"], network, tiny_config, vocabulary, {"body": "open"})
    save_state(files["checkpoint"], {"a": torch.zeros(3)})
    for name in ("shards", "run", "folder"):
        files[name].mkdir()
    (files["shards"] / "shards.json").write_text("{}")
    (files["run"] / "config.json").write_text("{}")
    files["index"].write_text(json.dumps({"format": "pose-token-hmr/shards"}))
    with files["npz"].open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with files["npy"].open("wb") as file:
        np.save(file, np.zeros(3))
    for name in ("png", "jpg"):
        files[name].write_bytes(cv2.imencode(f".{name}", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    files["json"].write_text('[{"a": 1}]')
    files["text"].write_text("some words")
    files["bvh"].write_text("HIERARCHY\nROOT hips")
    files["pickle"].write_bytes(pickle.dumps({"a": 1}))
    with zipfile.ZipFile(files["zip"], "w") as archive:
        archive.writestr("a.txt", "a")
    files["empty"].touch()
    files["bytes"].write_bytes(b"\1\0\2\3" * 10)
    return files


@pytest.mark.parametrize("kind", WORDS)
def test_every_kind_is_called_by_its_name_where_another_was_expected(files, tokenizer_file, kind):
    assert kind_of(files[kind]) == WORDS[kind]
    readers = {
        "tokenizer": load_tokenizer,
        "poses": open_store,
        "crops": open_crops,
        "regressor": lambda path: load_regressor(path, tokenizer=tokenizer_file),
    }
    for wanted, read in readers.items():
        if kind == wanted:
            read(files[kind])
        elif not (wanted == "crops" and files[kind].is_dir()):
            with pytest.raises(UserError) as caught:
                read(files[kind])
            message = str(caught.value)
            assert f"got {WORDS[kind]}" in message and "zip file" not in message and "signature" not in message
            assert str(files[kind]) in message and message.endswith(".") and "Errno" not in message


def test_commands_say_what_was_given_in_the_wrong_place(files):
    for command, words in (
        (
            ["evaluate", str(files["tokenizer"]), str(files["crops"]), "--tokenizer", str(files["tokenizer"])],
            "is no regressor; got an exported tokenizer; expected a regressor. Give the file that",
        ),
        (
            ["evaluate", str(files["regressor"]), str(files["tokenizer"]), "--tokenizer", str(files["tokenizer"])],
            "is no crop store; got an exported tokenizer; expected a crop store. Make one with",
        ),
        (
            ["evaluate", str(files["regressor"]), str(files["poses"]), "--tokenizer", str(files["tokenizer"])],
            "got a pose store; expected image crops. Give the other kind of data",
        ),
    ):
        done = CliRunner().invoke(regressor_main, command)
        assert done.exit_code == 2 and words in done.output, done.output
    done = CliRunner().invoke(tokenizer_main, ["evaluate", str(files["poses"]), str(files["tokenizer"])])
    assert done.exit_code == 2 and "is no tokenizer; got a pose store; expected a tokenizer. Train one" in done.output
    done = CliRunner().invoke(tokenizer_main, ["inspect", str(files["regressor"])])
    assert done.exit_code == 2 and "got an exported regressor; expected an exported tokenizer or a" in done.output


def test_no_message_holds_the_numbers_of_the_system(tmp_path):
    from tokenizer.engine.errors import fail

    for make, words in (
        (lambda: (tmp_path / "none").read_bytes(), "got no such file;"),
        (tmp_path.read_bytes, "got a folder;"),
        (lambda: (tmp_path / "a").touch() or (tmp_path / "a" / "b").read_bytes(), "got a file in place of a folder;"),
    ):
        with pytest.raises(OSError) as caught:
            make()
        assert words in str(fail("Cannot read", got=caught.value, expected="a file"))
