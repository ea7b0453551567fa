"""Downloads as bytes: arrays, pictures, MATLAB, a report, measurements. The browser names the files."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spineseg import __version__
from spineseg.film import CHANNELS, VERTEBRAE, Masks
from spineseg.io.isolation import segmentation_isolated
from spineseg.io.labels import mat_bytes, to_array
from spineseg.io.pictures import png_bytes
from spineseg.render import label_picture, overlay
from spineseg.ui import texts
from spineseg.ui.correction import BadRequest, bits_to_masks
from spineseg.ui.language import ENGLISH, speaking
from spineseg.ui.measures import comma_separated
from spineseg.ui.session import SessionState

BATCH_KINDS = ("npy", "overlay", "labels", "json")
"""What the ZIP of a batch holds of each film; of a picture that looks like no lateral lumbar film, no masks."""
WITHOUT_MASKS = ("overlay", "json")


def npy(state: SessionState) -> bytes:
    """`numpy.save` of rows x columns x channels, uint8."""
    stream = io.BytesIO()
    np.save(stream, to_array(_masks(state)), allow_pickle=False)
    return stream.getvalue()


def npz(state: SessionState) -> bytes:
    """Compressed: masks (the same array), channels (their names), corrected (whether a person changed them)."""
    stream = io.BytesIO()
    array = to_array(_masks(state))
    np.savez_compressed(
        stream, masks=array, channels=np.array(CHANNELS), corrected=np.array(state.corrected is not None)
    )
    return stream.getvalue()


def mat(state: SessionState) -> bytes:
    """As the training data: `label_separated` in MATLAB v5."""
    return mat_bytes(_masks(state))


def picture(state: SessionState) -> bytes:
    """The film with its vertebrae in colour, PNG."""
    if state.forgotten:
        raise BadRequest(texts.NEEDS_FILM)
    masks = _masks(state)
    return png_bytes(overlay(state.shown_film, np.zeros_like(masks) if state.held_back else masks))


def labels(state: SessionState) -> bytes:
    """One grey value per vertebra, PNG."""
    return png_bytes(label_picture(_masks(state)))


def report(state: SessionState) -> bytes:
    """JSON: model with its card, verdict, measurements, comparison; nothing of the file but size and spacing."""
    masks = _masks(state)
    with speaking(ENGLISH):  # a file for programs is the same in every language
        content = _report(state, masks)
    return (json.dumps(content, indent=2, default=_plain) + "\n").encode()


def _report(state: SessionState, masks: Masks) -> dict[str, Any]:
    layer = state.layer
    return {
        "spineseg": __version__,
        "use": texts.DISCLAIMER,
        "film": {
            "rows": state.film.shape[0],
            "columns": state.film.shape[1],
            "spacing": state.film.spacing and asdict(state.film.spacing),
            "remarks": (*state.film.remarks, *state.remarks),
            "inverted by hand": state.inverted,
        },
        "levels": asdict(layer.levels) if layer and layer.levels else None,
        "corrected": _corrected(state),
        "vertebrae": {name: _extent(mask) for name, mask in zip(VERTEBRAE, masks, strict=True)},
        "measurements": state.measurements.as_dict() if state.measurements else None,
        "comparison": state.comparison.as_dict() if state.comparison else None,
        "computed": {"device": layer.device, "seconds": round(layer.seconds, 3)} if layer else None,
        "model": layer.card if layer else None,
    }


def segmentation(state: SessionState, film: Path) -> bytes:
    """DICOM SEG as `predict --dicom-seg` writes it, of the film's own file; without any patient field."""
    changed = state.changes
    by_hand = () if state.corrected is None else changed.settled if changed else VERTEBRAE
    model = state.layer.title if state.layer else texts.BY_HAND
    return segmentation_isolated(film, _masks(state), model=model, by_hand=by_hand)


def _corrected(state: SessionState) -> dict[str, Any] | None:
    """What a person changed; None where nothing was."""
    if state.corrected is None:
        return None
    return state.changes.as_dict() if state.changes else {"in words": [texts.MODEL_UNKNOWN]}


KINDS: dict[str, tuple[Callable[[SessionState], bytes], str]] = {
    "npy": (npy, ".npy"),
    "npz": (npz, ".npz"),
    "mat": (mat, ".mat"),
    "overlay": (picture, "-overlay.png"),
    "labels": (labels, "-labels.png"),
    "json": (report, ".json"),
    "csv": (comma_separated, "-measurements.csv"),
}
"""What can be downloaded, and how the name of the file ends."""
SEGMENTATION, SEGMENTATION_ENDING = "seg", ".seg.dcm"
"""What can be downloaded too, where the film's own file is sent with the request."""


def ending(state: SessionState, kind: str) -> str:
    """How the file's name ends; one of masks that a person changed says so. Raises BadRequest for another kind."""
    endings = {**{key: last for key, (_, last) in KINDS.items()}, SEGMENTATION: SEGMENTATION_ENDING}
    if kind not in endings:
        raise BadRequest(texts.UNKNOWN_DOWNLOAD.format(", ".join(endings)))
    return ("" if state.corrected is None else "-corrected") + endings[kind]


def file(state: SessionState, kind: str, film: Path | None = None) -> dict[str, str]:
    """One file for the browser to save: the end of its name and its bytes in base64.

    film: the film's own file, which a DICOM segmentation refers to.
    """
    last = ending(state, kind)
    if kind != SEGMENTATION:
        content = KINDS[kind][0](state)
    elif film is None:
        raise BadRequest(texts.NEEDS_FILE)
    else:
        content = segmentation(state, film)
    return {"ending": last, "content": base64.b64encode(content).decode()}


def zip_entry(state: SessionState, kind: str) -> dict[str, Any]:
    """One file as an entry of a ZIP: deflated here, named and put together in the browser. Source: APPNOTE.TXT 6.3."""
    content = KINDS[kind][0](state)
    deflate = zlib.compressobj(6 if kind != "overlay" else 1, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflate.compress(content) + deflate.flush()
    return {
        "ending": ending(state, kind),
        "crc": zlib.crc32(content),
        "size": len(content),
        "content": base64.b64encode(deflated).decode(),
    }


def _masks(state: SessionState) -> Masks:
    if state.bits is None:
        raise BadRequest(texts.NO_MASKS_TO_DOWNLOAD)
    return bits_to_masks(state.bits)


def _extent(mask: np.ndarray) -> dict[str, Any] | None:
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
