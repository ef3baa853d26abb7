"""Shards behind a URL: fetched once, checked, kept within a limit; what goes wrong on the way is mended or said."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest
import torch

from regressor.config import AugmentConfig, DataConfig
from regressor.datasets import remote
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.loader import Stream
from regressor.datasets.mixtures import open_mixture
from regressor.datasets.prepare import StoreOptions, prepare_shards
from regressor.datasets.remote import Cache
from regressor.datasets.shards import open_shards
from regressor.sample import take
from tokenizer.engine.errors import UserError

STILL = AugmentConfig(rotate_deg=0, scale=0, shift=0, colour=0, noise=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, crops_file):
    """``two words``: shards of two people each, 6 of them of the split train."""
    folder = tmp_path_factory.mktemp("served")
    prepare_shards("synthetic", [crops_file], folder / "two words", ReadOptions(people=2), StoreOptions(), workers=1)
    return folder


class Server(http.server.SimpleHTTPRequestHandler):
    """Notes what is asked for; gives ``answers`` first, functions of itself, and None for the usual one."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.pop(0) if self.server.answers else None
        answer(self) if answer else super().do_GET()


@pytest.fixture
def served(folder, monkeypatch):
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder)))
    server.asked, server.answers = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, f"http://127.0.0.1:{server.server_port}/two%20words"
    server.shutdown()
    server.server_close()


def usual(size):
    """An answer of that many bytes and no word of how many there should be."""

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * size)

    return answer


def status(code, **headers):
    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_each_process_fetches_its_own_shards_once(folder, tiny_config, open_body, served, tmp_path):
    server, url = served
    config = replace(
        tiny_config,
        augment=STILL,
        optim=replace(tiny_config.optim, batch=8),
        data=DataConfig(shuffle_buffer=2, rank_partitions=2),
    )
    near = Stream(open_mixture([str(folder / "two words")]).at_size(32), config, open_body, slice(0, 8))
    there = open_mixture([url], "", Cache(tmp_path, 10**9))
    assert there.remote and list(there.stores) == ["two words"]
    far = Stream(there.at_size(32), config, open_body, slice(0, 4))
    for step in range(4):
        expected = take(near[step], slice(0, 4))
        assert all(torch.equal(far[step][name], expected[name]) for name in expected)
    fetched = [path for path in server.asked if path.endswith(".h5")]
    assert len(fetched) == len(set(fetched)) == 3, "half of the shards, once"
    assert sum(path.suffix == ".h5" for path in tmp_path.iterdir()) == 3


def test_a_small_cache_forgets_what_was_not_used_for_longest(folder, served, tmp_path):
    _, url = served
    names = sorted(path.name for path in (folder / "two words").glob("train-*.h5"))[:3]
    sizes = [(folder / "two words" / name).stat().st_size for name in names]
    (tmp_path / "gone.h5").symlink_to(tmp_path / "nothing")  # another process removed it meanwhile
    (tmp_path / f"{names[0]}.123.partial").touch()  # another process was killed
    cache = Cache(tmp_path, sum(sizes) - 1)
    for name in (*names[:2], names[0], names[2]):
        with cache.file(remote.join_url(url, name), name) as path:
            assert path.stat().st_size == sizes[names.index(name)]
    assert {path.name for path in tmp_path.glob("train*")} - {f"{name[:-3]}.lock" for name in names} == {
        names[0],
        names[2],
    }


def test_what_is_about_to_be_opened_is_not_removed(folder, served, tmp_path):
    _, url = served
    names = sorted(path.name for path in (folder / "two words").glob("train-*.h5"))[:3]
    cache = Cache(tmp_path, 1)
    with cache.file(remote.join_url(url, names[0]), names[0]) as first:
        with cache.file(remote.join_url(url, names[1]), names[1]) as second:
            assert first.exists() and second.exists()
        with cache.file(remote.join_url(url, names[2]), names[2]) as third:
            assert first.exists() and not second.exists() and third.exists()


