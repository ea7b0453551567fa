"""A film's line in the tables of several films: what was found, and its measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from spineseg.film import VERTEBRAE
from spineseg.measure.figures import DEFINITIONS
from spineseg.measure.measurements import csv_cells, unmeasured
from spineseg.ui import texts
from spineseg.ui.language import ENGLISH, catalogues, speaking
from spineseg.ui.session import SessionState


def figure_heads() -> list[dict[str, Any]]:
    """Key, names by language and unit of each figure, in the order of the table; a grade's unit is its range."""
    languages = catalogues().items()
    return [
        {"key": each.key, "unit": each.unit, "names": {code: own.translated(each.name) for code, own in languages}}
        for each in DEFINITIONS
    ]


def table_row(state: SessionState) -> dict[str, Any]:
    """A film's line in films.csv and, as `measured`, in the table of measurements; the browser adds its name."""
    assert state.layer is not None and state.layer.levels is not None and state.bits is not None
    levels, seen = state.layer.levels, int(np.bitwise_or.reduce(state.bits, axis=None))
    return {
        "rows": state.film.shape[0],
        "columns": state.film.shape[1],
        "verdict": levels.verdict,
        "reasons": "; ".join(levels.reasons),
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
