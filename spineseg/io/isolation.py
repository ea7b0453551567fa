"""Reading a stranger's file in an interpreter of its own, which reads that one file under limits and ends.

What a file can do to the process that decodes it (answer with another film's pixels, crash it, fill its memory, never
end) it does to one that has seen no other film and that nobody misses. Interpreters are started ahead, never forked
from this process, and never used twice. Down go a function and its arguments; up come one array's bytes and plain JSON,
which are checked here; nothing that comes up is ever unpickled, and nothing else of it is shown or logged.

It is a fence around accidents and known attacks, not a sandbox: a reader runs with this user's rights (`SECURITY.md`).
"""

from __future__ import annotations

import atexit
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
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spineseg.film import SPACING_MM, VERTEBRAE, BadInput, Film, Spacing
from spineseg.io.limits import DEFAULT_LIMITS, Limits
from spineseg.io.reader_process import READY, film_job, label_job

if TYPE_CHECKING:
    from spineseg.io.labels import Label

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import spineseg.io.reader_process as r; r.serve()"
_PASSED_ON = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""All that a reader gets of this process's environment: what an interpreter needs to start, and no secret."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_HEAD_BYTES = 4096
"""Longest first line of an answer: the array's kind and shape, the facts, or the reason."""
_SENTENCE = 400
"""Longest reason that is passed on, in characters."""
_PIPE_BYTES = 2**20
_NUMBERS = "buif"
"""Kinds of values that an array may hold."""


class Unsafe(BadInput):
    """The file broke off its own reading: it crashed its reader or took too long, or what came was unsound."""


class Refused(BadInput):
    """The file's reader said, in its own sentence, why the file cannot be used."""


class NoReader(BadInput):
    """An interpreter for reading could not be started: the installation's fault and no file's."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one reading gave: an array of numbers, and facts as JSON has them."""

    array: np.ndarray
    facts: dict[str, Any]


Function = Callable[..., tuple[np.ndarray, dict[str, Any]]]
"""A function at a module's top level, which gives an array of numbers and a few plain facts."""


# What the page and the commands call


def read_film_isolated(path: str | os.PathLike[str], *, invert: bool = False, limits: Limits = DEFAULT_LIMITS) -> Film:
    """`dicom.read_film` in an interpreter of its own; see there.

    Raises Refused with the reader's sentence, or Unsafe; neither holds the path or a word of the header.
    """
    answer = isolated(film_job, os.path.abspath(path), invert, limits, limits=limits)
    return Film(_checked_image(answer.array, limits), _spacing(answer.facts.get("spacing")))


def read_label_isolated(
    path: str | os.PathLike[str], shape: tuple[int, int], *, limits: Limits = DEFAULT_LIMITS
) -> Label:
    """`labels.read_label` in an interpreter of its own, for a film of `shape` (rows, columns); see there.

    Raises Refused with the reader's sentence, or Unsafe; neither holds the path.
    """
    from spineseg.io.labels import Label

    roomy = replace(limits, memory_bytes=limits.label_memory_bytes)
    answer = isolated(label_job, os.path.abspath(path), shape, limits, limits=roomy)
    masks = answer.array
    if masks.shape != (len(VERTEBRAE), *shape) or masks.dtype != np.bool_ or masks.view(np.uint8).max() > 1:
        raise Unsafe(_UNSOUND)
    match answer.facts:
        case {"overlap_px": int(overlap), "background_disagreement_px": int(disagreement)} if (
            0 <= overlap <= masks[0].size and 0 <= disagreement <= masks[0].size
        ):
            return Label(masks, overlap, disagreement)
    raise Unsafe(_UNSOUND)


def isolated(function: Function, *arguments: Any, limits: Limits = DEFAULT_LIMITS) -> Answer:
    """The answer of `function(*arguments)` in a fresh interpreter, under `limits`.

    The function is found by its name and the arguments are pickled, so both must be this program's own; what comes back
    is only looked at. Safe to call from many threads; `limits.at_once` of the shared readers work at the same time.
    Raises Refused where the function raised BadInput, Unsafe where it failed otherwise, NoReader where none starts.
    """
    return _shared().run(function, *arguments, limits=limits)


def start_ahead(count: int = 1) -> None:
    """Keep so many of the shared readers waiting from now on, so that the first file need not wait for one either."""
    _shared().start_ahead(count)


def _checked_image(image: np.ndarray, limits: Limits) -> np.ndarray:
    """What `Film` promises, of an array that a stranger's file had a hand in."""
    sides = image.shape
    fits = len(sides) == 2 and limits.min_side <= min(sides) and max(sides) <= limits.max_side
    if not fits or image.size > limits.max_pixels or image.dtype != np.float32:
        raise Unsafe(_UNSOUND)
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Unsafe(_UNSOUND)
    return image


def _spacing(stated: Any) -> Spacing | None:
    if stated is None:
        return None
    match stated:
        case [float(row), float(column), "detector" | "patient" as plane] if all(
            SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in (row, column)
        ):
            return Spacing(row, column, plane)
    raise Unsafe(_UNSOUND)


