"""NIfTI file to one picture in film rows and columns.

NIfTI stores where the axes point, and tools differ in the order in which they store them, so a picture is brought to
film rows and columns by what its header says, not by how it lies in the file.
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, Shaped

from spineseg.film import Spacing
from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.limits import DEFAULT_LIMITS, Limits
from spineseg.io.picture_decoder import UnreadablePicture

_FARTHEST = 2**24
"""Where the first pixel of a file may be, in bytes; before it are notes of the program that wrote it."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A NIfTI file as it is stored; the array's axes are the file's in reverse.

    direction: column k is where the file's axis k points, in (left, back, head). spacing_mm: along each of those axes.
    """

    values: Shaped[np.ndarray, "third second first"]
    direction: Float[np.ndarray, "3 3"]
    spacing_mm: tuple[float, float, float]


def read_nifti(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Volume:
    """Read one NIfTI file, packed by gzip or not, with scale applied; no more is unpacked than its header states.

    Raises UnreadableFilm; its sentence does not hold the path.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    try:
        with _named(path) as named:
            reader.SetFileName(named)
            reader.ReadImageInformation()
            size = reader.GetSize()
            if reader.GetNumberOfComponents() > 1 or len(size) not in (2, 3) or math.prod(size) > limits.max_pixels:
                raise UnreadableFilm(
                    "expected one grey picture, got a volume, colours or a larger one; export one plane"
                )
            _check_is_whole(path, math.prod(size))
            image = reader.Execute()
    except (RuntimeError, OSError, EOFError, zlib.error, struct.error):
        raise UnreadableFilm(
            "expected a sound NIfTI picture with axes at right angles, got another; save it with a third axis of "
            "length 1, or as PNG"
        ) from None
    direction = np.eye(3)
    direction[: len(size), : len(size)] = np.reshape(image.GetDirection(), (len(size), len(size)))
    values = sitk.GetArrayFromImage(image)
    first, second, third = (*image.GetSpacing(), 1.0)[:3]
    return Volume(values.reshape((1,) * (3 - values.ndim) + values.shape), direction, (first, second, third))


def _check_is_whole(path: str | os.PathLike[str], pixels: int) -> None:
    """Raises EOFError for a file that ends before its last pixel, which the library would fill with 0.

    Source: nifti1.h and nifti2.h: bits of a pixel, and where the first one is.
    """
    with open(path, "rb") as plain, gzip.open(plain) if plain.peek(2)[:2] == b"\x1f\x8b" else plain as stream:
        head = stream.read(540)
        second = 540 in (int.from_bytes(head[:4], order) for order in ("little", "big"))
        order = "<" if head[:2] in (b"\x5c\x01", b"\x1c\x02") else ">"
        (bits,) = struct.unpack_from(order + "h", head, 14 if second else 72)
        (first,) = struct.unpack_from(order + ("q" if second else "f"), head, 168 if second else 108)
        if not (0 <= first < _FARTHEST and 8 <= bits <= 128):  # false for NaN
            raise EOFError
        stream.seek(max(int(first), 352) + pixels * bits // 8 - 1)
        if not stream.read(1):
            raise EOFError


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[str]:
    """The file under a name by which the library takes it for NIfTI, and reads it whether packed or not."""
    with tempfile.TemporaryDirectory(prefix="spineseg-") as folder:
        named = Path(folder, "film.nii.gz")
        try:
            named.symlink_to(Path(path).resolve())
        except OSError:  # Windows lets only some users make links
            shutil.copyfile(path, named)
        yield str(named)


Orientation = Literal["header", "stored", "exchanged"]


def film_plane(volume: Volume, orientation: Orientation) -> tuple[Shaped[np.ndarray, "rows columns"], Spacing | None]:
    """One picture as film rows and columns, with its spacing; None for 1 x 1 mm, which tools write for unknown.

    "header": with an axis nearest to feet-head, rows run to the feet and columns to the back (or the left). Without
    one, as in a picture that never had an orientation, columns run to the left and rows to the back, as ITK has it. A
    file that is turned to RAS, LPS or any other order of axes gives the same film.
    "stored": second axis of the file down, first to the right. "exchanged": the other way round.
    """
    axes = [k for k in range(3) if volume.values.shape[2 - k] > 1]  # of the file; the array has them reversed
    if len(axes) != 2:
        size = " x ".join(map(str, volume.values.shape[::-1]))
        raise UnreadablePicture(f"expected one picture, got {size}; export a single plane")
    across, down = axes
    if orientation == "exchanged":
        across, down = down, across
    values = volume.values.transpose(2 - down, 2 - across, 3 - (2 - down) - (2 - across))[..., 0]
    if orientation == "header":
        values, down, across = _by_header(values, volume.direction, down, across)
    spacing = round(volume.spacing_mm[down], 6), round(volume.spacing_mm[across], 6)  # stored as float32
    known = all(mm > 0 for mm in spacing) and spacing != (1.0, 1.0)
    return values, Spacing(*spacing, plane="detector") if known else None


def _by_header(
    values: Shaped[np.ndarray, "second first"], direction: np.ndarray, down: int, across: int
) -> tuple[np.ndarray, int, int]:
    """The axes exchanged and turned, so that rows and columns run to the feet, the back or the left, in that order."""
    towards = direction * np.array([[1.0], [1.0], [-1.0]])  # LPS to left, back, feet
    nearest = np.argmax(np.abs(towards), axis=0)
    if nearest[down] == nearest[across]:
        raise UnreadablePicture("expected axes of a film, got oblique ones; see --orientation")
    if nearest[down] < nearest[across]:
        values, down, across = values.T, across, down
    if towards[nearest[down], down] < 0:
        values = values[::-1]
    if towards[nearest[across], across] < 0:
        values = values[:, ::-1]
    return values, down, across
