"""Pictures written as PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from spineseg.io.files import replacing

Picture = UInt8[np.ndarray, "rows columns rgb=3"] | UInt8[np.ndarray, "rows columns"]
"""In colour or grey."""


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
