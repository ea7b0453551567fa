"""PNG, JPEG, TIFF, BMP and WebP files to their stored numbers, upright as EXIF says.

Pillow decodes them, but for what it reduces to 8 bits or does not know: PNG with 16 bits and several channels, and TIFF
with more than 12 bits. OpenCV decodes these. Size and number of pictures are checked before a pixel is decoded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Shaped
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from spineseg.io.dicom_header import UnreadableFilm, check_size, without_library_messages
from spineseg.io.kinds import BMP, JPEG, PNG, TIFF, WEBP, Kind
from spineseg.io.limits import Limits

Plane = Shaped[np.ndarray, "rows columns"]
Colours = Shaped[np.ndarray, "rows columns rgb=3"]
_FILES: dict[Kind, Callable[[BytesIO], ImageFile]] = {
    PNG: PngImageFile,
    JPEG: JpegImageFile,
    TIFF: TiffImageFile,
    BMP: BmpImageFile,
    WEBP: WebPImageFile,
}
"""Each class reads its own format alone; `PIL.Image.open` would try others."""
_ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""From stored to upright, by the orientation that EXIF states; 1 is upright (CIPA DC-008, 4.6.5.1.6)."""
_CONVERTED = {"CMYK": "RGB", "YCbCr": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}
"""Pillow's modes that are brought to another first."""
_DEPTHS = {"1": (1, 1), "L;2": (2, 85), "L;4": (4, 17), "I;12": (12, 1)}
"""By the beginning of the stored mode: bits, and by how much Pillow multiplies the values."""
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_SAMPLES, _PLANAR, _SAMPLE_FORMAT = 277, 284, 339
_REDUCED_OR_MASK = 0b101
_MIN_IS_WHITE, _SIGNED = 0, 2
_MOST_PAGES = 64


class UnreadablePicture(UnreadableFilm):
    """A picture that cannot be read, as a film or as a label map."""


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """The numbers of a picture file, of `bits` bits each; rows and columns as EXIF turns them.

    alpha: 0 where the picture is transparent, 2^bits - 1 where it is not; None where it is nowhere.
    orientation: as EXIF states it, 1 to 8.
    """

    values: Plane | Colours
    alpha: Plane | None
    bits: int
    orientation: int = 1


def decode_picture(content: bytes, kind: Kind, limits: Limits, *, indices: bool = False) -> StoredPicture:
    """The numbers of a picture file of one of `kinds.PICTURES`.

    indices: of a palette give the index of each pixel, not its colour. Raises UnreadablePicture or UnreadableFilm.
    """
    with without_library_messages():
        try:
            if kind is TIFF:
                return _tiff(content, limits, indices)
            return _by_pillow(content, kind, limits, indices)
        except (UnreadableFilm, MemoryError):
            raise
        except Exception:  # Pillow and OpenCV let a damaged file raise nearly anything
            raise UnreadablePicture(
                f"This is {kind.article} that is damaged or of an unusual kind; copy it again, or save it as PNG"
            ) from None


def _by_pillow(content: bytes, kind: Kind, limits: Limits, indices: bool) -> StoredPicture:
    file = _FILES[kind](BytesIO(content))
    check_size(file.height, file.width, limits)
    if kind is PNG:
        _check_chunks(content)
    _check_single(kind, getattr(file, "n_frames", 1) if kind is not TIFF else 1)
    stored_mode = _stored_mode(file)
    orientation = _orientation(file)
    if kind is PNG and file.mode != "I;16" and ";16" in stored_mode:
        picture = _deep(content)
    else:
        picture = _stored(file, stored_mode, indices)
    turn = _TURNS.get(orientation) if kind is not TIFF else None  # Pillow turns a TIFF itself
    if kind is BMP and picture.alpha is not None and not picture.alpha.any():  # unused bits
        picture = StoredPicture(picture.values, None, picture.bits)
    if turn is None:
        return StoredPicture(picture.values, picture.alpha, picture.bits, orientation)
    alpha = None if picture.alpha is None else turn(picture.alpha)
    return StoredPicture(turn(picture.values), alpha, picture.bits, orientation)


def _check_chunks(content: bytes) -> None:
    """Raises ValueError unless each chunk of a PNG is whole; Pillow decodes damaged pixels (ISO/IEC 15948, 5.3)."""
    at, name = 8, b""
    while name != b"IEND":
        length, name = struct.unpack(">L4s", content[at : at + 8])
        if (
            zlib.crc32(content[at + 4 : at + 8 + length]).to_bytes(4, "big")
            != content[at + 8 + length : at + 12 + length]
        ):
            raise ValueError
        at += 12 + length


def _check_single(kind: Kind, count: int) -> None:
    if count > 1:
        raise UnreadablePicture(f"This is {kind.article} with {count} pages or frames; export a single one")


