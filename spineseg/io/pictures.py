"""Pictures written as PNG."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from spineseg.io.files import replacing
from spineseg.io.kinds import OVERLAY_MARK, PNG_HEADER_BYTES

Picture = UInt8[np.ndarray, "rows columns rgb=3"] | UInt8[np.ndarray, "rows columns"]
"""In colour or grey."""
_MARK = struct.pack(">I", len(OVERLAY_MARK) - 4) + OVERLAY_MARK + struct.pack(">I", zlib.crc32(OVERLAY_MARK))


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