def test_what_goes_wrong_for_a_while_is_mended(folder, served, tmp_path):
    """Servers that are busy, send elsewhere, or end in the middle without having said how much there is."""
    server, url = served
    store = open_shards(url, Cache(tmp_path, 10**9))
    expected = open_shards(folder / "two words").sample(np.arange(2), "train")
    server.asked.clear()
    server.answers += [status(503), status(429), status(302, Location=f"{url}/train-00003.h5"), usual(100)]
    sample = store.sample(np.arange(2), "train")
    assert all(torch.equal(sample[name], expected[name]) for name in expected)
    assert len(server.asked) == 5 and not server.answers


def test_a_shard_that_is_another_one_by_now_is_said_and_not_kept(folder, served, tmp_path):
    server, _ = served
    other = folder / "changed"
    shutil.copytree(folder / "two words", other)
    store = open_shards(f"http://127.0.0.1:{server.server_port}/changed?key=secret", Cache(tmp_path, 10**9))
    shutil.copy(other / "train-00004.h5", other / "train-00003.h5")
    with pytest.raises(UserError, match=r"changed/train-00003\.h5 is not what its shards\.json said") as raised:
        store.sample(np.arange(2), "train")
    assert "secret" not in str(raised.value) and server.asked[-1].endswith(".h5?key=secret")
    assert not list(tmp_path.glob("*.h5"))
    shutil.copy(folder / "two words" / "train-00003.h5", other)
    assert len(store.sample(np.arange(2), "train")["image"]) == 2


def test_what_cannot_be_fetched_is_said(served, tmp_path, monkeypatch):
    _, url = served
    cache = Cache(tmp_path / "cache", 10**9)
    with pytest.raises(UserError, match=r"404.*address"):
        open_mixture([f"{url}/nothing"], "", cache)
    with pytest.raises(UserError, match="cannot be read"):
        open_mixture(["http://127.0.0.1:9/two%20words"], "", cache)
    with pytest.raises(UserError, match="cannot be read"):
        open_mixture([f"file://{tmp_path}/nothing"], "", cache)

    def cut(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)

    monkeypatch.setattr(Server, "do_GET", cut)
    with pytest.raises(UserError, match="10 of 1,000 bytes"), cache.file(f"{url}/train-00000.h5", "cut.h5"):
        pass
    assert not list((tmp_path / "cache").glob("*.h5*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--cache"), Cache(tmp_path / "file", 1).file(url, "x.h5"):
        pass


def index_with(folder, **changes):
    index = json.loads((folder / "shards.json").read_text())
    index["shards"][0] |= changes
    return json.dumps(index).encode()


def answer_of(data, **headers):
    def answer(handler):
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        with suppress(OSError):  # who asked may have had enough
            handler.wfile.write(data)

    return answer


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "../../../x"},
        {"digest": "a" * 63 + "/"},
        {"digest": ""},
        {"digest": "A" * 64},
        {"digest": 5},
        {"file": "../train.h5"},
        {"file": ".."},
        {"file": "a\\b.h5"},
        {"file": "C:b.h5"},
        {"file": "train.lock"},
        {"file": "/etc/passwd.h5"},
        {"file": None},
        {"count": 10**12},
        {"count": True},
        {"split": ["train"]},
        {"sequences": [["a", 3], ["b", -1]]},
    ],
)
def test_an_index_cannot_lead_out_of_the_cache(folder, served, tmp_path, changes):
    """A digest of ../x named files outside, which were removed when they did not fit, and written."""
    server, url = served
    outside = tmp_path / "x-train-00000.h5"
    outside.write_text("mine")
    server.answers += [answer_of(index_with(folder / "two words", **changes))]
    with pytest.raises(UserError, match=r"Cannot read .*shards\.json.*entries of"):
        open_shards(url, Cache(tmp_path / "a" / "b" / "cache", 10**9))
    assert outside.read_text() == "mine"
    with pytest.raises(UserError, match="leads out"), Cache(tmp_path, 1).file(url, "../x.h5"):
        pass


