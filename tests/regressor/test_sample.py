"""Samples: what is unknown or impossible."""

from __future__ import annotations

import torch


def test_off_the_cpu_wrong_confidences_become_no_number():
    """A question would stop the queue of the device; ``meta`` has no values to ask for."""
    from regressor.sample import checked_confidences

    assert checked_confidences(torch.ones(2, 44, device="meta")).shape == (2, 44)
