"""PNG files: pictures written, and the stored numbers of grey and palette ones read."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from spineseg.io.files import replacing
from spineseg.io.kinds import HEAD_BYTES, OVERLAY_MARK, PNG, PNG_HEADER_BYTES, kind_of
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.picture_decoder import UnreadablePicture, decode_picture

Picture = UInt8[np.ndarray, "rows columns rgb=3"] | UInt8[np.ndarray, "rows columns"]
"""In colour or grey."""
_MARK = struct.pack(">I", len(OVERLAY_MARK) - 4) + OVERLAY_MARK + struct.pack(">I", zlib.crc32(OVERLAY_MARK))
_OF_ANY_SIZE = replace(DEFAULT_LIMITS, min_side=1)


def read_png(path: Path) -> Shaped[np.ndarray, "rows columns"]:
    """The stored numbers of a grey or palette PNG: of a palette the index, of less than 8 bits the number itself.

    Raises UnreadablePicture, or UnreadableFilm before anything is decoded if it has more pixels than a film may have.
    """
    content = path.read_bytes()
    if (kind := kind_of(content[:HEAD_BYTES])) is not PNG:
        raise UnreadablePicture(f"This is {kind.article}, not a PNG picture; save it as PNG")
    values = decode_picture(content, PNG, _OF_ANY_SIZE, indices=True).values
    if values.ndim == 3:
        if np.ptp(values, axis=2).any():
            raise UnreadablePicture("This PNG has colours, not one number per pixel; save it grey or with a palette")
        values = values[..., 0]
    return values


def png_bytes(picture: Picture) -> bytes:
    """The picture as a PNG file. One in colour, such as an overlay, is marked, so that nobody takes it for a film."""
    if picture.ndim == 2:
        return cv2.imencode(".png", picture)[1].tobytes()
    content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    return content[:PNG_HEADER_BYTES] + _MARK + content[PNG_HEADER_BYTES:]


def write_png(path: Path | str, picture: Picture) -> None:
    """Write the picture as PNG, whatever the extension. The file appears whole or not at all.

    Raises OSError if the folder is missing or cannot be written.
    """
    with replacing(path) as stream:
        stream.write(png_bytes(picture))
