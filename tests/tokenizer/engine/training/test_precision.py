"""Devices and precisions: what is absent is named."""

from __future__ import annotations

import pytest

from tokenizer.engine.errors import UserError
from tokenizer.engine.training.precision import resolve_device


def test_absent_devices_get_words():
    with pytest.raises(UserError, match="cannot be used"):
        resolve_device("cuda:99")
