"""The components written in JavaScript (upload fields, batch, viewer), and the payload that the viewer is sent.

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
from spineseg.measure.measurements import Line, csv_columns
from spineseg.render import DIFFERENCES, LEGEND, to_uint8
from spineseg.ui.compare import NOTHING, SHOWN
from spineseg.ui.correction import Bits
from spineseg.ui.films_table import figure_heads, measured_cells
from spineseg.ui.language import script_texts, translated
from spineseg.ui.measures import line_figures
from spineseg.ui.session import MaskLayer, SessionState
from spineseg.ui.values import about_values

JPEG_QUALITY = 90
Payload = dict[str, Any]
"""What the viewer is sent: a film, or what changed about the film that it shows.

film: its token. With a new film: name (of downloads; None for an upload, whose name only the browser knows), rows,
columns, spacing, aspect, hash (of its pixels), picture (a JPEG as data URI), noSegmentation (why no DICOM segmentation
can be downloaded, or "") and values (see `values.about_values`; the values themselves are asked for and sent apart).
lost: the server has that film no more.
a, b: the model's masks and those they are
compared with, None to remove them: title, corrected, undecoded (a model without a decoder, whose probability maps are
shown in a comparison), masks (gzip of one byte per pixel in base64), beyond (see `MaskLayer`) and, unless the viewer
has them already, maps (probability maps: their grid's size, and where it lies on the film). lines: measurement lines.
corners: of the vertebrae that were measured. file: a file to save. collected: the sentence that the film is in the
training folder.
"""
UNCHANGED: Payload = gr.skip()
"""Leaves the viewer as it is."""
SCRIPTS = {
    "upload": ("language.js", "files.js", "folders.js", "unzip.js", "upload.js"),
    "batch": ("language.js", "files.js", "folders.js", "unzip.js", "zip.js", "batch-table.js", "batch.js"),
    "viewer": (
        *(
            "language.js",
            "files.js",
            "viewer-1-state.js",
            "viewer-1-values.js",
            "viewer-2-draw.js",
            "viewer-3-lines.js",
        ),
        *("viewer-3-move.js", "viewer-3-window.js", "viewer-4-controls.js", "viewer-4-rulers.js"),
        *("viewer-5-masks.js", "viewer-6-history.js", "viewer-6-storage.js", "viewer-7-tools.js"),
        *("viewer-8-edit.js", "viewer-8-server.js", "viewer-9-downloads.js", "viewer-9-keyboard.js"),
        "viewer-9-waiting.js",
    ),
    "values": ("values.js",),
    "corrections": ("corrections.js",),
    "header": ("language.js", "header.js"),
    "about": ("language.js",),
    "measures": ("files.js", "measures.js"),
    "examples": ("examples.js",),
}
"""Each component's scripts, which run as one in this order."""


def upload_field(kind: str, max_bytes: int, *, several: bool = False, elem_id: str | None = None) -> gr.HTML:
    """A field that takes files, sends one under a random name and fires `upload`; its value is that file.

    kind: "film" or "reference". several: more than one file at once goes to `batch_panel`. elem_id: else the kind.
    """
    sections = ("upload", kind, *([elem_id] if elem_id else []))
    return _component("upload", sections, elem_id=elem_id or kind, kind=kind, max_bytes=max_bytes, several=several)


def batch_panel(max_bytes: int, *, collects: bool = False) -> gr.HTML:
    """Films one after the other into a list, one table and one ZIP, which the browser writes.

    Its value is the file to be segmented next. collects: films are mended to train on, so those to check come first.
    """
    tables = {"heads": figure_heads(), "measured": csv_columns(), "names": list(VERTEBRAE)}
    return _component("batch", ("batch",), elem_id="batch", max_bytes=max_bytes, collects=collects, **tables)


def viewer(value: Payload | None = None, *, collects: bool = False) -> gr.HTML:
    """A viewer of this film; an empty one without. collects: with a button that fires `collect`."""
    colours = [LEGEND[name].hex for name in CHANNELS]
    differences = [{"name": name, "colour": colour.hex} for name, colour in DIFFERENCES.items()]
    options = {"names": list(CHANNELS), "colours": colours, "differences": differences, "collects": collects}
    return _component("viewer", ("viewer",), elem_id="viewer", value=value, **options)


def values_receiver() -> gr.HTML:
    """What asks for a film's own values part by part and hands them to the viewer; its value is one part at a time.

    Beside the viewer, so that a part never takes the place of masks that arrive with it.
    """
    return gr.HTML(html_template="<i></i>", elem_id="values", js_on_load=script("values"), apply_default_css=False)


def fixed_text(name: str, elem_id: str, **options: Any) -> gr.HTML:
    """A file of `static/` whose script fills in the texts of the section of that name."""
    options |= {"texts": script_texts(name), "js_on_load": script(name), "apply_default_css": False}
    return gr.HTML(html_template=asset(f"{name}.html"), elem_id=elem_id, **options)


def update(before: SessionState | None, after: SessionState | None) -> Payload | None:
    """What turns a viewer of `before` into one of `after`; None for an empty viewer."""
    if after is None:
        return None
    payload: Payload = {"film": after.token}
    if before is None or _picture_of(before) != _picture_of(after):
        payload |= {"name": after.name, "picture": jpeg(to_uint8(after.shown_film)), **_about(after)}
        payload["noSegmentation"] = translated(after.no_segmentation)
        before = None
    shown = None if after.held_back else after.layer
    shown_before = None if before is None or before.held_back else before.layer
    if shown_before is not shown or (before and before.bits) is not after.bits:
        known = before is not None and shown_before is shown
        payload["a"] = shown and _layer(shown, after.bits, after.corrected is not None, with_maps=not known)
        payload |= _measured(after)
    payload |= _changed_sides(before, after)
    return payload if len(payload) > 1 else UNCHANGED


_DEFAULT_SIDES: dict[str, MaskLayer | str | None] = {"A": SHOWN, "B": None}


def _changed_sides(before: SessionState | None, after: SessionState) -> Payload:
    """The sides of the comparison that the viewer does not have yet; a new film begins with `_DEFAULT_SIDES`."""
    old, new = _DEFAULT_SIDES if before is None else _sides(before), _sides(after)
    changed = {
        name: _layer(layer, layer.bits, False) if isinstance(layer, MaskLayer) else layer
        for name, layer in new.items()
        if layer != old[name]
    }
    return {"sides": changed} if changed else {}


def _sides(state: SessionState) -> dict[str, MaskLayer | str | None]:
    """Both are None where they are the same."""
    if state.sides[0] == state.sides[1]:
        return {"A": None, "B": None}
    return {
        name: SHOWN if choice == SHOWN else state.side(choice) if choice != NOTHING else None
        for name, choice in zip("AB", state.sides, strict=True)
    }


def in_language(state: SessionState | None) -> Payload:
    """What the viewer says of a film in words that Python wrote, in the current language."""
    if state is None:
        return UNCHANGED
    return {
        "film": state.token,
        "lines": _measured(state)["lines"],
        "noSegmentation": translated(state.no_segmentation),
    }


def _picture_of(state: SessionState) -> tuple[str, int, bool]:
    """Equal where the same picture is shown."""
    return state.token, id(state.film.image), state.inverted


def after_correction(state: SessionState) -> Payload:
    """What a viewer is sent whose masks a person has just changed: what follows from them.

    forgotten: the film is not here any more, only what the browser sent of it. renumbered: see `SessionState`. cells:
    of the table of several films.
    """
    changed = {"corrected": state.corrected is not None, "renumbered": state.renumbered, "forgotten": state.forgotten}
    return {**changed, "cells": measured_cells(state), **_measured(state)}


def _about(state: SessionState) -> Payload:
    """Size, spacing, how grey values stand for the film's own, and a digest by which the browser knows it again."""
    film, (rows, columns) = state.film, state.film.shape
    spacing = film.spacing and [film.spacing.row_mm, film.spacing.column_mm, film.spacing.plane]
    values = about_values(state.shown_film, inverted=state.inverted)
    size = {"rows": rows, "columns": columns, "spacing": spacing, "aspect": film.aspect}
    return {**size, "hash": state.digest, "values": values}


def _measured(state: SessionState) -> Payload:
    """Measurement lines, and the corners of each vertebra that was measured, (row, column), one after the other."""
    measured = state.measurements
    if measured is None:
        return {"lines": [], "corners": [None for _ in VERTEBRAE]}
    figures = line_figures(measured)
    return {
        "lines": [_line(line, figures[line.name]) for line in measured.lines],
        "corners": [measured.corners.get(name) for name in VERTEBRAE],
    }


def _layer(layer: MaskLayer, bits: Bits | None, corrected: bool, *, with_maps: bool = True) -> Payload:
    sent: Payload = {
        "title": translated(layer.title),
        "corrected": corrected,
        "undecoded": layer.undecoded,
        "masks": None if bits is None else _gzipped(bits),
        "beyond": {str(level): runs for level, runs in layer.beyond.items()},
    }
    return {**sent, "maps": _maps(layer)} if with_maps else sent


def _maps(layer: MaskLayer) -> Payload | None:
    """Probability maps, and where their grid lies on the film: its corner, height and width in pixels."""
    if layer.probabilities is None or layer.bone_map is None:
        return None
    fit = layer.bone_map.fit
    return {
        "values": _gzipped(layer.probabilities),
        "rows": fit.rows,
        "columns": fit.columns,
        "top": fit.field[0].start - fit.row_offset / fit.row_scale,
        "left": fit.field[1].start - fit.column_offset / fit.column_scale,
        "height": fit.rows / fit.row_scale,
        "width": fit.columns / fit.column_scale,
    }


def _line(line: Line, figures: list[str]) -> Payload:
    """A measurement line with what it measures; one of a single vertebra is shown and hidden with it."""
    owners = [k for k, name in enumerate(VERTEBRAE) if line.name.split()[0] == name]
    owner = {"vertebra": owners[0]} if owners else {}
    return {
        "name": line.name,
        "title": translated(line.name),
        "figures": figures,
        "start": line.start,
        "end": line.end,
        **owner,
    }


def _gzipped(values: np.ndarray) -> str:
    return base64.b64encode(gzip.compress(np.ascontiguousarray(values).data, 3, mtime=0)).decode()


def jpeg(picture: UInt8[np.ndarray, "rows columns"]) -> str:
    """The picture as a data URI, for looking only."""
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV encodes every 8-bit grey picture"
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def asset(name: str) -> str:
    """The text of a file in `static/`."""
    return files("spineseg.ui").joinpath("static", name).read_text("utf-8")


def script(name: str) -> str:
    """A component's scripts as one."""
    return "\n".join(asset(part) for part in SCRIPTS[name])


def _component(name: str, sections: tuple[str, ...], **props: Any) -> gr.HTML:
    """The HTML, CSS and JavaScript of that name.

    sections: of the catalogue that its scripts say. props: what they find in `props`, and the HTML in `${}`.
    """
    return gr.HTML(
        html_template=asset(f"{name}.html"),
        css_template=asset(f"{name}.css"),
        js_on_load=script(name),
        apply_default_css=False,
        texts=script_texts(*sections),
        **props,
    )
