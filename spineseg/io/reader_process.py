"""The other side of `isolation`: what an interpreter does that reads one file under limits and ends."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from spineseg.film import BadInput
from spineseg.io.limits import Limits

try:
    import resource
except ImportError:  # Windows: the clock and the sizes are the limits there
    resource = None

READY = b"ready\n"


def film_job(path: str, invert: bool, limits: Limits) -> tuple[np.ndarray, dict[str, Any]]:
    """`read_film` as `isolation.isolated` takes it."""
    from spineseg.io.dicom import read_film

    film = read_film(path, invert=invert, limits=limits)
    spacing = film.spacing
    return film.image, {"spacing": spacing and [spacing.row_mm, spacing.column_mm, spacing.plane]}


def label_job(path: str, shape: tuple[int, int], limits: Limits) -> tuple[np.ndarray, dict[str, Any]]:
    """`read_label` as `isolation.isolated` takes it."""
    from spineseg.io.labels import read_label

    if Path(path).is_file() and os.stat(path).st_size > limits.max_label_bytes:
        most = limits.max_label_bytes / 2**20
        raise BadInput(f"expected a label of at most {most:.0f} MB, got a larger one; save it compressed, as uint8")
    label = read_label(path, shape)
    return label.masks, {
        "overlap_px": label.overlap_px,
        "background_disagreement_px": label.background_disagreement_px,
    }


# In the reader


def serve() -> NoReturn:
    """A reader's life, which leaves nothing behind however it ends."""
    try:
        _serve_once()
    finally:
        _leave()


def _serve_once() -> NoReturn:
    """Get ready, wait for one request, limit itself, answer, end."""
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:  # what a library prints must not stand among the answers
        os.dup2(nowhere.fileno(), 1)
    import spineseg.io.dicom  # noqa: F401  (what takes longest is done before there is a file)

    answers.write(READY)
    answers.flush()
    limits, function, arguments = pickle.loads(_exactly(struct.unpack("<Q", _exactly(8))[0]))
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _limit_self(limits)
    try:
        array, facts = function(*arguments)
    except BadInput as error:
        _say(answers, {"refused": str(error)})
    except MemoryError:
        gigabytes = limits.memory_bytes / 2**30
        sentence = f"expected a file that is read in {gigabytes:g} GB, got one that needs more; export it smaller"
        _say(answers, {"refused": sentence})
    else:
        _say(answers, {"dtype": array.dtype.str, "shape": array.shape, "facts": facts}, np.ascontiguousarray(array))
    os._exit(0)


def _say(answers: IO[bytes], head: dict[str, Any], array: np.ndarray | None = None) -> None:
    answers.write(json.dumps(head).encode() + b"\n")
    if array is not None:
        answers.write(array.reshape(-1).view(np.uint8).data)
    answers.flush()


def _exactly(count: int) -> bytes:
    """So many bytes of the request. Ends the reader where the other side has gone."""
    content = b""
    while len(content) < count:
        if not (more := os.read(0, count - len(content))):
            _leave()
        content += more
    return content


def _leave_with_parent() -> NoReturn:
    """The request is all that ever comes: when this returns the pipe is closed, as its only writer has gone."""
    os.read(0, 1)
    _leave()


def _leave() -> NoReturn:
    shutil.rmtree(os.getcwd(), ignore_errors=True)
    os._exit(1)


def _limit_self(limits: Limits) -> None:
    """From here on the operating system ends whatever goes too far, even code that never comes back to Python."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limits.wall_s + 1)  # where nobody is left to look at the clock
    if resource is None:
        return
    kept = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_FSIZE: limits.written_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in kept.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        with suppress(ValueError, OSError):  # macOS does not keep some of them
            resource.setrlimit(kind, (most, most + 1 if kind == resource.RLIMIT_CPU else most))
