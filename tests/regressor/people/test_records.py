"""Records of what is done: damaged lines are passed over, and nothing in them names a file to remove."""

from __future__ import annotations

import json

import pytest

from regressor.people.jobs import Job
from regressor.people.records import RECORDS, Records

ROW = {
    **{"image": "a.png", "number": 0, "box": [1, 2, 3, 4], "score": None, "source": "box given"},
    **{"camera": "given", "translation": [0, 0, 3], "files": ["a_0.npz"]},
}


@pytest.fixture
def job(tmp_path):
    (tmp_path / "a.png").write_bytes(b"pixels")
    return Job(tmp_path / "a.png", "a", ((1.0, 2.0, 3.0, 4.0),))


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_0.npz").write_bytes(b"a person")
    return tmp_path / "out"


def test_a_record_is_found_again_under_the_same_settings(job, out):
    record = Records(out, {"fov": 55}).add(job, [ROW], [out / "a_0.npz"])
    assert Records(out, {"fov": 55}).done(job) == record
    assert Records(out, {"fov": 56}).done(job) is None
    assert Records(out, {"fov": 55}).done(Job(job.image, "a", ((1.0, 2.0, 3.0, 5.0),))) is None
    (out / "a_0.npz").unlink()
    assert Records(out, {"fov": 55}).done(job) is None


def test_a_line_that_was_cut_off_costs_that_image_alone(job, out, tmp_path):
    records = Records(out, {})
    records.add(job, [ROW], [out / "a_0.npz"])
    other = Job(tmp_path / "b.png", "b")
    other.image.write_bytes(b"b")
    records.add(other, [], [])
    text = (out / RECORDS).read_text()
    (out / RECORDS).write_text(text[:-20])
    again = Records(out, {})
    assert again.done(job) is not None and again.done(other) is None
    again.add(other, [], [])
    assert Records(out, {}).done(other) is not None and Records(out, {}).done(job) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"people": [5]},
        {"people": {}},
        {"people": [{**ROW, "box": [1]}]},
        {"people": [{**ROW, "files": [7]}]},
        {"files": [1]},
        {"files": "a_0.npz"},
        {"name": 3},
        {"more": 1},
    ],
)
def test_other_values_are_no_record(job, out, change):
    Records(out, {}).add(job, [ROW], [out / "a_0.npz"])
    line = json.loads((out / RECORDS).read_text())
    (out / RECORDS).write_text("[" * 100_000 + "\n5\n\xff\n" + json.dumps({**line, **change}) + "\n")
    assert Records(out, {}).done(job) is None
    (out / RECORDS).write_text(json.dumps(line) + "\n")
    assert Records(out, {}).done(job) is not None


def test_only_files_of_that_image_are_removed(job, out, tmp_path):
    names = ["a_0.npz", "a_1.npz", "a_1.obj", "a_overlay.png", "b_0.npz", "a_notes.txt"]
    for name in names:
        (out / name).write_bytes(b"x")
    (tmp_path / "a_0.npz").write_bytes(b"x")
    records = Records(out, {})
    records.add(job, [ROW], [out / name for name in names])
    text = (out / RECORDS).read_text().replace('"a_1.obj"', '"a_1.obj", "../a_0.npz"')
    (out / RECORDS).write_text(text)
    Records(out, {}).add(job, [ROW], [out / "a_0.npz"])
    assert {path.name for path in out.iterdir()} == {"a_0.npz", "b_0.npz", "a_notes.txt", RECORDS}
    assert (tmp_path / "a_0.npz").exists()
