"""The child process that reads one file under limits and ends; `reader_pool` starts it."""

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
except ImportError:  # Windows: wall time and sizes are the limits there
    resource = None

READY = b"ready\n"
FOLDER_PREFIX = "spineseg-reader-"
"""Beginning of the name of a reader's temporary folder."""


# Functions for `isolation.isolated`


def serialised_film(path: str, invert: bool, limits: Limits) -> tuple[np.ndarray, dict[str, Any]]:
    """`read_film` as an array and facts that JSON can hold."""
    from spineseg.io.films import read_film

    film = read_film(path, invert=invert, limits=limits)
    spacing, window = film.spacing, film.window
    return film.image, {
        "spacing": spacing and [spacing.row_mm, spacing.column_mm, spacing.plane],
        "aspect": film.aspect,
        "remarks": film.remarks,
        "window": window and [float(window.level), float(window.width), window.function],
    }


def serialised_label(path: str, shape: tuple[int, int], limits: Limits) -> tuple[np.ndarray, dict[str, Any]]:
    """`read_label` as an array and facts that JSON can hold."""
    from spineseg.io.labels import UnreadableLabel, read_label

    if Path(path).is_file() and os.stat(path).st_size > limits.max_bytes:
        most = limits.max_bytes / 2**20
        raise BadInput(f"the label is larger than {most:.0f} MB; save it as .npz, compressed .mat or PNG")
    try:
        label = read_label(path, shape)
    except UnreadableLabel as error:
        raise UnreadableLabel(error.anonymous) from None
    return label.masks, {
        "overlap_px": label.overlap_px,
        "background_disagreement_px": label.background_disagreement_px,
    }


def serialised_segmentation(
    path: str, masks: np.ndarray, model: str, by_hand: tuple[str, ...]
) -> tuple[np.ndarray, dict[str, Any]]:
    """`segmentation_bytes` as an array, without any patient field."""
    from spineseg.io.dicom_seg import segmentation_bytes

    content = segmentation_bytes(path, masks, model=model, by_hand=by_hand)
    return np.frombuffer(content, np.uint8), {}


# The life of a reader


def _serve(folder: str) -> NoReturn:
    """Read one file for the parent process, then end. folder: temporary, made by the parent for this reader alone."""
    try:
        _serve_once(folder)
    finally:
        _exit(folder)


def _serve_once(folder: str) -> NoReturn:
    """Get ready, wait for one request, apply its limits, send the result, end."""
    results = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:  # what a library prints must not mix with the result
        os.dup2(nowhere.fileno(), 1)
    import spineseg.io.films  # noqa: F401  (the slowest import, done before there is a file)

    results.write(READY)
    results.flush()
    (size,) = struct.unpack("<Q", _read_request(8, folder))
    limits, function, arguments = pickle.loads(_read_request(size, folder))
    threading.Thread(target=_exit_with_parent, args=(folder,), daemon=True).start()
    _apply(limits)
    try:
        array, facts = function(*arguments)
    except BadInput as error:
        _send(results, {"refused": str(error)})
    except MemoryError:
        gigabytes = limits.memory_bytes / 2**30
        sentence = f"expected a file that is read in {gigabytes:g} GB, got one that needs more; export it smaller"
        _send(results, {"refused": sentence})
    else:
        _send(results, {"dtype": array.dtype.str, "shape": array.shape, "facts": facts}, np.ascontiguousarray(array))
    os._exit(0)


def _send(results: IO[bytes], head: dict[str, Any], array: np.ndarray | None = None) -> None:
    """One line of JSON, then the array's bytes."""
    results.write(json.dumps(head).encode() + b"\n")
    if array is not None:
        results.write(array.reshape(-1).view(np.uint8).data)
    results.flush()


def _read_request(count: int, folder: str) -> bytes:
    """So many bytes of the request. Ends the process where the parent has gone."""
    content = b""
    while len(content) < count:
        if not (more := os.read(0, count - len(content))):
            _exit(folder)
        content += more
    return content


def _exit_with_parent(folder: str) -> NoReturn:
    """End as soon as the parent does: nothing follows the request, so reading ends only when the pipe is closed."""
    os.read(0, 1)
    _exit(folder)


def _exit(folder: str) -> NoReturn:
    """Remove the reader's own temporary folder and end.

    No other folder is removed: the parent names this one with `FOLDER_PREFIX` and sets it as the process's TMPDIR.
    """
    if os.path.basename(folder).startswith(FOLDER_PREFIX) and folder == os.environ.get("TMPDIR"):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _apply(limits: Limits) -> None:
    """From here on the operating system ends the process where it exceeds a limit, even in code outside Python."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limits.wall_s + 1)  # in case the parent does not end it
    if hasattr(os, "nice"):
        os.nice(10)  # a file that keeps the processor busy must not slow the network down
    if resource is None:
        return
    most_of = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_FSIZE: limits.written_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in most_of.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        with suppress(ValueError, OSError):  # macOS does not keep some of them
            resource.setrlimit(kind, (most, most + 1 if kind == resource.RLIMIT_CPU else most))
