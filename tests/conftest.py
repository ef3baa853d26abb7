"""Fixtures shared by all tests: the open body, loaded once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

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


@pytest.fixture(scope="session")
def measured():
    """(imports, code, paths): runs ``code`` for each ``path`` in one process and says what came of each: ``mib``, by
    how much its largest memory grew, ``seconds`` of the processor, and ``message`` of a ``UserError``, or ''."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is measured by Linux's /proc")

    def run(imports, code, paths):
        program = f"""
import json, resource, sys, time
from tokenizer.engine.errors import UserError
{textwrap.dedent(imports)}
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
def read(path):
{textwrap.indent(textwrap.dedent(code), "    ")}
resource.setrlimit(resource.RLIMIT_DATA, (12 << 30, 12 << 30))
found = []
for path in sys.argv[1:]:
    start, began, message = peak(), time.process_time(), ""
    try:
        read(path)
    except UserError as error:
        message = str(error)
    found.append({{"mib": peak() - start, "seconds": time.process_time() - began, "message": message}})
sys.stdout.write(json.dumps(found))
"""
        command = [sys.executable, "-c", program, *map(str, paths)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


# The same examples in every run, whatever the machine's pace: a failure is one of the code.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")
