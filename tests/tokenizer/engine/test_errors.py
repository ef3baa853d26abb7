"""Options, checkpoints, run folders, schedules."""

from __future__ import annotations

from tokenizer.engine.errors import fail


def test_messages_have_the_house_form():
    assert str(fail("A went wrong", got=1, expected=2, next_step="Do B")) == "A went wrong; got 1; expected 2. Do B."
