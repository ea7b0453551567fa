"""What a visitor takes home, as bytes: arrays, pictures, MATLAB, a report. Names are given in the browser."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from spineseg import __version__
from spineseg.film import CHANNELS, VERTEBRAE, Masks
from spineseg.io.labels import mat_bytes, to_array
from spineseg.io.pictures import png_bytes
from spineseg.render import label_picture, overlay
from spineseg.ui.correction import NothingChosen, unpack
from spineseg.ui.session import Desk

DISCLAIMER = "For research, not for diagnosis."
SEVERAL = ("npy", "overlay", "labels", "json")
"""What the ZIP of several films holds of each."""


def npy(desk: Desk) -> bytes:
    """`numpy.save` of rows x columns x 7, uint8."""
    stream = io.BytesIO()
    np.save(stream, to_array(_masks(desk)), allow_pickle=False)
    return stream.getvalue()


def npz(desk: Desk) -> bytes:
    """Compressed: masks (the same array), channels (their names), corrected (whether a person changed them)."""
    stream = io.BytesIO()
    array = to_array(_masks(desk))
    np.savez_compressed(stream, masks=array, channels=np.array(CHANNELS), corrected=np.array(bool(desk.correction)))
    return stream.getvalue()


def mat(desk: Desk) -> bytes:
    """As the training data: `label_separated` in MATLAB v5."""
    return mat_bytes(_masks(desk))


def picture(desk: Desk) -> bytes:
    """The film with its vertebrae in colour, PNG."""
    return png_bytes(overlay(desk.oriented, _masks(desk)))


def labels(desk: Desk) -> bytes:
    """One grey value per vertebra, PNG."""
    return png_bytes(label_picture(_masks(desk)))


def report(desk: Desk) -> bytes:
    """JSON: model with its card, verdict, measurements, comparison; nothing of the file but size and spacing."""
    found, masks = desk.found, _masks(desk)
    assert found is not None and found.levels is not None, "a desk with masks has a model's answer"
    content: dict[str, Any] = {
        "spineseg": __version__,
        "use": DISCLAIMER,
        "film": {
            "rows": desk.film.shape[0],
            "columns": desk.film.shape[1],
            "spacing": desk.film.spacing and asdict(desk.film.spacing),
            "stored the wrong way round": desk.inverted,
        },
        "levels": asdict(found.levels),
        "corrected": {
            "names moved down the spine by": desk.correction.shift,
            "left out (the model's names)": [VERTEBRAE[k] for k in sorted(desk.correction.dropped)],
            "in words": desk.correction.said(found.present),
        }
        if desk.correction
        else None,
        "vertebrae": {name: _place(mask) for name, mask in zip(VERTEBRAE, masks, strict=True)},
        "measurements": desk.measurements.as_dict() if desk.measurements else None,
        "comparison": desk.comparison.as_dict() if desk.comparison else None,
        "computed": {"device": found.device, "seconds": round(found.seconds, 3)},
        "model": found.card,
    }
    return (json.dumps(content, indent=2, default=_plain) + "\n").encode()


KINDS: dict[str, tuple[Callable[[Desk], bytes], str]] = {
    "npy": (npy, ".npy"),
    "npz": (npz, ".npz"),
    "mat": (mat, ".mat"),
    "overlay": (picture, "-overlay.png"),
    "labels": (labels, "-labels.png"),
    "json": (report, ".json"),
}
"""What can be taken away, and how the name of its file ends."""


def ending(desk: Desk, kind: str) -> str:
    """How the file's name ends; one with corrected labels says so. Raises NothingChosen for another kind."""
    if kind not in KINDS:
        raise NothingChosen(f"Expected one of {', '.join(KINDS)}, got another kind of file; choose one")
    return ("-corrected" if desk.correction else "") + KINDS[kind][1]


def file(desk: Desk, kind: str) -> dict[str, str]:
    """One file for the browser to save: its ending and its bytes in base64."""
    last = ending(desk, kind)
    return {"ending": last, "content": base64.b64encode(KINDS[kind][0](desk)).decode()}


def zip_entry(desk: Desk, kind: str) -> dict[str, Any]:
    """One file as an entry of a ZIP: deflated here, put together and named in the browser. Source: APPNOTE.TXT 6.3."""
    content = KINDS[kind][0](desk)
    deflate = zlib.compressobj(6 if kind != "overlay" else 1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(content) + deflate.flush()
    return {
        "ending": ending(desk, kind),
        "crc": zlib.crc32(content),
        "size": len(content),
        "content": base64.b64encode(packed).decode(),
    }


def _masks(desk: Desk) -> Masks:
    if desk.bits is None:
        raise NothingChosen("Expected a film with masks, got none; press Segment first")
    return unpack(desk.bits)


def _place(mask: np.ndarray) -> dict[str, Any] | None:
    """Size, centre and box of a mask, (row, column); None for an empty one."""
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return None
    return {
        "pixels": int(rows.size),
        "centre_row_column": [round(float(rows.mean()), 2), round(float(columns.mean()), 2)],
        "box_rows": [int(rows.min()), int(rows.max()) + 1],
        "box_columns": [int(columns.min()), int(columns.max()) + 1],
    }


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"expected plain values, got {type(value).__name__}")
