"""Processes that each read one file under limits and end: started ahead, given their request, and checked.

They are never forked from this process and never used twice. A request is a function and its arguments, pickled. A
result is one array's bytes and plain JSON, whose size and types are checked here; it is never unpickled or logged.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from spineseg.film import BadInput
from spineseg.io.limits import DEFAULT_LIMITS, Limits
from spineseg.io.reader_process import FOLDER_PREFIX, READY

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import spineseg.io.reader_process as reader; "
    "reader._serve(sys.argv[2])"
)
_PASSED_ON = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""All that a reader gets of this process's environment: what an interpreter needs to start, and no secret."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_MAX_HEAD_BYTES = 4096
"""Longest first line of a result: the array's type and shape with the facts, or the reason of a refusal."""
_MAX_REASON_CHARACTERS = 400
_PIPE_BYTES = 2**20
_NUMBERS = "buif"
"""NumPy kinds of values that an array may hold."""
_TIMED_OUT = [-getattr(signal, name) for name in ("SIGXCPU", "SIGALRM") if hasattr(signal, name)]
"""Exit codes of a process that the operating system ended for its time."""
BROKEN_OFF = "expected a file that can be read safely, got one that stopped its reader; export it again"
"""For a file whose reader failed or sent anything but a valid result."""


class Unsafe(BadInput):
    """The file crashed its reader or took too long, or the result is invalid."""


class Refused(BadInput):
    """The reader's own sentence for why the file cannot be used."""


class NoReader(BadInput):
    """A process for reading could not be started: the installation's fault and no file's."""


@dataclass(frozen=True, eq=False)
class ReadResult:
    """An array of numbers, and facts as JSON has them."""

    array: np.ndarray
    facts: dict[str, Any]


Function = Callable[..., tuple[np.ndarray, dict[str, Any]]]
"""A function at a module's top level, which returns an array of numbers and a few plain facts."""


class Readers:
    """Processes started ahead; each reads one file and ends, and another is started as one is taken."""

    def __init__(self, at_once: int = DEFAULT_LIMITS.at_once, ahead: int = 1) -> None:
        """at_once: files read at the same time. ahead: processes that wait for work."""
        self._slots, self._ahead = threading.BoundedSemaphore(at_once), ahead
        self._waiting: deque[_Reader] = deque()
        self._lock = threading.Lock()
        self._owner, self._closed = os.getpid(), False

    def run(self, function: Function, *arguments: Any, limits: Limits = DEFAULT_LIMITS) -> ReadResult:
        """See `isolation.isolated`."""
        request = pickle.dumps((limits, function, arguments))
        with self._slots:
            reader = self._take()
            try:
                return reader.run(request, limits)
            finally:
                reader.end()

    def start_ahead(self, count: int) -> None:
        """Keep so many waiting from now on."""
        with self._lock:
            self._ahead = count
            self._fill()

    def _take(self) -> _Reader:
        """The one that has waited longest, or a new one where none waits."""
        with self._lock:
            if self._closed:
                raise NoReader("expected readers that are open, got closed ones; start the program again")
            self._remove_ended()
            reader = self._waiting.popleft() if self._waiting else _Reader()
            self._fill()
            return reader

    def _remove_ended(self) -> None:
        for reader in [reader for reader in self._waiting if not reader.alive()]:
            self._waiting.remove(reader)
            reader.end()

    def _fill(self) -> None:
        while not self._closed and len(self._waiting) < self._ahead:
            self._waiting.append(_Reader())

    def close(self) -> None:
        """End those that wait; one that reads ends with its file."""
        if os.getpid() != self._owner:  # a fork of this process owns none of them
            return
        with self._lock:
            self._closed = True
            while self._waiting:
                self._waiting.popleft().end()


class _Reader:
    """One process, from its start to its end, with a folder of its own for temporary files."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        path = json.dumps([os.path.abspath(entry) for entry in (*sys.path, Path(__file__).parents[2])])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, path, self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env=_environment(self._folder),
            start_new_session=True,  # Ctrl+C at the terminal is for this process
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._too_late = False
        if fcntl is not None and self._process.stdout and hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def alive(self) -> bool:
        """Whether it still waits for its file."""
        return self._process.poll() is None

    def run(self, request: bytes, limits: Limits) -> ReadResult:
        """The result of the request. To be called once."""
        requests, results = self._process.stdin, self._process.stdout
        assert requests is not None and isinstance(results, BufferedReader)
        with self._time_limit(limits.start_s):
            if results.read(len(READY)) != READY:
                raise NoReader("expected an interpreter for reading files, got one that does not start; install again")
        try:
            with self._time_limit(limits.wall_s):
                requests.write(struct.pack("<Q", len(request)) + request)
                requests.flush()
                return _receive(results, limits)
        except (OSError, EOFError):
            raise self._failure(limits) from None

    @contextmanager
    def _time_limit(self, seconds: float) -> Iterator[None]:
        """Kill the process where the block takes longer."""
        timer = threading.Timer(seconds, self._kill_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill_late(self) -> None:
        self._too_late = True
        self._process.kill()

    def _failure(self, limits: Limits) -> Unsafe:
        """The error for a process that ended without a result."""
        with suppress(subprocess.TimeoutExpired):  # it may live on with its pipe closed; `end` comes next
            self._process.wait(1)
        if self._too_late or self._process.returncode in _TIMED_OUT:
            return Unsafe(
                f"expected a file that is read within {limits.wall_s:g} seconds, got one that takes longer; "
                "export it uncompressed"
            )
        return Unsafe(BROKEN_OFF)

    def end(self) -> None:
        """Kill the process, wait for it, and remove its folder."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with suppress(OSError):  # the rest of the request has no reader now
                    stream.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _environment(folder: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, **dict.fromkeys(_ONE_THREAD, "1"), **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)}


def _receive(results: BufferedReader, limits: Limits) -> ReadResult:
    """The result, exactly as long as its first line states. Raises Refused, Unsafe, or EOFError where it breaks off."""
    line = results.readline(_MAX_HEAD_BYTES)
    if not line.endswith(b"\n"):
        raise EOFError
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        raise Unsafe(BROKEN_OFF) from None
    match head:
        case {"refused": str(reason)}:
            valid = len(reason) <= _MAX_REASON_CHARACTERS and reason.isprintable()
            raise Refused(reason) if valid else Unsafe(BROKEN_OFF)
        case {"dtype": str(dtype), "shape": [*shape], "facts": dict(facts)}:
            array = _allocate(dtype, shape, limits)
        case _:
            raise Unsafe(BROKEN_OFF)
    content = array.reshape(-1).view(np.uint8).data
    if (results.readinto(content) if len(content) else 0) != len(content) or results.read(1):
        raise EOFError
    return ReadResult(array, facts)


def _allocate(name: str, shape: list[Any], limits: Limits) -> np.ndarray:
    """An empty array of the stated type and shape. Raises Unsafe, before taking memory, if they are not allowed."""
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        raise Unsafe(BROKEN_OFF) from None
    sides = all(type(side) is int and 0 < side <= limits.result_bytes for side in shape)
    if not sides or dtype.kind not in _NUMBERS or math.prod(shape) * dtype.itemsize > limits.result_bytes:
        raise Unsafe(BROKEN_OFF)
    return np.empty(shape, dtype)
