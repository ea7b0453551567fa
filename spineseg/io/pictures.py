"""PNG files: pictures written, and the stored numbers of grey and palette ones read."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL.PngImagePlugin import PngImageFile

from spineseg.film import BadInput
from spineseg.io.files import replacing
from spineseg.io.limits import DEFAULT_LIMITS

Picture = UInt8[np.ndarray, "rows columns rgb=3"] | UInt8[np.ndarray, "rows columns"]
"""In colour or grey."""
_AS_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
_STRETCH: dict[object, int] = {"1": 255, "L;2": 85, "L;4": 17}
"""By how much decoders multiply grey values of 1, 2 and 4 bits."""
_DAMAGED = "expected a whole PNG picture, got a damaged one; copy it again"


class UnreadablePicture(BadInput):
    """A film or a label map that cannot be converted as it is."""


def read_png(path: Path) -> Shaped[np.ndarray, "rows columns"]:
    """The stored numbers of a grey or palette PNG: of a palette the index, of less than 8 bits the number itself.

    Raises UnreadablePicture, before anything is decoded if there are more pixels than a film may have.
    """
    content = path.read_bytes()
    try:
        header = PngImageFile(BytesIO(content))
    except (SyntaxError, ValueError):
        raise UnreadablePicture("expected a PNG picture, got another kind of file; save it as PNG") from None
    if header.width * header.height > DEFAULT_LIMITS.max_pixels:
        raise UnreadablePicture(f"expected at most {DEFAULT_LIMITS.max_pixels:,} pixels, got more; crop the picture")
    if header.mode == "P":
        return _palette_indices(header)
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), _AS_STORED)  # Pillow keeps 8 of the 16 bits of a colour
    if picture is None:
        raise UnreadablePicture(_DAMAGED)
    if picture.ndim == 3:
        if np.ptp(picture[..., :3], axis=2).any():
            raise UnreadablePicture("expected one number per pixel, got colours; save it grey or with a palette")
        picture = picture[..., 0]
    return picture // _STRETCH.get(header.tile[0].args, 1)


def _palette_indices(picture: PngImageFile) -> UInt8[np.ndarray, "rows columns"]:
    try:
        return np.array(picture)
    except (OSError, SyntaxError, ValueError):
        raise UnreadablePicture(_DAMAGED) from None


def png_bytes(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", stored)[1].tobytes()


def write_png(path: Path | str, picture: Picture) -> None:
    """Write the picture as PNG, whatever the extension. The file appears whole or not at all.

    Raises OSError if the folder is missing or cannot be written.
    """
    with replacing(path) as stream:
        stream.write(png_bytes(picture))