_OUT_OF_TIME = [-getattr(signal, name) for name in ("SIGXCPU", "SIGALRM") if hasattr(signal, name)]
_UNSOUND = "expected a file that can be read safely, got one that stopped its reader; export it again"


# In this process: readers started ahead


class Readers:
    """Interpreters started ahead; each reads one file and ends, and another is started as one is taken."""

    def __init__(self, at_once: int = DEFAULT_LIMITS.at_once, ahead: int = 1) -> None:
        """Files read at the same time, and readers that wait for work."""
        self._slots, self._ahead = threading.BoundedSemaphore(at_once), ahead
        self._waiting: deque[_Reader] = deque()
        self._lock = threading.Lock()
        self._owner, self._closed = os.getpid(), False

    def run(self, function: Function, *arguments: Any, limits: Limits = DEFAULT_LIMITS) -> Answer:
        """See `isolated`."""
        request = pickle.dumps((limits, function, arguments))
        with self._slots:
            reader = self._take()
            try:
                return reader.answer(request, limits)
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
            self._drop_dead()
            reader = self._waiting.popleft() if self._waiting else _Reader()
            self._fill()
            return reader

    def _drop_dead(self) -> None:
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


_SHARED: list[Readers] = []
_SHARED_LOCK = threading.Lock()


def _shared() -> Readers:
    with _SHARED_LOCK:
        if not _SHARED:
            _SHARED.append(Readers())
            atexit.register(_SHARED[0].close)
        return _SHARED[0]


class _Reader:
    """One interpreter, from its start to its end, with a folder of its own for temporary files."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="spineseg-reader-")
        path = json.dumps([os.path.abspath(entry) for entry in (*sys.path, Path(__file__).parents[2])])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env=_environment(self._folder),
            start_new_session=True,  # Ctrl+C at the terminal is for this process
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._late = False
        if fcntl is not None and self._process.stdout and hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def alive(self) -> bool:
        """Whether it still waits for its file."""
        return self._process.poll() is None

    def answer(self, request: bytes, limits: Limits) -> Answer:
        """What it makes of the request. To be called once."""
        down, up = self._process.stdin, self._process.stdout
        assert down is not None and isinstance(up, BufferedReader)
        with self._clock(limits.start_s):
            if up.read(len(READY)) != READY:
                raise NoReader("expected an interpreter for reading files, got one that does not start; install again")
        try:
            with self._clock(limits.wall_s):
                down.write(struct.pack("<Q", len(request)) + request)
                down.flush()
                return _received(up, limits)
        except (OSError, EOFError):
            raise self._why(limits) from None

    @contextmanager
    def _clock(self, seconds: float) -> Iterator[None]:
        """End the reader where what is done meanwhile takes longer, so that no one waits for it."""
        clock = threading.Timer(seconds, self._stop)
        clock.daemon = True
        clock.start()
        try:
            yield
        finally:
            clock.cancel()

    def _stop(self) -> None:
        self._late = True
        self._process.kill()

    def _why(self, limits: Limits) -> Unsafe:
        """The sentence for a reader that broke off."""
        with suppress(subprocess.TimeoutExpired):  # where it lives on, having closed its pipe, `end` comes next
            self._process.wait(1)
        code = self._process.returncode
        if self._late or code in _OUT_OF_TIME:
            return Unsafe(
                f"expected a file that is read within {limits.wall_s:g} seconds, got one that takes longer; "
                "export it uncompressed"
            )
        return Unsafe(_UNSOUND)

    def end(self) -> None:
        """Kill it, wait for it, and remove what it left behind."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with suppress(OSError):  # what was not yet sent is for nobody now
                    stream.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _environment(folder: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, **dict.fromkeys(_ONE_THREAD, "1"), **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)}


def _received(up: BufferedReader, limits: Limits) -> Answer:
    """The answer, byte for byte what its head claims, or the reader's refusal. Raises EOFError where it breaks off."""
    head = up.readline(_HEAD_BYTES)
    if not head.endswith(b"\n"):
        raise EOFError
    try:
        said = json.loads(head)
    except (ValueError, RecursionError):
        raise Unsafe(_UNSOUND) from None
    match said:
        case {"refused": str(sentence)}:
            raise Refused(sentence) if len(sentence) <= _SENTENCE and sentence.isprintable() else Unsafe(_UNSOUND)
        case {"dtype": str(dtype), "shape": [*shape], "facts": dict(facts)}:
            array = _room(dtype, shape, limits)
        case _:
            raise Unsafe(_UNSOUND)
    content = array.reshape(-1).view(np.uint8).data
    if (up.readinto(content) if len(content) else 0) != len(content) or up.read(1):
        raise EOFError
    return Answer(array, facts)


def _room(name: str, shape: list[Any], limits: Limits) -> np.ndarray:
    """An array for what the head of an answer claims, whose size is looked at before there is any memory for it."""
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        raise Unsafe(_UNSOUND) from None
    sides = all(type(side) is int and 0 < side <= limits.answer_bytes for side in shape)
    if not sides or dtype.kind not in _NUMBERS or math.prod(shape) * dtype.itemsize > limits.answer_bytes:
        raise Unsafe(_UNSOUND)
    return np.empty(shape, dtype)
