"""Several films: a line of each in films.csv and in the table of measurements, or of a person's masks."""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from predictions import predicted
from ui_fakes import FILM, Bands, bands, handlers, runs_of, segmented, simulated

from spineseg.film import VERTEBRAE, Film
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.io.labels import to_array
from spineseg.measure.figures import DEFINITIONS
from spineseg.measure.measurements import csv_columns, csv_row
from spineseg.ui.films_table import figure_heads, measured_cells, table_row
from spineseg.ui.session import SessionState


def test_cells_are_those_of_predict() -> None:
    film, model = simulated()
    state = handlers(model).segment(SessionState(film, "token"), "bands", False, "")
    assert state.layer and state.layer.levels and state.measurements
    row = dict(zip(csv_columns(), csv_row("a", state.layer.levels, state.measurements), strict=True))
    cells = measured_cells(state)
    assert cells.items() <= row.items() and float(cells["lordosis_L1_S1_deg"])
    assert {key for key, text in row.items() if text} - set(cells) == {"film", "verdict"}


def test_a_line_has_the_remarks_on_the_file_and_on_corrections() -> None:
    state = replace(segmented(), film=replace(FILM, remarks=("no pixel spacing", "8 bits")))
    assert table_row(state)["remarks"] == "no pixel spacing; 8 bits"
    assert table_row(state)["present"] == [True] * len(VERTEBRAE)
    assert state.bits is not None
    corrected = table_row(replace(state, corrected=np.where(state.bits == 1, 0, state.bits).astype(np.uint8)))
    assert corrected["remarks"] == "no pixel spacing; 8 bits; Corrected by hand; left out: what the model called L1"
    assert corrected["present"] == [False, *[True] * 5]


def test_a_picture_that_is_no_lumbar_film_has_a_line_without_figures() -> None:
    class Other(Bands):
        def __call__(self, film: Film, /) -> Prediction:
            return predicted(bands(), LevelReport((True,) * 6, (0.9,) * 6, 0.5, NOT_LUMBAR, ()))

    row = table_row(segmented(handlers(Other())))
    assert (row["verdict"], row["present"]) == (NOT_LUMBAR, [False] * 6)
    assert not set(row["measured"]) & {definition.key for definition in DEFINITIONS}
    assert f"L1: {NOT_LUMBAR}" in row["measured"]["left_out"]


def test_heads_are_in_the_order_of_the_columns() -> None:
    keys = [head["key"] for head in figure_heads()]
    assert keys == [column for column in csv_columns() if column in keys]
    assert figure_heads()[0] == {
        "key": "lordosis_L1_S1_deg",
        "names": {"en": "Lumbar lordosis, L1-S1 Cobb (deg)", "ko": "요추 전만각, L1-S1 코브각 (°)"},
    }


def test_a_batch_takes_the_masks_that_a_person_corrected(upload: dict) -> None:
    masks = bands()
    masks[0] = False
    answer = handlers().batch_film({"file": upload, "masks": runs_of(masks)}, "bands", False)
    assert not Path(upload["path"]).exists()
    files = {entry["ending"]: zlib.decompress(base64.b64decode(entry["content"]), -15) for entry in answer["entries"]}
    assert np.array_equal(np.load(io.BytesIO(files["-corrected.npy"])), to_array(masks))
    assert json.loads(files["-corrected.json"])["corrected"]["left out (the model's names)"] == ["L1"]
    assert answer["remarks"].startswith("Corrected by hand")


@pytest.mark.parametrize("masks", [[[1]], "masks", [[0]] * 6])
def test_masks_that_are_none_are_one_sentence_and_the_file_is_gone(upload: dict, masks: object) -> None:
    answer = handlers().batch_film({"file": upload, "masks": masks}, "bands", False)
    assert answer["error"] == "These masks are not of this film's size; open the film again"
    assert not Path(upload["path"]).exists()
