"""The bar of a training promises no time that it cannot know."""

from __future__ import annotations

import re
import time

from tokenizer.engine.training.bar import TrainingBar


def last_line(text):
    return re.split(r"[\r\n]", text.strip())[-1]


def test_under_a_time_budget_the_bar_shows_what_is_left_of_it(capfd):
    """After one slow step of 100,000, and where the pace says otherwise."""
    with TrainingBar("training") as bar:
        bar(1, 100_000, {"loss": 2.0, "seconds_left": 5.0})
        first = last_line(capfd.readouterr().err)
        time.sleep(0.12)
        bar(20, 300, {"loss": 1.5, "seconds_left": 62.0})
    assert "1/100000 [00:00<?" in first
    last = last_line(capfd.readouterr().err)
    assert "20/300" in last and re.search(r"<01:02, .*loss=1.5", last) and "seconds_left" not in last


def test_the_first_step_is_not_taken_for_the_pace(capfd):
    with TrainingBar("training") as bar:
        time.sleep(0.3)
        bar(7, 100_000, {"loss": 2.0})
        assert "7/100000 [00:00<?" in last_line(capfd.readouterr().err)


def test_what_is_refused_before_the_first_step_draws_no_bar(capfd):
    with TrainingBar("training"):
        pass
    with TrainingBar("training", shown=False) as bar:
        bar(1, 2, {})
    assert capfd.readouterr().err == ""
