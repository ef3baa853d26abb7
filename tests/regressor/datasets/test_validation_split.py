"""Holding out: a photograph falls on one side by its name alone, and no side is left empty."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from regressor.commands.cli import main
from regressor.datasets.annotation import ImageRecord, ListedTask, Person, ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.prepare import StoreOptions, held_out_below, place, prepare_shards
from regressor.datasets.shard_file import about_shard
from tokenizer.engine.errors import UserError

PERSON = Person(np.array([0.0, 0, 10, 10]))


def photos(count, sequence="", people=1):
    return tuple(ImageRecord(f"{i}.jpg", b"", (PERSON,) * people, sequence) for i in range(count))


def coco_folder(path, count, *, people=2, order=1):
    """A JSON of COCO keypoints with ``people`` in each of ``count`` pictures; person i's nose is at x = 10 + i."""
    path.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(path / f"{i}.jpg"), np.full((40, 60, 3), i, np.uint8))
    keypoints = [[10 + number, 20, 2, *[0] * 48] for number in range(people)]
    (path / "k.json").write_text(
        json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(count)][::order],
                "annotations": [
                    {"image_id": i, "bbox": [5, 5, 20, 30], "keypoints": keypoints[number]}
                    for i in range(count)
                    for number in range(people)
                ],
            }
        )
    )
    return path / "k.json"


def prepare(source, out, share, *, workers=1, people=7, name="coco", **reading):
    return prepare_shards(
        name, [source], out, ReadOptions(people=people, val_share=share, **reading), StoreOptions(), workers=workers
    )


def names_of(out, split):
    """Colours of the crops of a split, which tell the pictures apart."""
    store = open_crops(out)
    if split not in store.splits:
        return set()
    images = store.at_size(8).sample(np.arange(store.count(split)), split)["image"]
    return {int(image.float().mean().round()) for image in images}


def test_places_are_even_and_never_change():
    places = np.array([place(photo) for photo in photos(2000)])
    assert place(ImageRecord("0.jpg", b"", ())) == places[0] == pytest.approx(0.11956201732402805, abs=1e-12)
    assert 0 <= places.min() < places.max() < 1 and len(set(places)) == 2000
    for share in (0.05, 0.2, 0.5):
        assert abs((places < share).mean() - share) < 0.03
    assert len({place(photo) for photo in photos(50, "walking")}) == 1, "frames of one sequence stay together"


def test_few_are_shared_out_exactly_and_no_side_is_left_empty():
    def sides(count, share):
        parts = [ListedTask("k", "train", photos(count)), ListedTask("l", "val", photos(3, "other"))]
        below, _ = held_out_below(parts, share)
        held = [place(photo) < below for photo in photos(count)]
        return sum(held), count - sum(held)

    for count in (2, 3, 10):
        assert sides(count, 1e-6) == (1, count - 1) and sides(count, 1 - 1e-9) == (count - 1, 1)
    assert sides(30, 0.0) == (0, 30) and sides(30, 0.2) == (6, 24)
    many = [place(photo) for photo in photos(1000)]
    assert sides(1000, 0.2)[0] == sum(value < 0.2 for value in many), "of many, each by its name alone"
    one = [ListedTask("k", "train", (*photos(9, "dance"), ImageRecord("empty.jpg", b"", ())))]
    assert held_out_below(one, 0.5) == (0.0, "nothing: all of it is one sequence, which stays in train")
    assert "one photograph" in held_out_below([ListedTask("k", "train", photos(1))], 0.5)[1]
    with pytest.raises(UserError, match=r"no split 'train'.*got test.*--split train"):
        held_out_below([ListedTask("k", "test", photos(9))], 0.5)
    with pytest.raises(UserError, match="no share"):
        held_out_below([ListedTask("k", "train", photos(9))], 1.5)


