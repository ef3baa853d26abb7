"""Where the processes of a training cannot meet, one message says so."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from tokenizer.engine import distributed
from tokenizer.engine.distributed import process_group
from tokenizer.engine.errors import UserError


@pytest.fixture
def port():
    """A port that is taken while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield str(taken.getsockname()[1])


@pytest.fixture
def launched(monkeypatch):
    def launch(**variables):
        for name in ("RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"WORLD_SIZE": "2", **variables}.items():
            monkeypatch.setenv(name, value)

    return launch


def refused(says):
    with pytest.raises(UserError, match=says), process_group():
        pytest.fail("joined")


def test_a_port_in_use(launched, port):
    launched(RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    refused(f"port .* is in use; got 127.0.0.1:{port}; expected a free one. Set another MASTER_PORT")


def test_what_torchrun_would_have_set_is_missing(launched):
    launched(RANK="0", MASTER_ADDR="127.0.0.1")
    refused("WORLD_SIZE=2 .* got no MASTER_PORT; .* Start with torchrun")
    launched(WORLD_SIZE="two")
    refused("WORLD_SIZE is not a number; got 'two'")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_others_never_come(launched, monkeypatch, rank):
    monkeypatch.setattr(distributed, "_JOINING", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched(RANK=rank, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    refused(f"cannot meet; got .*; expected 2 of them at 127.0.0.1:{port}; this is rank {rank}")
