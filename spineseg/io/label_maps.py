"""Label maps, a whole number for each pixel, from PNG, TIFF and NIfTI; told apart by content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int32, Shaped
from PIL.TiffImagePlugin import TiffImageFile

from spineseg.film import Spacing
from spineseg.io.kinds import GZIP, HEAD_BYTES, NIFTI, PNG, TIFF, Kind, kind_of
from spineseg.io.label_readers import Stored, UnreadableLabel, check_array
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.nifti import Orientation, film_plane, read_nifti
from spineseg.io.pictures import UnreadablePicture, read_png

DEEPEST = 2**16 - 1
"""Largest number in a label map."""
_TIFF_MODES = ("1", "L", "P", "I", "F", "I;16", "I;16B")
"""Pillow's names of pictures with one number for each pixel."""
Plane = Shaped[np.ndarray, "rows columns"]


def read_label_map(
    path: str | os.PathLike[str], orientation: Orientation = "header"
) -> tuple[Int32[np.ndarray, "rows columns"], Spacing | None]:
    """The number of each pixel, 0 to 65535, in film rows and columns, and the spacing that NIfTI states.

    orientation: of NIfTI; see `film_plane`. Raises UnreadablePicture or UnreadableFilm, without the path.
    """
    values, spacing = _read_plane(Path(path), orientation)
    if not np.all((values >= 0) & (values <= DEEPEST)) or np.any(values != np.rint(values)):  # false for NaN
        raise UnreadablePicture(f"the label map holds other values than 0 to {DEEPEST}; save it as whole numbers")
    return values.astype(np.int32), spacing


def _read_plane(path: Path, orientation: Orientation) -> tuple[Plane, Spacing | None]:
    with open(path, "rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind in (NIFTI, GZIP):
        return film_plane(read_nifti(path), orientation)
    if kind not in _PICTURES:
        raise UnreadablePicture(f"this is {kind.article}, not a label map; save it as PNG, TIFF or NIfTI")
    return _PICTURES[kind](path), None


def _read_tiff(path: Path) -> Plane:
    """The stored numbers of a grey or palette TIFF: of a palette the index.

    Raises UnreadablePicture, before anything is decoded if there are more pixels than a film may have.
    """
    try:
        picture = TiffImageFile(path)
        with picture:
            if picture.width * picture.height > DEFAULT_LIMITS.max_pixels:
                raise UnreadablePicture(f"the picture has more than {DEFAULT_LIMITS.max_pixels:,} pixels; crop it")
            if picture.mode not in _TIFF_MODES or picture.n_frames > 1:
                raise UnreadablePicture("the TIFF has colours or several pages; save one page, grey or with a palette")
            return np.array(picture)
    except UnreadablePicture:
        raise
    except Exception:  # Pillow lets a damaged TIFF raise nearly anything
        raise UnreadablePicture("the TIFF is damaged; save it again") from None


_PICTURES: dict[Kind, Callable[[Path], Plane]] = {PNG: read_png, TIFF: _read_tiff}


def read_map(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """The label map of a film of `shape` (rows, columns), for `label_formats`."""
    values, _ = read_label_map(stream.name)
    try:
        check_array(values.shape, "i", shape)
    except UnreadableLabel as error:
        turned = "; if it is NIfTI, see --orientation of the command convert" * (values.shape == shape[::-1])
        raise UnreadableLabel(f"{error}{turned}") from None
    return values


def read_jpeg(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """Refuses: its compression changes the values."""
    raise UnreadableLabel("this is a JPEG picture, which changes the numbers of a label; save the label as PNG")