def test_no_more_is_taken_than_an_index_or_a_shard_can_be(folder, served, tmp_path, monkeypatch):
    server, url = served
    monkeypatch.setattr(remote, "_MOST_INDEX", 50_000)
    server.answers += [answer_of(b" " * 60_000)]
    with pytest.raises(UserError, match="more than 50,000 bytes"):
        open_shards(url, Cache(tmp_path, 10**9))
    server.answers += [usual(60_000)]  # without having said how much
    with pytest.raises(UserError, match="more than 50,000 bytes"):
        open_shards(url, Cache(tmp_path, 10**9))
    store = open_shards(url, Cache(tmp_path, 10**9))
    monkeypatch.setattr(remote, "_MOST_SHARD", 1000)
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        store.sample(np.arange(2), "train")
    assert not list(tmp_path.glob("*.h5*"))


@pytest.mark.parametrize("target", ["ftp://127.0.0.1:9/x", "file:///etc/passwd", "data:,x"])
def test_redirections_stay_on_the_web(served, tmp_path, target):
    server, url = served
    server.answers += [status(302, Location=target)]
    with pytest.raises(UserError, match=r"cannot be read"):
        open_shards(url, Cache(tmp_path, 10**9))
    assert len(server.asked) == 1


def test_redirections_end(served, tmp_path):
    server, url = served
    server.answers += [status(302, Location=f"{url}/shards.json?{number}") for number in range(100)]
    with pytest.raises(UserError, match="cannot be read"):
        open_shards(url, Cache(tmp_path, 10**9))
    assert len(server.asked) < 30


def test_what_was_fetched_once_serves_without_a_network(folder, served, tmp_path):
    server, url = served
    online = open_shards(f"{url}?key=secret", Cache(tmp_path, 10**9))
    expected = online.sample(np.arange(6), "train")
    assert not online.note
    server.shutdown()
    server.server_close()
    offline = open_shards(f"{url}?key=other", Cache(tmp_path, 10**9))
    assert "does not answer: what was fetched before" in offline.note and "other" not in offline.note
    sample = offline.sample(np.arange(6), "train")
    assert offline.digest == online.digest and all(torch.equal(sample[name], expected[name]) for name in expected)
    with pytest.raises(UserError, match="cannot be read"):
        open_shards(url, Cache(tmp_path / "other", 10**9))


def test_what_a_server_has_taken_away_is_not_served_from_before(served, tmp_path):
    server, url = served
    open_shards(url, Cache(tmp_path, 10**9))
    server.answers += [status(404)]
    with pytest.raises(UserError, match="404"):
        open_shards(url, Cache(tmp_path, 10**9))


def test_a_shard_whose_content_was_changed_is_refused_although_it_says_its_digest(folder, tmp_path):
    other = shutil.copytree(folder / "two words", tmp_path / "changed")
    with h5py.File(other / "train-00003.h5", "r+") as file:
        file["betas"][0, 0] += 1
    with pytest.raises(UserError, match=r"train-00003\.h5 is not what its digest says"):
        open_shards(other).sample(np.arange(6), "train")


def test_lists_that_name_themselves_or_each_other_are_one_message(folder, tmp_path):
    (tmp_path / "a.txt").write_text(f"{tmp_path / 'b.txt'}\n")
    (tmp_path / "b.txt").write_text(f"{folder / 'two words'}\n{tmp_path / 'a.txt'}\n")
    with pytest.raises(UserError, match=r"The list .*a\.txt names itself"):
        open_mixture([str(tmp_path / "a.txt")])
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"{tmp_path / f'{number + 1}.txt'}\n" * 10)
    with pytest.raises(UserError, match="Lists name lists"):
        open_mixture([str(tmp_path / "0.txt")])
    (tmp_path / "16.txt").write_text("x.h5\n" * 10)
    with pytest.raises(UserError, match="Far too many data sets"):
        open_mixture([str(tmp_path / "12.txt")])
    (tmp_path / "large.txt").write_bytes(b"\n" * 5_000_000)
    with pytest.raises(UserError, match=r"large\.txt is no list"):
        open_mixture([str(tmp_path / "large.txt")])
