"""Worker processes: results in order, errors that name what to do, files that may be open."""

from __future__ import annotations

import os
import resource

import pytest

from tokenizer.engine.errors import UserError
from tokenizer.engine.processes import allow_open_files, available_cores, map_in_order


def square(number):
    return number * number, os.getpid()


def fail_at_three(number):
    if number == 3:
        raise UserError("three is too many")
    return number


def test_results_come_in_the_order_of_the_items_from_other_processes():
    results = list(map_in_order(square, range(7), 2))
    assert [value for value, _ in results] == [0, 1, 4, 9, 16, 25, 36]
    assert os.getpid() not in {pid for _, pid in results}


def test_one_worker_is_this_process():
    assert {pid for _, pid in map_in_order(square, range(3), 1)} == {os.getpid()}


def test_an_error_of_a_worker_comes_after_the_results_before_it():
    seen = []
    with pytest.raises(UserError, match="three is too many"):
        for value in map_in_order(fail_at_three, range(6), 2):
            seen.append(value)
    assert seen == [0, 1, 2]


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    assert available_cores() == 3


def test_more_open_files_than_the_system_allows_are_refused_with_the_limit(monkeypatch):
    limits = [(64, 512)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    allow_open_files(300)
    assert limits[-1] == (512, 512)
    with pytest.raises(UserError, match="got 600; expected files within `ulimit -Hn`, 512"):
        allow_open_files(600)
