"""Label maps, a whole number for each pixel, from PNG, TIFF and NIfTI; told apart by content."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int32

from spineseg.film import Spacing
from spineseg.io.kinds import GZIP, HEAD_BYTES, NIFTI, PNG, TIFF, Kind, kind_of
from spineseg.io.label_readers import Stored, UnreadableLabel, check_array
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.nifti import Orientation, film_plane, read_nifti
from spineseg.io.picture_decoder import Plane, UnreadablePicture, decode_picture

DEEPEST = 2**16 - 1
"""Largest number in a label map."""
_OF_ANY_SIZE = replace(DEFAULT_LIMITS, min_side=1)


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
    if kind not in (PNG, TIFF):
        raise UnreadablePicture(f"this is {kind.article}, not a label map; save it as PNG, TIFF or NIfTI")
    return _picture_numbers(path.read_bytes(), kind), None


def _picture_numbers(content: bytes, kind: Kind) -> Plane:
    """The stored numbers of a grey or palette picture: of a palette the index, of few bits the number itself.

    Raises UnreadablePicture, or UnreadableFilm before anything is decoded if it has more pixels than a film may have.
    """
    values = decode_picture(content, kind, _OF_ANY_SIZE, indices=True).values
    if values.ndim == 3:
        if np.ptp(values, axis=2).any():
            raise UnreadablePicture("the label has colours, not one number per pixel; save it grey or with a palette")
        values = values[..., 0]
    return values


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
