"""What the browser sends of a film whose masks a person changed there: checked, for a browser is not trusted.

Masks come as run lengths. With them come size and spacing of the film, so that files and measurements can also be made
of a film that this server has forgotten or never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from spineseg.film import ASPECT, SPACING_MM, VERTEBRAE, Film, Spacing
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.ui import texts
from spineseg.ui.correction import BadRequest, Bits

MOST_RUNS = 200_000
"""Of all vertebrae together; six smooth bodies on a film of 3000 rows have 4000."""


def sent_bits(runs: Any, shape: tuple[int, int]) -> Bits:
    """Masks from run lengths: for each vertebra, in reading order, how many pixels lie outside, inside, outside ...

    Raises BadRequest unless each vertebra's runs fill the film exactly and no pixel is in two of them.
    """
    size = shape[0] * shape[1]
    if not isinstance(runs, list) or len(runs) != len(VERTEBRAE) or not all(isinstance(one, list) for one in runs):
        raise BadRequest(texts.BAD_MASKS)
    if sum(map(len, runs)) > MOST_RUNS:
        raise BadRequest(texts.RAGGED_MASKS)
    bits = np.zeros(size, np.uint8)
    for k, one in enumerate(runs):
        if not all(type(length) is int and 0 <= length <= size for length in one) or sum(one) != size:
            raise BadRequest(texts.BAD_MASKS)
        _fill(bits, np.cumsum(one, dtype=np.int64), np.uint8(1 << k))
    return bits.reshape(shape)


def _fill(bits: np.ndarray, ends: np.ndarray, value: np.uint8) -> None:
    """Set every second run; raises BadRequest where another vertebra is there already."""
    for start, end in zip(ends[:-1:2].tolist(), ends[1::2].tolist(), strict=False):
        if bits[start:end].any():
            raise BadRequest(texts.OVERLAPPING_MASKS)
        bits[start:end] = value


def sent_film(sent: Mapping[str, Any]) -> Film:
    """Size and spacing of a film whose pixels are not here; its image is 0 everywhere and takes no memory.

    sent: rows, columns; spacing: None or [row_mm, column_mm, plane]; aspect. Raises BadRequest.
    """
    limits = DEFAULT_LIMITS
    rows, columns = (sent.get(key) for key in ("rows", "columns"))
    if not (type(rows) is int and type(columns) is int):
        raise BadRequest(texts.BAD_FILM)
    if not limits.min_side <= min(rows, columns) <= max(rows, columns) <= limits.max_side:
        raise BadRequest(texts.BAD_FILM)
    if rows * columns > limits.max_pixels or not _within(sent.get("aspect"), ASPECT):
        raise BadRequest(texts.BAD_FILM)
    return Film(np.broadcast_to(np.float32(0), (rows, columns)), _spacing(sent.get("spacing")), float(sent["aspect"]))


def _spacing(sent: Any) -> Spacing | None:
    if sent is None:
        return None
    if not isinstance(sent, list) or len(sent) != 3 or not all(_within(value, SPACING_MM) for value in sent[:2]):
        raise BadRequest(texts.BAD_FILM)
    planes: dict[Any, Literal["detector", "patient"]] = {"detector": "detector", "patient": "patient"}
    if not isinstance(sent[2], str) or sent[2] not in planes:
        raise BadRequest(texts.BAD_FILM)
    return Spacing(float(sent[0]), float(sent[1]), planes[sent[2]])


def _within(value: Any, limits: tuple[float, float]) -> bool:
    """Whether it is a number in this range; NaN is not."""
    return type(value) in (int, float) and limits[0] <= value <= limits[1]
