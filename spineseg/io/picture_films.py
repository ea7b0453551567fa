"""A picture of a film, as people have it who have no DICOM: one grey image, and what its reader must know of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32

from spineseg.film import Film
from spineseg.io.kinds import Kind
from spineseg.io.limits import Limits
from spineseg.io.picture_decoder import StoredPicture, UnreadablePicture, decode_picture

_TOLERANCE = 1 / 16
"""Channels that differ by no more of their range are grey: the noise of a JPEG's chroma."""
_FEW_VALUES, _FLAT = 16, 0.97
"""A label has no more values, and as large a share of neighbours of the same value."""
_ROWS_AT_ONCE = 256


def read_picture_film(kind: Kind, content: bytes, limits: Limits) -> Film:
    """A film from a picture file of one of `kinds.PICTURES`: values as stored, of colours the luminance.

    Transparent pixels become as dark as the darkest others. Raises UnreadableFilm.
    """
    picture = decode_picture(content, kind, limits)
    image, coloured = _luminance(picture)
    bits = f"{picture.bits} bit{'s' * (picture.bits > 1)}"
    remarks = [f"{kind.article} of {bits}: values are as shown, not as measured"]
    remarks.append("no pixel spacing: lengths are relative")
    if coloured:
        remarks.append(f"{_share(coloured)} of the picture is coloured: its luminance is used")
    if picture.alpha is not None and (transparent := _transparent(picture)):
        image = _composed(image, picture)
        remarks.append(f"{_share(transparent)} of the picture is transparent: it counts as background")
    if picture.orientation > 1:
        rows, columns = image.shape
        remarks.append(f"turned as its EXIF orientation says: results have {rows} rows and {columns} columns")
    _check(image, kind)
    return Film(np.ascontiguousarray(image), remarks=tuple(remarks))


def _luminance(picture: StoredPicture) -> tuple[Float32[np.ndarray, "rows columns"], float]:
    """The grey values, and the share of coloured pixels. Luma by ITU-R BT.601, exact where the channels are equal."""
    values = picture.values
    if values.ndim == 2:
        with np.errstate(over="ignore"):  # of float64; `_check` refuses what is not finite
            return values.astype(np.float32), 0.0
    image, coloured = np.empty(values.shape[:2], np.float32), 0
    limit = _TOLERANCE * (2**picture.bits - 1)
    for rows in _blocks(len(values)):
        if not (np.diff(values[rows], axis=2)).any():
            image[rows] = values[rows, :, 0]
            continue
        red, green, blue = (values[rows, :, channel].astype(np.float32) for channel in range(3))
        image[rows] = green + np.float32(0.299) * (red - green) + np.float32(0.114) * (blue - green)
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        coloured += int(np.count_nonzero(spread > limit))
    return image, coloured / image.size


def _blocks(rows: int) -> Iterator[slice]:
    """Some rows at a time, as three channels of a large picture in float32 take half a gigabyte."""
    yield from (slice(start, start + _ROWS_AT_ONCE) for start in range(0, rows, _ROWS_AT_ONCE))


def _transparent(picture: StoredPicture) -> float:
    """Share of pixels that are not fully opaque."""
    assert picture.alpha is not None
    return float(np.mean(picture.alpha < 2**picture.bits - 1))


def _composed(
    image: Float32[np.ndarray, "rows columns"], picture: StoredPicture
) -> Float32[np.ndarray, "rows columns"]:
    """The picture over a background of its darkest visible value."""
    assert picture.alpha is not None
    visible: Bool[np.ndarray, "rows columns"] = picture.alpha > 0
    if not visible.any():
        raise UnreadablePicture("This is a picture that is transparent everywhere; save it without transparency")
    low = image[visible].min()
    return low + (image - low) * (picture.alpha.astype(np.float32) / np.float32(2**picture.bits - 1))


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def _check(image: Float32[np.ndarray, "rows columns"], kind: Kind) -> None:
    """Raises UnreadablePicture for what is no film whatever it shows."""
    low, high = float(image.min()), float(image.max())
    if not np.isfinite([low, high]).all():
        raise UnreadablePicture(f"This is {kind.article} with values that are no numbers; export the film again")
    if low == high:
        raise UnreadablePicture(f"This is {kind.article} of one single value, not a film; choose another film")
    if count := _label_values(image):
        raise UnreadablePicture(
            f"This is a {kind.article.split()[1]} of a label or a drawing with {count} values, not a film; "
            "choose the radiograph itself"
        )


def _label_values(image: Float32[np.ndarray, "rows columns"]) -> int:
    """How many values a label or a drawing has, 0 for anything else: few values, in flat areas."""
    if len(np.unique(image[::9, ::9])) > _FEW_VALUES or np.mean(image[:, 1:] == image[:, :-1]) < _FLAT:
        return 0
    count = len(np.unique(image))
    return count if count <= _FEW_VALUES else 0
