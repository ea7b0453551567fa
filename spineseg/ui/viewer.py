"""The two parts of the page written in JavaScript (upload field, viewer), and what is sent to the viewer.

They are plain gr.HTML components, not subclasses: for a subclass Gradio writes a .pyi file beside this one.
"""

from __future__ import annotations

import base64
import gzip
from importlib.resources import files
from typing import Any, NotRequired, TypedDict

import cv2
import gradio as gr
import numpy as np
from jaxtyping import UInt8

from spineseg.film import CHANNELS, Film, Masks
from spineseg.levels import LevelReport
from spineseg.render import LEGEND, to_uint8

JPEG_QUALITY = 90


class Payload(TypedDict):
    """What the viewer shows: one picture, and the masks once there are some.

    film: token of the film; the viewer keeps its zoom while this stays the same.
    name: what downloads are called; None for an upload, whose name only the browser knows.
    picture: the film as a JPEG data URI. masks: gzip of one byte per pixel, bit k set = vertebra k, in base64.
    present, confidence (0..1): per vertebra.
    """

    film: str
    name: str | None
    rows: int
    columns: int
    picture: str
    masks: str | None
    present: NotRequired[list[bool]]
    confidence: NotRequired[list[float]]


KEEP = {"keep": True}
"""Leaves the viewer as it is. Gradio remembers each component's last value for the session: this makes it forget."""


def upload_field(max_bytes: int) -> gr.HTML:
    """A field that takes one film, sends it under a random name and fires `upload`; its value is that file."""
    return gr.HTML(**_parts("upload"), elem_id="film", max_bytes=max_bytes)


def viewer() -> gr.HTML:
    """An empty viewer; give it a `Payload`."""
    colours = [LEGEND[name].hex for name in CHANNELS]
    return gr.HTML(**_parts("viewer"), elem_id="viewer", names=list(CHANNELS), colours=colours)


def show_film(film: Film, token: str, name: str | None = None) -> Payload:
    """The film without masks."""
    rows, columns = film.shape
    return Payload(film=token, name=name, rows=rows, columns=columns, picture=jpeg(to_uint8(film)), masks=None)


def show_masks(shown: Payload, masks: Masks, levels: LevelReport) -> Payload:
    """The film as already shown, with masks over it."""
    packed = base64.b64encode(gzip.compress(bit_mask(masks).tobytes(), 3, mtime=0)).decode()
    confidence = [round(float(value), 3) for value in levels.confidence]
    return {**shown, "masks": packed, "present": list(levels.present), "confidence": confidence}


def bit_mask(masks: Masks) -> UInt8[np.ndarray, "rows columns"]:
    """Bit k of a pixel is vertebra k; 0 is the background."""
    bits = np.zeros(masks.shape[1:], np.uint8)
    for k, mask in enumerate(masks):
        bits |= mask.view(np.uint8) << k
    return bits


def jpeg(picture: UInt8[np.ndarray, "rows columns"]) -> str:
    """The picture as a data URI, for looking only."""
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV encodes every 8-bit grey picture"
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def part(name: str) -> str:
    """The text of one of the files beside this one."""
    return files("spineseg.ui").joinpath(name).read_text("utf-8")


def _parts(name: str) -> dict[str, Any]:
    """The HTML, CSS and JavaScript of one component."""
    return {
        "html_template": part(f"{name}.html"),
        "css_template": part(f"{name}.css"),
        "js_on_load": part(f"{name}.js"),
        "apply_default_css": False,
    }
