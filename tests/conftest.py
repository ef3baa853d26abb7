"""Fixtures shared by all tests: the open body, loaded once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import hypothesis
import pytest


@pytest.fixture(scope="session")
def open_body():
    from tokenizer.body.model import load_body

    return load_body("open")


@pytest.fixture(scope="session")
def killed_after_a_checkpoint():
    """(program's module, arguments, run folder): starts a training of ours and kills it, without a word and at whatever
    instant, once it has written a checkpoint."""

    def kill(module, arguments, run):
        import torch

        command = [sys.executable, "-c", f"from {module} import main; main()", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 60
        while not list((run / "checkpoints").glob("step_*.pt")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()

    return kill


# The same examples in every run, whatever the machine's pace: a failure is one of the code.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")
