"""The pace of training."""

from __future__ import annotations

from tokenizer.engine.throughput import Throughput


def test_the_first_steps_count_only_until_there_are_others():
    pace = Throughput()
    assert pace.figures() == {}
    for _ in range(5):
        pace.add(8, 4.0, 4.0)
    assert pace.steps == 5 and pace.figures() == {"images_per_s": 2.0, "data_wait": 1.0}
    pace.add(8, 1.0, 0.25)
    pace.add(8, 3.0, 0.75)
    assert pace.seconds_per_step() == 2 and pace.figures() == {"images_per_s": 4.0, "data_wait": 0.25}