def test_people_of_a_photograph_stay_together_in_any_order(tmp_path):
    source = coco_folder(tmp_path / "a", 20)
    report = prepare(source, tmp_path / "out", 0.3)
    train, val = names_of(tmp_path / "out", "train"), names_of(tmp_path / "out", "val")
    assert not train & val and train | val == set(range(20)) and len(val) == 6
    assert report.people == {"train": 2 * len(train), "val": 2 * len(val)} and report.photos == 20
    assert "0.3 of the sequences" in open_crops(tmp_path / "out").attributes["held_out"]
    backwards = coco_folder(tmp_path / "b", 20, order=-1)
    prepare(backwards, tmp_path / "other", 0.3, people=3)
    assert names_of(tmp_path / "other", "val") == val


def test_sequences_stay_whole(tmp_path):
    arrays = {"imgname": [], "center": [], "scale": []}
    for sequence in "abcdefgh":
        for i in range(3):
            name = f"imageFiles/{sequence}/{i}.jpg"
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / name), np.zeros((40, 60, 3), np.uint8))
            for key, value in (("imgname", name), ("center", [30, 20]), ("scale", 20.0)):
                arrays[key].append(value)
    np.savez(tmp_path / "e.npz", **{name: np.array(value) for name, value in arrays.items()})
    prepare(tmp_path / "e.npz", tmp_path / "out", 0.4, name="evaluation-npz", images=tmp_path, scale_unit="pixels")
    store = open_crops(tmp_path / "out")
    train, val = (store.sequences(split) for split in ("train", "val"))
    assert not set(train) & set(val) and sorted(train + val) == sorted([*"abcdefgh"] * 3)


@pytest.mark.slow
def test_workers_change_nothing(tmp_path):
    source = coco_folder(tmp_path / "a", 12)
    for workers in (1, 2):
        prepare(source, tmp_path / str(workers), 0.3, workers=workers)
    assert open_crops(tmp_path / "1").digest == open_crops(tmp_path / "2").digest


def test_both_shards_of_a_part_are_there_or_are_made_again(tmp_path):
    source, out = coco_folder(tmp_path / "a", 20), tmp_path / "out"
    first = prepare(source, out, 0.3)
    files = sorted(path.name for path in out.glob("*.h5"))
    pairs = [name for name in files if name.startswith("val") and name.replace("val", "train") in files]
    assert first.shards == len(files) and first.resumed == 0 and pairs
    assert about_shard(out / pairs[0])["splits"] == ["train", "val"]
    digest = open_crops(out).digest
    again = prepare(source, out, 0.3)
    assert again.resumed == len(files) and (again.people, again.photos) == (first.people, 20)
    (out / pairs[0]).unlink()
    assert prepare(source, out, 0.3).resumed == len(files) - 2 and open_crops(out).digest == digest
    whole = prepare(source, out, 0.0)
    assert whole.resumed == 0 and whole.people == {"train": 40}
    assert not list(out.glob("val-*.h5")) and "held_out" not in open_crops(out).attributes


def test_what_is_left_out_is_counted_once(tmp_path):
    source = coco_folder(tmp_path / "a", 20)
    for i in (3, 4):
        (tmp_path / "a" / f"{i}.jpg").unlink()
    report = prepare(source, tmp_path / "out", 0.3, people=1000)
    assert len(report.broken) == 2 and report.people.total() == 36 and report.shards == 2
    again = prepare(source, tmp_path / "out", 0.3, people=1000)
    assert again.broken == report.broken and again.resumed == 2


def test_the_command_says_what_it_holds_out(tmp_path):
    source = coco_folder(tmp_path / "a", 20, people=1)
    command = ["prepare", "coco", str(source), "--out", str(tmp_path / "out"), "--workers", "1", "--val-share"]
    done = CliRunner().invoke(main, [*command, "0.2"])
    assert done.exit_code == 0, done.output
    assert "held out: 0.2 of the sequences" in done.output and " in val" in done.output
    alone = coco_folder(tmp_path / "b", 1)
    done = CliRunner().invoke(main, ["prepare", "coco", str(alone), "--out", str(tmp_path / "c"), "--val-share", ".1"])
    assert done.exit_code == 0 and "held out: nothing: all of it is one photograph, which stays" in done.output
