"""The parts of the page written in JavaScript (upload fields, viewer, several films), and what is sent to the viewer.

They are plain gr.HTML components, not subclasses: for a subclass Gradio writes a .pyi file beside this one.
"""

from __future__ import annotations

import base64
import gzip
from importlib.resources import files
from typing import Any

import cv2
import gradio as gr
import numpy as np
from jaxtyping import UInt8

from spineseg.film import CHANNELS, VERTEBRAE
from spineseg.measure.measurements import Line
from spineseg.render import DIFFERENCES, LEGEND, to_uint8
from spineseg.ui.correction import Bits
from spineseg.ui.session import Answer, Desk

JPEG_QUALITY = 90
Payload = dict[str, Any]
"""What the viewer is told: a film, or what changed about the film that it shows.

film: its token. With a new film: name (what downloads are called; None for an upload, whose name only the browser
knows), rows, columns, picture (a JPEG as data URI). a, b: the model's masks and those they are compared with, None to
take them away: title, corrected, undecoded (a model without rules, whose channels are shown in a comparison), masks
(gzip of one byte per pixel in base64) and, unless the viewer has them already, raw (the network's channels: their
grid's size, and where it lies on the film). lines: measuring lines. file: a file to save.
"""
KEEP: Payload = {"keep": True}
"""Leaves the viewer as it is. Gradio remembers each component's last value for the session: this makes it forget."""
SCRIPTS = ("viewer-state.js", "viewer-draw.js", "viewer-move.js", "viewer-controls.js", "viewer-files.js")


def upload_field(kind: str, lead: str, hint: str, max_bytes: int, *, several: bool = False) -> gr.HTML:
    """A field that takes files, sends one under a random name and fires `upload`; its value is that file.

    kind: "film" or "reference", also the element's id. several: more than one file at once goes to `several_films`.
    """
    return gr.HTML(
        **_parts("upload"), elem_id=kind, kind=kind, lead=lead, hint=hint, max_bytes=max_bytes, several=several
    )


def several_films(max_bytes: int) -> gr.HTML:
    """Films one after the other into one ZIP, which the browser writes; its value is the file to be segmented next."""
    return gr.HTML(**_parts("several"), elem_id="several", names=list(VERTEBRAE), max_bytes=max_bytes)


def viewer() -> gr.HTML:
    """An empty viewer; give it a `Payload`."""
    colours = [LEGEND[name].hex for name in CHANNELS]
    kinds = [{"name": name, "colour": colour.hex} for name, colour in DIFFERENCES.items()]
    parts = {**_parts("viewer", SCRIPTS), "elem_id": "viewer"}
    return gr.HTML(**parts, names=list(CHANNELS), colours=colours, differences=kinds)


def changes(before: Desk | None, after: Desk | None) -> Payload | None:
    """What the viewer must be told to show `after` where it shows `before`; None for an empty viewer."""
    if after is None:
        return None
    payload: Payload = {"film": after.token}
    fresh = before is None or (before.token, before.inverted) != (after.token, after.inverted)
    if fresh or before is None:
        rows, columns = after.film.shape
        payload |= {"name": after.name, "rows": rows, "columns": columns, "picture": jpeg(to_uint8(after.oriented))}
        before = None
    if (before and before.found) is not after.found or (before and before.correction != after.correction):
        known = before is not None and before.found is after.found
        payload["a"] = after.found and layer(after.found, after.bits, bool(after.correction), with_raw=not known)
        payload["lines"] = [_line(line) for line in after.measurements.lines] if after.measurements else []
    if (before and before.other) is not after.other:
        payload["b"] = after.other and layer(after.other, after.other.bits, False)
    return payload


def layer(answer: Answer, bits: Bits | None, corrected: bool, *, with_raw: bool = True) -> Payload:
    """One set of masks for the viewer."""
    sent: Payload = {
        "title": answer.title,
        "corrected": corrected,
        "undecoded": answer.undecoded,
        "masks": None if bits is None else _gzipped(bits),
    }
    if with_raw and answer.raw is not None and answer.bone_map is not None:
        fit = answer.bone_map.fit
        sent["raw"] = {
            "values": _gzipped(answer.raw),
            "rows": fit.rows,
            "columns": fit.columns,
            "top": -fit.row_offset / fit.row_scale,
            "left": -fit.column_offset / fit.column_scale,
            "height": fit.rows / fit.row_scale,
            "width": fit.columns / fit.column_scale,
        }
    elif with_raw:
        sent["raw"] = None
    return sent


def _line(line: Line) -> Payload:
    """A measuring line; one of a single vertebra goes with that vertebra's switch."""
    owners = [k for k, name in enumerate(VERTEBRAE) if line.name.split()[0] == name]
    return {"name": line.name, "start": line.start, "end": line.end, **({"vertebra": owners[0]} if owners else {})}


def _gzipped(values: np.ndarray) -> str:
    return base64.b64encode(gzip.compress(np.ascontiguousarray(values).data, 3, mtime=0)).decode()


def jpeg(picture: UInt8[np.ndarray, "rows columns"]) -> str:
    """The picture as a data URI, for looking only."""
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV encodes every 8-bit grey picture"
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def part(name: str) -> str:
    """The text of one of the files beside this one."""
    return files("spineseg.ui").joinpath(name).read_text("utf-8")


def _parts(name: str, scripts: tuple[str, ...] = ()) -> dict[str, Any]:
    """The HTML, CSS and JavaScript of one component; several scripts are one, in their order."""
    return {
        "html_template": part(f"{name}.html"),
        "css_template": part(f"{name}.css"),
        "js_on_load": "\n".join(part(script) for script in scripts or (f"{name}.js",)),
        "apply_default_css": False,
    }
