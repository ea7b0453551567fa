"""Functions for a reader process, which finds them by name: each does one thing that a reader may do."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from spineseg.film import BadInput
from spineseg.io.limits import Limits
from spineseg.io.reader_process import serialised_film, serialised_label

Returned = tuple[np.ndarray, dict[str, Any]]
calls = 0


def only(**facts: Any) -> Returned:
    return np.zeros(1, np.uint8), facts


def double(number: int) -> Returned:
    return np.full(3, 2 * number, np.int32), {"pid": os.getpid()}


def count_calls() -> Returned:
    global calls
    calls += 1
    return only(calls=calls, pid=os.getpid())


def surroundings() -> Returned:
    return only(environment=dict(os.environ), folder=os.listdir(), torch="torch" in sys.modules)


def limits_in_force() -> Returned:
    import resource

    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE")
    return only(**{name: resource.getrlimit(getattr(resource, name))[0] for name in names})


def refuse(sentence: str) -> Returned:
    raise BadInput(sentence)


def fail() -> Returned:
    raise OSError(f"cannot open {sys.argv} of Jane Doe")


def sleep(seconds: float, started: str = "") -> Returned:
    if started:
        Path(started).write_text(str(os.getpid()))
    began = time.monotonic()
    time.sleep(seconds)
    return only(span=[began, time.monotonic()])


def sleep_in_c() -> Returned:
    """Holds the interpreter's lock, so that no thread of the reader can end it."""
    return only(sum=sum(range(10**13)))


def crash(name: str) -> Returned:
    os.kill(os.getpid(), getattr(signal, name))
    return only()


def leave(code: int) -> Returned:
    os._exit(code)


def fill_memory(count: int) -> Returned:
    return np.ones(count, np.uint8), {}


def fill_disk(count: int) -> Returned:
    Path("large").write_bytes(bytes(count))
    return only()


def print_much() -> Returned:
    for descriptor in (1, 2):
        os.write(descriptor, b"Doe^Jane\n" * 100)
    print("Doe^Jane", flush=True)
    print("Doe^Jane", file=sys.stderr, flush=True)
    return only(printed=True)


def many_objects() -> Returned:
    return np.array([object()], dtype=object), {}


def not_json() -> Returned:
    return only(a={1, 2})


def read_many(folder: str, count: int, shape: tuple[int, int], limits: Limits) -> Returned:
    """Reads folder/0, folder/1, ... one after the other: a label where the name ends in "label", else a film.

    Writes each array beside its file as .npy; the facts are the sentence of each that is refused, None for the others.
    """
    sentences: list[str | None] = []
    for number in range(count):
        path = Path(folder, str(number))
        label = path.with_suffix(".label")
        try:
            if label.exists():
                array, _ = serialised_label(str(label), shape, limits)
            else:
                array, _ = serialised_film(str(path), False, limits)
            np.save(path.with_suffix(".npy"), array)
            sentences.append(None)
        except BadInput as error:
            sentences.append(str(error))
    return only(sentences=sentences)
