"""What a reader may be made to do: functions for `isolate`, which finds them by name in an interpreter of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from spineseg.film import BadInput

Answer = tuple[np.ndarray, dict[str, Any]]
calls = 0


def say(facts: dict[str, Any]) -> Answer:
    return np.zeros(1, np.uint8), facts


def double(number: int) -> Answer:
    return np.full(3, 2 * number, np.int32), {"pid": os.getpid()}


def count_calls() -> Answer:
    global calls
    calls += 1
    return say({"calls": calls, "pid": os.getpid()})


def surroundings() -> Answer:
    return say({"environment": dict(os.environ), "folder": os.listdir(), "torch": "torch" in sys.modules})


def limits_in_force() -> Answer:
    import resource

    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE")
    return say({name: resource.getrlimit(getattr(resource, name))[0] for name in names})


def refuse(sentence: str) -> Answer:
    raise BadInput(sentence)


def fail() -> Answer:
    raise OSError(f"cannot open {sys.argv} of Jane Doe")


def sleep(seconds: float, mark: str = "") -> Answer:
    if mark:
        Path(mark).write_text(str(os.getpid()))
    time.sleep(seconds)
    return say({})


def sleep_in_c() -> Answer:
    """Holds the interpreter's lock, so that no thread of the reader can end it."""
    return say({"sum": sum(range(10**13))})


def crash(name: str) -> Answer:
    os.kill(os.getpid(), getattr(signal, name))
    return say({})


def leave(code: int) -> Answer:
    os._exit(code)


def fill_memory(count: int) -> Answer:
    return np.ones(count, np.uint8), {}


def fill_disk(count: int) -> Answer:
    Path("large").write_bytes(bytes(count))
    return say({})


def chatter() -> Answer:
    for descriptor in (1, 2):
        os.write(descriptor, b"Doe^Jane\n" * 100)
    print("Doe^Jane", flush=True)
    print("Doe^Jane", file=sys.stderr, flush=True)
    return say({"said": True})


def many_objects() -> Answer:
    return np.array([object()], dtype=object), {}


def not_json() -> Answer:
    return say({"a": {1, 2}})
