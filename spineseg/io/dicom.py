"""DICOM file to `Film`.

Reading depends on the path alone, so that a process of its own can do it (`isolation`).
"""

from __future__ import annotations

import os
import stat

from spineseg.film import Film
from spineseg.io.dicom_header import NATIVE, UnreadableFilm, read_header_and_pixels, start_of_elements
from spineseg.io.dicom_pixels import check_compressed, check_uncompressed, decode, to_image
from spineseg.io.limits import DEFAULT_LIMITS, Limits

_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK": "a ZIP archive",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"MATLAB": "a MATLAB file",
    b"\x93NUMPY": "a NumPy array",
}


def read_film(path: str | os.PathLike[str], *, invert: bool = False, limits: Limits = DEFAULT_LIMITS) -> Film:
    """Read one grey radiograph: stored values after rescale, brighter = denser as the header has it.

    invert: exchange bright and dark, for inverted grayscale (bone dark) despite the PhotometricInterpretation tag.
    Raises UnreadableFilm; its sentence holds neither the path nor a word of the header.
    Source: DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (rescale), 10.7 (spacing); PS3.5 8 and annex A.
    """
    try:
        film = _read(path, limits)
        return film.inverted() if invert else film
    except MemoryError:
        raise UnreadableFilm("expected a film that fits into memory, got a larger one; export it smaller") from None


def _read(path: str | os.PathLike[str], limits: Limits) -> Film:
    content = _read_bytes(path, limits)
    header, pixels = read_header_and_pixels(content, limits)
    del content
    check = check_uncompressed if header.syntax in NATIVE else check_compressed
    encoded = check(header, pixels)
    return Film(to_image(decode(encoded, header), header, encoded.bits), header.spacing, header.aspect)


def _read_bytes(path: str | os.PathLike[str], limits: Limits) -> bytes:
    """The whole of a regular file that begins as DICOM does; never waits for a pipe."""
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
    if start_of_elements(content) is None:
        kinds = (kind for magic, kind in _MAGIC.items() if content.startswith(magic))
        found = next(kinds, "another kind of file") if content else "an empty file"
        raise UnreadableFilm(f"expected a DICOM file, got {found}; export the film as DICOM")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
