"""How threads wait for each other."""

from __future__ import annotations

import os


def wait_without_spinning() -> None:
    """Let OpenMP threads sleep at barriers; call before torch is imported.

    Spinning is what the runtime does by default. It gains little on idle cores, and where another process shares
    them each barrier waits for a time slice: training steps were seen to take fifty times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
