"""Measurements as people read them: by value, without a second sign, with their lines, as text for a spreadsheet."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ui_fakes import handlers, segmented, simulated

from spineseg.measure.figures import DEFINED, TABLE_HEAD, Figure, Row
from spineseg.measure.measurements import Measurements
from spineseg.ui import measures
from spineseg.ui.session import SessionState


@cache
def state() -> SessionState:
    film, model = simulated()
    return handlers(model).segment(SessionState(film, "token"), "bands", False, "")


def measured() -> Measurements:
    found = state().measurements
    assert found
    return found


def row(key: str, value: float, unit: str, error: float | None) -> Row:
    return DEFINED[key].row(Figure(key, "", value, unit, error, "a source"))


@pytest.mark.parametrize(
    ("key", "value", "unit", "error", "name", "printed", "interval"),
    [
        ("lordosis_L1_S1_deg", 48.26, "deg", 4.4, "Lumbar lordosis, L1-S1 Cobb", "48.3°", "43.9 to 52.7"),
        ("lordosis_L4_S1_deg", 31.4, "deg", 12.0, "Lower lumbar lordosis, L4-S1 Cobb", "31°", "19 to 43"),
        ("L4_L5_slip_percent", -7.0, "%", 5.0, "L4 on L5 retrolisthesis", "7.0 %", "2.0 to 12.0"),
        ("L4_L5_slip_mm", 2.44, "mm at the detector", 1.0, "L4 on L5 anterolisthesis", "2.4 mm", "1.4 to 3.4"),
        ("L4_L5_meyerding_grade", 0.0, "grade 0-5", None, "L4 on L5 Meyerding grade", "0", ""),
        ("L1_genant_grade", 2.0, "grade 0-3", None, "L1 Genant grade", "2", ""),
        ("L1_L2_disc_ratio", 0.214, "", 0.1, "L1/L2 disc height / depth of L1", "0.21", "0.11 to 0.31"),
        ("L1_L2_disc_deg", -0.04, "deg", 0.03, "L1/L2 disc angle", "-0.04°", "-0.07 to -0.01"),
        ("L1_L2_disc_deg", -0.04, "deg", 2.0, "L1/L2 disc angle", "0.0°", "-2.0 to 2.0"),
    ],
)
def test_a_row_is_signed_once_and_has_no_more_digits_than_it_deserves(
    key: str, value: float, unit: str, error: float | None, name: str, printed: str, interval: str
) -> None:
    line = row(key, value, unit, error)
    assert (line.name, measures.value_text(line), measures.interval_text(line)) == (name, printed, interval)


def test_the_table_has_a_line_for_each_figure_with_its_lines_and_source() -> None:
    panel = measures.measurements(state())
    lines = re.findall(r'<tr tabindex="-?\d" data-lines="([^"]+)" title="([^"]+)"><th scope="row">([^<]+)</th>', panel)
    table = measured().table()
    assert [(html.unescape(name), source) for _, source, name in lines] == [(each.name, each.source) for each in table]
    assert [tuple(json.loads(html.unescape(names))) for names, _, _ in lines] == [each.lines for each in table]
    assert panel.count('tabindex="0"') == 1, "one stop of the Tab key"
    topics = re.findall(r'scope="rowgroup">([^<]+)', panel)
    assert topics == ["Alignment", "Slips", "Discs", "Vertebral bodies"]
    head = re.findall(r'<th scope="col">([^<]+)', panel)
    assert head == ["Measurement", "Value", "95 % interval"]


def test_the_copied_table_is_that_of_the_panel() -> None:
    (copied,) = re.findall(r'data-copy="([^"]+)"', measures.measurements(state()))
    rows = list(csv.reader(io.StringIO(html.unescape(copied)), delimiter="\t"))
    assert tuple(rows[0]) == TABLE_HEAD
    assert [tuple(cells) for cells in rows[1:]] == [each.cells for each in measured().table()]
    assert all(float(cells[1]) == float(cells[1]) for cells in rows[1:]), "numbers"


def test_a_line_says_what_it_measures() -> None:
    figures = measures.line_figures(measured())
    assert set(figures) == {line.name for line in measured().lines}
    (height,) = figures["L2 anterior height"]
    value, error = measured()["L2_anterior_height_mm"].value, measured()["L2_anterior_height_mm"].error
    assert error and error > 10, "so that no decimal is printed"
    assert height == f"L2 anterior height {value:.0f} mm ({value - error:.0f} to {value + error:.0f})"
    slip = figures["L3 slip on L4"]
    assert len(slip) == 3 and all(
        re.match(r"L3 on L4 (antero|retro)listhesis [\d.]+ (%|mm) \(", each) for each in slip[:2]
    )
    assert re.fullmatch(r"L3 on L4 Meyerding grade \d", slip[2])
    assert any(each.startswith("Lumbar lordosis, L1-S1 Cobb") for each in figures["S1 upper endplate"])
    assert figures["sacral slope horizontal"][0].startswith("Sacral slope ")


def test_csv_says_what_is_corrected_and_what_is_left_out() -> None:
    rows = list(csv.DictReader(io.StringIO(measures.comma_separated(state()).decode())))
    assert [line["measurement"] for line in rows if line["value"]] == [each.name for each in measured().table()]
    assert {line["remark"] for line in rows if line["value"]} == {""}
    bits = state().bits
    assert bits is not None
    without = replace(state(), corrected=np.where(bits == 4, 0, bits).astype(np.uint8))
    rows = list(csv.DictReader(io.StringIO(measures.comma_separated(without).decode())))
    assert {line["remark"] for line in rows if line["value"]} == {"Corrected by hand"}
    assert any(line["remark"].startswith("Not measured: L3: ") for line in rows if not line["value"])
    assert not any("L3" in line["measurement"] for line in rows)


def test_where_nothing_is_measured_there_is_no_table() -> None:
    assert "<table" not in measures.measurements(segmented()), "bars are no bodies"
    assert "Not measured" in measures.measurements(segmented())
    assert measures.measurements(None) == '<p class="note">Measurements appear once a film is segmented.</p>'
