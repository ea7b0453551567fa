"""The shipped examples: simulated films, each with what the published weights make of it, computed beforehand.

That of `examples/NAME.dcm` is `results/NAME.npz`, written by `tools/make_examples.py`: `bits` (masks), `probabilities`
(0..255), `thumbnail` (bytes of a JPEG) and `stated` (JSON: the rest of the prediction, the card, the weights' digest).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from spineseg.exposed_field import Box
from spineseg.film import Film
from spineseg.inference.grid import GridFit
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.io.files import replacing
from spineseg.io.isolation import read_film_isolated
from spineseg.measure.errors import BoneMap
from spineseg.render import overlay
from spineseg.ui.correction import Bits, masks_to_bits, runs_of
from spineseg.ui.session import MaskLayer, SessionState

RESULTS = Path(__file__).with_name("results")
PUBLISHED = "published weights"
"""Stands for the model that made the results where it is not offered on the page."""
THUMBNAIL = (184, 138)
"""Rows and columns of a thumbnail, twice those on the page."""
_MARGIN = 0.3
"""Of the vertebrae's height, above and below them on a thumbnail."""
Picture = UInt8[np.ndarray, "rows columns rgb=3"]


@dataclass(frozen=True)
class Example:
    """path: of the film, `NAME.dcm`; its result need not be there."""

    path: Path

    @property
    def caption(self) -> str:
        """`2-sacrum-cut-off` as "Sacrum cut off"; the number only orders the examples."""
        return re.sub(r"[-_]", " ", re.sub(r"^\d+-", "", self.path.stem)).capitalize()

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The arrays of its result, `stated` as a dict; None where there is none."""
        path = RESULTS / f"{self.path.stem}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return {**arrays, "stated": json.loads(str(arrays["stated"]))}

    @property
    def thumbnail(self) -> str | None:
        """A JPEG with the masks as data URI."""
        if self.result is None:
            return None
        return "data:image/jpeg;base64," + base64.b64encode(self.result["thumbnail"].tobytes()).decode()

    def segmented(self, model: str) -> SessionState | None:
        """The film with the masks of its result, as if `model` had just made them; None where there are none."""
        if self.result is None:
            return None
        film = read_film_isolated(self.path).as_told(invert=False)  # so that this process need not load pydicom
        return SessionState(film, secrets.token_hex(12), self.path.stem, layer=_layer(model, self.result))


def is_published(weights: Path) -> bool:
    """Whether the results were made with these weights."""
    results = [Example(path).result for path in sorted(RESULTS.glob("*.npz"))]
    return weights.is_file() and bool(results[0]) and results[0]["stated"]["weights"] == digest(weights)


def digest(weights: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def write_result(path: Path, film: Film, prediction: Prediction, weights: Path, card: dict[str, Any]) -> None:
    """Write the result of the film that lies at `path`; the same prediction gives the same bytes.

    card: of the weights, as a dict. Raises ValueError for a film that was segmented inverted.
    """
    if prediction.inverted:
        raise ValueError("an example is shown as its file states it; choose a film with bright bone")
    stated = {
        "weights": digest(weights),
        "card": card,
        "levels": asdict(prediction.levels),
        "beyond": {level: runs_of(mask) for level, mask in prediction.beyond.items()},
        "seconds": round(prediction.seconds, 2),
        "device": prediction.device,
        "fit": {**asdict(prediction.fit), "field": _plain(prediction.fit.field)},
        "visible": _plain(prediction.visible),
    }
    arrays = {
        "bits": masks_to_bits(prediction.masks),
        "probabilities": np.rint(prediction.probabilities * 255).astype(np.uint8),
        "thumbnail": _jpeg(_thumbnail(film, prediction)),
        "stated": np.array(json.dumps(stated)),
    }
    with replacing(RESULTS / f"{path.stem}.npz") as stream:
        np.savez_compressed(stream, **arrays)


def _layer(model: str, result: dict[str, Any]) -> MaskLayer:
    stated, probabilities = result["stated"], result["probabilities"]
    levels: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in stated["levels"].items()
    }
    fit = GridFit(**{**stated["fit"], "field": _box(stated["fit"]["field"])})
    bone = np.minimum(probabilities.sum(0, dtype=np.float32) / 255, np.float32(1))
    bits: Bits = result["bits"]
    return MaskLayer(
        model,
        bits,
        LevelReport(**levels),
        stated["seconds"],
        stated["device"],
        stated["card"],
        probabilities,
        BoneMap(bone, fit, _box(stated["visible"])),
        beyond={int(level): runs for level, runs in stated["beyond"].items()},
    )


def _plain(box: Box) -> list[list[int]]:
    return [[side.start, side.stop] for side in box]


def _box(plain: list[list[int]]) -> Box:
    rows, columns = (slice(*side) for side in plain)
    return rows, columns


def _thumbnail(film: Film, prediction: Prediction) -> Picture:
    """The vertebrae in colour and what is around them."""
    picture, (rows, columns) = overlay(film, prediction.masks, names=False), THUMBNAIL
    found = np.argwhere(prediction.masks.any(0))
    top, bottom = found[:, 0].min(), found[:, 0].max()
    height = min(round((bottom - top) * (1 + 2 * _MARGIN)), film.shape[0], film.shape[1] * rows // columns)
    corner = np.rint((found.min(0) + found.max(0)) / 2 - np.array([height, height * columns / rows]) / 2)
    top, left = np.clip(corner, 0, np.array(film.shape) - [height, height * columns // rows]).astype(int)
    part = picture[top : top + height, left : left + height * columns // rows]
    return cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)


def _jpeg(picture: Picture) -> UInt8[np.ndarray, "byte"]:
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done, "OpenCV encodes every 8-bit picture"
    return encoded.ravel()
