"""The crop store: what goes in comes out; whatever is wrong with a file is one clear message; nothing is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.crop_store import FORMAT_VERSION, write_crops
from regressor.datasets.mixtures import Mixture
from tokenizer.engine.errors import UserError

SIZE = 16


def batch_of(count, seed=0):
    draw = np.random.default_rng(seed)

    def numbers(*shape):
        return draw.normal(size=(count, *shape)).astype(np.float32)

    return {
        "image": draw.integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8),
        "keypoints_2d": numbers(44, 3),
        "keypoints_3d": numbers(44, 4),
        "global_orient": numbers(3, 3),
        "body_pose": numbers(23, 3, 3),
        "betas": numbers(10),
        "translation": numbers(3),
        "has_global_orient": np.ones(count, bool),
        "has_body_pose": draw.random(count) < 0.5,
        "has_betas": np.zeros(count, bool),
        "box": numbers(4),
        "image_size": numbers(2),
        "K": numbers(3, 3),
    }


def write(path, counts, seed=0, attributes=None):
    whole = {split: batch_of(count, seed + number) for number, (split, count) in enumerate(counts.items())}
    with write_crops(path, SIZE, counts, attributes or {"domain": "suit"}) as writer:
        for split, batch in whole.items():
            for start in range(0, counts[split], 16):
                writer.append(split, {name: values[start : start + 16] for name, values in batch.items()})
    return whole


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("crops") / "crops.h5"
    return path, write(path, {"train": 40, "val": 5, "test": 0})


@pytest.mark.parametrize("indices", [list(range(40)), [39, 0, 7, 7, 3], [5], [12, 13, 14]])
def test_samples_come_back_in_the_order_asked_for(written, indices):
    path, whole = written
    sample = open_crops(path).sample(np.array(indices), "train")
    assert set(sample) == set(whole["train"])
    for name, values in whole["train"].items():
        assert torch.equal(sample[name], torch.from_numpy(values[indices])), name
    assert sample["image"].dtype == torch.uint8 and sample["has_betas"].dtype == torch.bool


def test_annotation_is_read_without_its_images(written, tmp_path):
    path, whole = written
    shutil.copy(path, tmp_path / "crops.h5")
    store = open_crops(tmp_path / "crops.h5")
    with h5py.File(tmp_path / "crops.h5", "a") as file:
        del file["train/image"]
    rows = np.array([7, 3, 3])
    sample = store.annotation(rows, "train")
    assert sample.pop("image").shape == (3, 3, 0, 0) and set(sample) == set(whole["train"]) - {"image"}
    for name, values in sample.items():
        assert torch.equal(values, torch.from_numpy(whole["train"][name][rows])), name
    assert store.annotation(np.array([], dtype=np.int64), "train")["K"].shape == (0, 3, 3)


def test_counts_attributes_and_empty_splits(written):
    store = open_crops(written[0])
    assert [store.count(split) for split in ("train", "val", "test")] == [40, 5, 0]
    assert store.size == SIZE and store.attributes == {"domain": "suit"}
    assert set(store.splits) == {"train", "val", "test"}
    assert store.sample(np.array([], dtype=np.int64), "train")["image"].shape == (0, 3, SIZE, SIZE)
    assert store.sample(np.array([], dtype=np.int64), "test")["K"].shape == (0, 3, 3)


def test_the_digest_names_the_content(written, tmp_path):
    write(tmp_path / "same.h5", {"train": 40, "val": 5, "test": 0})
    write(tmp_path / "other.h5", {"train": 40, "val": 5, "test": 0}, seed=9)
    digests = [open_crops(path).digest for path in (written[0], tmp_path / "same.h5", tmp_path / "other.h5")]
    assert digests[0] == digests[1] != digests[2]


def test_wrong_questions(written, tmp_path):
    store = open_crops(written[0])
    with pytest.raises(UserError, match="no split 'tran'"):
        store.count("tran")
    for indices in ([40], [-1]):
        with pytest.raises(UserError, match="out of range"):
            store.sample(np.array(indices), "train")
    with pytest.raises(UserError, match=r"No crop store at .* Make one with"):
        open_crops(tmp_path / "none.h5")


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


DAMAGES = {
    "newer": (lambda f: f.attrs.__setitem__("format_version", FORMAT_VERSION + 1), "newer version"),
    "foreign": (lambda f: f.attrs.__setitem__("format", "other"), "is no crop store"),
    "soft link": (lambda f: f.__setitem__("more", h5py.SoftLink("/train/image")), "holds a link"),
    "external link": (replace("train/betas", h5py.ExternalLink("x.h5", "/y")), "holds a link"),
    "missing": (lambda f: f["val"].__delitem__("K"), "val/K"),
    "misshapen": (replace("train/betas", np.zeros((40, 9), np.float32)), "misshapen betas"),
    "short": (replace("train/box", np.zeros((39, 4), np.float32)), "misshapen box"),
    "other numbers": (replace("train/image", np.zeros((40, 3, SIZE, SIZE), np.float32)), "misshapen image"),
    "no attributes": (lambda f: f.attrs.__delitem__("attributes"), "Cannot read crop store"),
    "attributes no JSON": (lambda f: f.attrs.__setitem__("attributes", "{"), "Cannot read crop store"),
    "data beside the splits": (lambda f: f.__setitem__("more", np.zeros(3)), "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_were_tampered_with(written, tmp_path, damage):
    path = shutil.copy(written[0], tmp_path / "bad.h5")
    change, words = DAMAGES[damage]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(UserError, match=words):
        open_crops(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_files_cut_short(written, tmp_path, share):
    data = written[0].read_bytes()
    path = tmp_path / "short.h5"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match="Cannot read crop store"):
        open_crops(path)


def test_a_flipped_byte_is_noticed_on_reading(written, tmp_path):
    data = bytearray(written[0].read_bytes())
    at = bytes(data).find(written[1]["train"]["image"][20].tobytes())
    assert at > 0
    data[at + 100] ^= 0xFF
    path = tmp_path / "flipped.h5"
    path.write_bytes(data)
    with pytest.raises(UserError, match="Cannot read crop store"):
        open_crops(path).sample(np.arange(40), "train")


def test_what_breaks_while_writing_leaves_the_old_file(written, tmp_path, monkeypatch):
    path = shutil.copy(written[0], tmp_path / "crops.h5")
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), write_crops(path, SIZE, {"train": 40}, {}) as writer:
        writer.append("train", batch_of(16))
        raise KeyboardInterrupt

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Dataset, "__setitem__", full)
    with pytest.raises(UserError, match="No space left"), write_crops(path, SIZE, {"train": 40}, {}) as writer:
        writer.append("train", batch_of(16))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_for_real_gives_one_message(tmp_path):
    """The system refuses bytes past 300 kB; HDF5 itself must fail, close and exit without a crash."""
    script = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_crop_store import batch_of, write_crops
        from tokenizer.engine.errors import reports_user_errors
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        @reports_user_errors
        def run():
            with write_crops({str(tmp_path / "crops.h5")!r}, 16, {{"train": 3000}}, {{}}) as writer:
                for number in range(30):
                    writer.append("train", batch_of(100))
                    print(number)
        run()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: Cannot write") and done.stderr.count("\n") == 1
    assert len(done.stdout.split()) < 29, "it stops soon after the refusal"
    assert not list(tmp_path.iterdir())


def test_never_over_a_file_of_another_kind(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(UserError, match="something else"), write_crops(path, SIZE, {"train": 1}, {}):
        pass
    assert path.read_text() == "mine"


def test_attributes_are_json(written):
    with h5py.File(written[0]) as file:
        assert json.loads(file.attrs["attributes"]) == {"domain": "suit"}


@pytest.mark.parametrize(("column", "value"), [("train/image", 7), ("val/betas", 0.5), ("train/K", np.nan)])
def test_edits_in_place_are_refused_before_a_training(written, tmp_path, column, value):
    """They kept the digest of the store, and --resume took them."""
    path = shutil.copy(written[0], tmp_path / "edited.h5")
    mixture = Mixture.of(open_crops(path))
    mixture.check_digest(open_crops(written[0]).digest)
    with h5py.File(path, "r+") as file:
        file[column][2] = value
    for store in (open_crops(path), open_crops(path).only(column[: column.index("/")])):
        with pytest.raises(UserError, match=f"is damaged; got {column} with"):
            store.check()
    with pytest.raises(UserError, match="is damaged"):
        Mixture.of(open_crops(path)).check_digest(mixture.digest)
    with h5py.File(path, "r+") as file:
        file.attrs["attributes"] = json.dumps({"domain": "varied"})
    with pytest.raises(UserError, match="digest that does not match"):
        open_crops(path)


def test_a_store_of_version_1_opens_with_a_note(written, tmp_path):
    path = shutil.copy(written[0], tmp_path / "old.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"], file.attrs["digest"] = 1, "ab" * 32
        del file.attrs["columns"]
    store = open_crops(path)
    store.check()
    assert store.digest == "ab" * 32 and "version 1" in store.note and len(store.sample(np.arange(3), "val")["K"]) == 3
