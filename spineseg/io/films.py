"""File to `Film`, whichever kind of file it is.

Reading depends on the path alone, so that a process of its own can do it (`isolation`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from spineseg.film import Film
from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.dicom_pixels import read_dicom
from spineseg.io.kinds import DICOM, HEAD_BYTES, Kind, kind_of
from spineseg.io.limits import DEFAULT_LIMITS, Limits

_READERS: dict[Kind, Callable[[bytes, Limits], Film]] = {DICOM: read_dicom}
"""For each kind of file that can be a film, what turns its content into one."""


def read_film(path: str | os.PathLike[str], *, invert: bool = False, limits: Limits = DEFAULT_LIMITS) -> Film:
    """Read one grey radiograph: brighter = denser as the file has it.

    invert: a person says that bone is dark as the file states it; bright and dark are exchanged.
    Raises UnreadableFilm; its sentence holds neither the path nor a word of the header.
    """
    try:
        content = _read_bytes(path, limits)
        film = _READERS[kind_of(content[:HEAD_BYTES])](content, limits)
        return film.as_told(invert=True) if invert else film
    except MemoryError:
        raise UnreadableFilm("expected a film that fits into memory, got a larger one; export it smaller") from None


def _read_bytes(path: str | os.PathLike[str], limits: Limits) -> bytes:
    """The whole of a regular file of a kind that can be read; never waits for a pipe."""
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UnreadableFilm("expected a DICOM file, got a folder or a device; choose one file")
            content = stream.read(limits.max_bytes + 1) or b""  # None where a special file has no data yet
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableFilm):
            raise
        kind = "a folder" if isinstance(error, IsADirectoryError) else "one that is missing or may not be opened"
        raise UnreadableFilm(f"expected a DICOM file, got {kind}; choose one file that can be read") from None
    if len(content) > limits.max_bytes:
        megabytes = limits.max_bytes / 2**20
        raise UnreadableFilm(f"expected a file of at most {megabytes:.0f} MB, got a larger one; export a single film")
    if (kind := kind_of(content[:HEAD_BYTES])) not in _READERS:
        raise UnreadableFilm(f"expected a DICOM file, got {kind.article}; export the film as DICOM")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