def _orientation(file: ImageFile) -> int:
    try:
        stated = file.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse the picture
        return 1
    return stated if stated in _TURNS else 1


def _stored_mode(file: ImageFile) -> str:
    """How the file stores its pixels, in Pillow's words; known until they are loaded."""
    stated = file.tile[0].args if file.tile else file.mode
    return str(stated if isinstance(stated, str) or not stated else stated[0])


def _stored(file: ImageFile, stored_mode: str, indices: bool) -> StoredPicture:
    """What Pillow decodes, with the multiplication of small values undone."""
    file.load()
    transparency = file.info.get("transparency")
    picture: Image = file
    if file.mode in ("P", "PA") and not indices:
        picture = file.convert("RGB" if file.mode == "P" and transparency is None else "RGBA")
    elif file.mode == "LAB":
        picture = file.getchannel(0)
    elif file.mode in _CONVERTED:
        picture = file.convert(_CONVERTED[file.mode])
    array = np.asarray(picture)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    bits, factor = next((_DEPTHS[start] for start in _DEPTHS if stored_mode.startswith(start)), (0, 1))
    bits = bits or 8 * min(array.dtype.itemsize, 2)
    if factor > 1 and array.ndim == 2:
        array = array // array.dtype.type(factor)
    if array.ndim == 3 and array.shape[2] in (2, 4):
        return StoredPicture(_channels(array[..., :-1]), array[..., -1], bits)
    alpha = None
    if picture is file and isinstance(transparency, int | tuple):  # one value or colour stands for transparent pixels
        same = array == np.minimum(transparency, 2**bits - 1)  # Pillow gives 255 for the 1 of 1 bit
        alpha = np.where(same if same.ndim == 2 else same.all(2), 0, 2**bits - 1).astype(array.dtype)
    return StoredPicture(array, alpha, bits)


def _channels(array: np.ndarray) -> Plane | Colours:
    return array[..., 0] if array.shape[2] == 1 else array


def _deep(content: bytes) -> StoredPicture:
    """What OpenCV decodes: 16 bits or more, or signed; 2 or 4 channels come as 4."""
    import cv2  # here, as it takes a reader's time to start and few pictures need it

    array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None or (array.ndim == 3 and array.dtype != np.uint16):
        raise ValueError
    if array.ndim == 2:
        return StoredPicture(array, None, 8 * array.dtype.itemsize)
    return StoredPicture(array[..., 2::-1], array[..., 3] if array.shape[2] == 4 else None, 16)


# TIFF


def _tiff(content: bytes, limits: Limits, indices: bool) -> StoredPicture:
    """Source: TIFF 6.0 (1992), sections 3, 8 and 19."""
    page, *others = _pages(content)
    _check_single(TIFF, 1 + sum(not each.get(_SUBFILE, 0) & _REDUCED_OR_MASK for each in others))
    check_size(page[_HEIGHT], page[_WIDTH], limits)
    bits, signed = page.get(_BITS, (1,))[0], page.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    white = page.get(_PHOTOMETRIC) == _MIN_IS_WHITE
    if bits <= 12 and not signed:
        picture = _by_pillow(content, TIFF, limits, indices)
        invert = white and bits > 8  # Pillow does it for fewer
    else:
        planes = page.get(_PLANAR, 1) != 1 and page.get(_SAMPLES, 1) > 1  # which OpenCV mixes up
        picture, invert = _deep(content), white
        if picture.bits != bits or planes or (bits == 8 and white):
            raise ValueError
    orientation = page.get(_ORIENTATION, 1)
    values = _inverted(picture.values, picture.bits) if invert else picture.values
    return StoredPicture(values, picture.alpha, picture.bits, orientation if orientation in _TURNS else 1)


def _pages(content: bytes) -> list[ImageFileDirectory_v2]:
    """The tags of each page. Raises what Pillow raises for a damaged file."""
    stream = BytesIO(content)
    head = stream.read(8)
    if head[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        head += stream.read(8)
    pages: dict[int, ImageFileDirectory_v2] = {}
    at = ImageFileDirectory_v2(head).next
    while 0 < at < len(content) and at not in pages:  # a damaged chain may lead in a circle
        if len(pages) == _MOST_PAGES:
            raise UnreadablePicture(f"This TIFF has more than {_MOST_PAGES} pages; save the page with the film alone")
        page = pages[at] = ImageFileDirectory_v2(head)
        stream.seek(at)
        page.load(stream)
        at = page.next
    return list(pages.values())


def _inverted(values: np.ndarray, bits: int) -> np.ndarray:
    """Dark and bright exchanged, within the range of the type."""
    if values.dtype.kind == "f":
        return values.min() + values.max() - values
    return ~values if values.dtype.kind == "i" else values.dtype.type(2**bits - 1) - values
