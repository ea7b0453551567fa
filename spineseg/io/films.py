"""File to `Film`, whichever kind of file it is.

Reading depends on the path alone, so that a process of its own can do it (`isolation`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from spineseg.film import Film
from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.dicom_pixels import read_dicom
from spineseg.io.kinds import DICOM, HEAD_BYTES, PICTURES, Kind, kind_of
from spineseg.io.limits import DEFAULT_LIMITS, Limits
from spineseg.io.picture_films import read_picture_film

_READERS: dict[Kind, Callable[[bytes, Limits], Film]] = {
    DICOM: read_dicom,
    **{kind: partial(read_picture_film, kind) for kind in PICTURES},
}
"""For each kind of file that can be a film, what turns its content into one."""
FILM_KINDS = frozenset(_READERS)
"""Kinds of files that can be films."""


def read_film(path: str | os.PathLike[str], *, invert: bool = False, limits: Limits = DEFAULT_LIMITS) -> Film:
    """Read one radiograph from DICOM, PNG, JPEG, TIFF, BMP or WebP, told by content: brighter = denser as stated.

    invert: a person says that bone is dark as the file states it; bright and dark are exchanged.
    Raises UnreadableFilm; its sentence holds neither the path nor a word of the header.
    """
    try:
        content = _read_bytes(path, limits)
        film = _READERS[kind_of(content[:HEAD_BYTES])](content, limits)
        return _with_field(film.as_told(invert=True) if invert else film)
    except MemoryError:
        raise UnreadableFilm("This film does not fit into memory; export it smaller") from None


def _with_field(film: Film) -> Film:
    """The film, with a remark if only a part of it is a radiograph."""
    rows, columns = film.field
    if (rows.stop - rows.start, columns.stop - columns.start) == film.shape:
        return film
    used = f"rows {rows.start + 1} to {rows.stop}, columns {columns.start + 1} to {columns.stop}"
    return replace(film, remarks=(*film.remarks, f"borders are left out: only {used} are used"))


def _read_bytes(path: str | os.PathLike[str], limits: Limits) -> bytes:
    """The whole of a regular file of a kind that can be read; never waits for a pipe."""
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UnreadableFilm("This is a folder or a device, not a film; choose one file")
            content = stream.read(limits.max_bytes + 1) or b""  # None where a special file has no data yet
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableFilm):
            raise
        if isinstance(error, IsADirectoryError):
            raise UnreadableFilm("This is a folder, not a film; choose one file") from None
        raise UnreadableFilm("This file is missing or may not be opened; choose one that can be read") from None
    if len(content) > limits.max_bytes:
        megabytes = limits.max_bytes / 2**20
        raise UnreadableFilm(
            f"This file is larger than the {megabytes:.0f} MB allowed; export a single film, compressed"
        )
    if (kind := kind_of(content[:HEAD_BYTES])) not in _READERS:
        raise UnreadableFilm(f"This is {kind.article}, not a film; {kind.remedy}")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
