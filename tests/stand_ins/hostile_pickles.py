"""Reads pickles in a process of its own, as a test asks for them: JSON lines of hex in, of what came of it out.

A line holds ``error`` (the message of a ``UserError``) or ``value`` (True where it is plain), ``seconds`` of the
processor, and ``mib``: by how much the largest memory of the process has grown since it was ready.
"""

from __future__ import annotations

import collections
import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from tokenizer.engine.errors import UserError
from tokenizer.engine.files.safe_pickle import Chumpy, SparseMatrix, as_array, loads_pickle

PLAIN = (int, float, complex, str, bytes, bytearray, type(None), np.generic, np.dtype)


def plain(value, seen):
    if isinstance(value, PLAIN) or id(value) in seen:
        return True
    seen[id(value)] = value
    if isinstance(value, np.ndarray):
        assert type(value) is np.ndarray and not value.flags.writeable
        return (
            all(plain(item, seen) for item in value.ravel()) if value.dtype.hasobject else value.tobytes() is not None
        )
    if type(value) in (dict, collections.OrderedDict):
        return all(plain(key, seen) and plain(item, seen) for key, item in value.items())
    if type(value) in (list, tuple, set, frozenset):
        return all(plain(item, seen) for item in value)
    if isinstance(value, (Chumpy, SparseMatrix)):
        with suppress(UserError):
            as_array(value)
        return plain(value.state, seen)
    return False


def use(value):
    """What readers do with a value: show it, and make an array of it."""
    with suppress(UserError):
        as_array(value)
    return plain(value, {})


def status(name):
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main():
    loads_pickle(b"N.", "warm")
    virtual = int((status("VmSize") + 1024) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (virtual, virtual))
    start = status("VmHWM")
    say("ready")
    for line in sys.stdin:
        began = time.process_time()
        try:
            answer = {"value": use(loads_pickle(bytes.fromhex(line), "a.pkl"))}
        except UserError as error:
            answer = {"error": str(error)}
        answer |= {"seconds": time.process_time() - began, "mib": status("VmHWM") - start}
        say(answer)


if __name__ == "__main__":
    main()
