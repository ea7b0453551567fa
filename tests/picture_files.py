"""Picture files for the tests, built without the code under test: PNG and TIFF by hand, others by Pillow."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image

PNG_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Colour type by number of channels; a palette is 3."""


def png(values: np.ndarray, bits: int, palette: bytes = b"", transparency: bytes = b"") -> bytes:
    """PNG of rows x columns (x channels), of 1 to 16 bits. Source: ISO/IEC 15948."""
    rows, columns, *channels = values.shape
    kind = 3 if palette else PNG_TYPES[channels[0] if channels else 1]
    flat = values.reshape(rows, -1).astype(">u2" if bits == 16 else np.uint8)
    if bits >= 8:
        lines = [line.tobytes() for line in flat]
    else:
        each = np.unpackbits(flat[..., None], axis=2)[..., 8 - bits :].reshape(rows, -1)
        lines = [np.packbits(line).tobytes() for line in each]
    chunks = [(b"IHDR", struct.pack(">LL5B", columns, rows, bits, kind, 0, 0, 0))]
    chunks += [(name, content) for name, content in ((b"PLTE", palette), (b"tRNS", transparency)) if content]
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))
        for name, content in chunks
    )


def tiff(
    *pages: np.ndarray, order: Literal["<", ">"] = "<", white: bool = False, tags: Mapping[int, int] | None = None
) -> bytes:
    """Uncompressed TIFF with a page for each array. tags: short values, set on every page. Source: TIFF 6.0."""
    content, at = b"", 8
    for number, page in enumerate(pages, 1):
        values = np.ascontiguousarray(page.astype(page.dtype.newbyteorder(order)))
        rows, columns, *channels = values.shape
        samples = channels[0] if channels else 1
        strip = values.tobytes() + b"\0" * (values.nbytes % 2)
        depth_at = at + len(strip)
        depths = struct.pack(f"{order}4H", *[8 * values.itemsize] * 4)
        depth = 8 * values.itemsize if samples == 1 else depth_at
        fields = {
            256: (4, 1, columns),
            257: (4, 1, rows),
            258: (3, samples, depth),
            259: (3, 1, 1),
            262: (3, 1, 2 if samples > 2 else int(not white)),
            273: (4, 1, at),
            277: (3, 1, samples),
            278: (4, 1, rows),
            279: (4, 1, values.nbytes),
            339: (3, 1, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]),
        }
        fields |= {338: (3, 1, 2)} if samples in (2, 4) else {}
        fields |= {tag: (3, 1, value) for tag, value in (tags or {}).items()}
        directory_at = depth_at + len(depths)
        entries = b""
        for tag, (kind, count, value) in sorted(fields.items()):
            short = kind == 3 and count == 1
            stored = struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}L", value)
            entries += struct.pack(f"{order}HHL", tag, kind, count) + stored
        after = directory_at + 2 + len(entries) + 4
        following = after if number < len(pages) else 0
        directory = struct.pack(f"{order}H", len(fields)) + entries + struct.pack(f"{order}L", following)
        content += strip + depths + directory
        if number < len(pages):  # its directory comes behind its own pixels, so the link is set below
            content = content[:-4] + struct.pack(
                f"{order}L", after + pages[number].nbytes + pages[number].nbytes % 2 + 8
            )
        at = after
    first = 8 + pages[0].nbytes + pages[0].nbytes % 2 + 8
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", first) + content


def by_pillow(values: np.ndarray, form: str, *, mode: str = "", orientation: int = 0, **options: Any) -> bytes:
    """A file of another format, in Pillow's `mode` if given, with an EXIF orientation if given."""
    picture = Image.fromarray(values)
    picture = picture.convert(mode) if mode else picture
    if orientation:
        options["exif"] = exif = Image.Exif()
        exif[0x0112] = orientation
    picture.save(stream := BytesIO(), form, **options)
    return stream.getvalue()
