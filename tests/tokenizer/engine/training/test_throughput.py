"""The pace of training."""

from __future__ import annotations

import pickle

from tokenizer.engine.training.throughput import Throughput


def test_the_first_steps_count_only_until_there_are_others():
    pace = Throughput()
    assert pace.figures() == {}
    for _ in range(5):
        pace.add(8, 4.0, 4.0)
    assert pace.steps == 5 and pace.figures() == {"images_per_s": 2.0, "data_wait": 1.0}
    pace.add(8, 1.0, 0.25)
    pace.add(8, 3.0, 0.75)
    assert pace.figures() == {"images_per_s": 4.0, "data_wait": 0.25}


def test_a_long_run_costs_no_more_a_step_than_a_short_one():
    pace = Throughput()
    before = len(pickle.dumps(pace))
    for _ in range(10_000):
        pace.add(8, 0.5, 0.25)
    assert pace.steps == 10_000 and pace.figures() == {"images_per_s": 16.0, "data_wait": 0.5}
    assert len(pickle.dumps(pace)) < 2 * before, "nothing is kept of single steps"
