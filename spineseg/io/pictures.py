"""PNG files: pictures written, and the stored numbers of grey and palette ones read."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int32, Integer, Shaped, UInt8

from spineseg.film import BadInput
from spineseg.io.files import replacing

Picture = UInt8[np.ndarray, "rows columns rgb=3"] | UInt8[np.ndarray, "rows columns"]
"""In colour or grey."""
_PNG, _PALETTE = b"\x89PNG\r\n\x1a\n", 3


class UnreadablePicture(BadInput):
    """A film or a label map that cannot be converted as it is."""


def read_png(path: Path) -> Shaped[np.ndarray, "rows columns"]:
    """The stored numbers of a grey or palette PNG: of a palette the index, of less than 8 bits the number itself."""
    content = path.read_bytes()
    if not content.startswith(_PNG) or content[12:16] != b"IHDR" or len(content) < 33:
        raise UnreadablePicture("expected a PNG picture, got another kind of file; save it as PNG")
    depth, kind = content[24], content[25]
    flag = cv2.IMREAD_COLOR if kind == _PALETTE else cv2.IMREAD_UNCHANGED
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise UnreadablePicture("expected a whole PNG picture, got a damaged one; copy it again")
    if kind == _PALETTE:
        return _palette_index(picture, content)
    if picture.ndim == 3:
        if np.ptp(picture[..., :3], axis=2).any():
            raise UnreadablePicture("expected one number per pixel, got colours; save it grey or with a palette")
        picture = picture[..., 0]
    return picture // (255 // (2**depth - 1)) if depth < 8 else picture


def _palette_index(
    picture: UInt8[np.ndarray, "rows columns bgr=3"], content: bytes
) -> Int32[np.ndarray, "rows columns"]:
    """The palette's index of each decoded colour (PNG 11.2.2); the first one of colours that are there twice."""
    at = content.find(b"PLTE")
    (length,) = struct.unpack(">I", content[at - 4 : at])
    palette = np.frombuffer(content[at + 4 : at + 4 + length], np.uint8).reshape(-1, 3).astype(np.int32)
    codes = palette @ (1 << 16, 1 << 8, 1)
    colours, first = np.unique(codes, return_index=True)
    wanted = picture.astype(np.int32) @ (1, 1 << 8, 1 << 16)
    if len(colours) < len(codes) and np.isin(wanted, _repeated(codes)).any():
        raise UnreadablePicture("expected a palette of different colours, got one twice; save the labels without it")
    return first[np.searchsorted(colours, wanted)].astype(np.int32)


def _repeated(codes: Integer[np.ndarray, "entry"]) -> Integer[np.ndarray, "value"]:
    """Values that are there more than once."""
    values, counts = np.unique(codes, return_counts=True)
    return values[counts > 1]


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
