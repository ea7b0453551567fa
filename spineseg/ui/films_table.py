"""A film's line in the tables of several films: what was found, and its measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from spineseg.film import VERTEBRAE
from spineseg.measure.figures import DEFINITIONS, Definition
from spineseg.measure.measurements import csv_cells, unmeasured
from spineseg.ui import texts
from spineseg.ui.language import ENGLISH, catalogues, speaking, translated
from spineseg.ui.session import SessionState


def figure_heads() -> list[dict[str, Any]]:
    """Each figure's key and, by language, its name with its unit, in the order of the table."""
    return [{"key": each.key, "names": {code: _head(each, code) for code in catalogues()}} for each in DEFINITIONS]


def _head(figure: Definition, code: str) -> str:
    """A grade's unit is its range."""
    with speaking(code):
        name, unit = translated(figure.name), translated(figure.unit)
        return texts.FIGURE_HEAD.format(name=name, unit=unit) if unit else name


def table_row(state: SessionState) -> dict[str, Any]:
    """A film's line in films.csv and, as `measured`, in the table of measurements; the browser adds its name.

    review: the film's place in the list where those to look at come first.
    """
    assert state.layer is not None and state.layer.levels is not None and state.bits is not None
    levels, seen = state.layer.levels, int(np.bitwise_or.reduce(state.bits, axis=None))
    return {
        "rows": state.film.shape[0],
        "columns": state.film.shape[1],
        "verdict": levels.verdict,
        "review": levels.review_order,
        "reasons": "; ".join(levels.reasons),
        "shift": levels.shift_cells,
        "remarks": "; ".join(_remarks(state)),
        "present": [bool(seen >> k & 1) and not state.held_back for k in range(len(VERTEBRAE))],
        "seconds": round(state.layer.seconds, 2),
        "measured": measured_cells(state),
    }


def measured_cells(state: SessionState) -> dict[str, str]:
    """By column of measurements.csv."""
    return csv_cells(state.measurements or unmeasured(state.film.spacing))


def _remarks(state: SessionState) -> tuple[str, ...]:
    """What to know of the film's file, and what a person changed; in English, as all of the tables."""
    with speaking(ENGLISH):
        corrected = (texts.CORRECTED, *state.changes.sentences) if state.changes else ()
    return (*state.film.remarks, *(() if state.inverted else state.remarks), *corrected)
