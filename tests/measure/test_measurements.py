"""Figures: against the simulator's true corners by other formulas, laws of flip, scale and turn, errors, tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from inference.test_corners import filled
from predictions import predicted
from scipy import ndimage
from small import rectangles

from spineseg.film import VERTEBRAE, BadInput, Masks, Spacing, bounding_box
from spineseg.inference.grid import grid_fit
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import CHECK, RELIABLE
from spineseg.measure.errors import BoneMap
from spineseg.measure.figures import DEFINITIONS, KEYS, MOST_ERROR, SOURCES, TABLE_HEAD
from spineseg.measure.formulas import genant_grade, meyerding_grade
from spineseg.measure.measurements import (
    Measurements,
    check_masks,
    csv_columns,
    csv_row,
    measure,
    measure_corners,
    measure_prediction,
)
from spineseg.model.config import GridConfig
from spineseg.simulate import SimulateConfig, exact_masks, true_corners

SPACING = Spacing(0.3, 0.3, "detector")
SURE = LevelReport((True,) * 6, (0.9,) * 6, 1.0, RELIABLE, ())


def spine(index: int, rows: int = 1400) -> np.ndarray:
    """True corners of a simulated spine that faces left, with room around it."""
    corners = true_corners(8000, index, SimulateConfig(rows=rows, crop_probability=0.0))
    return corners - corners.reshape(-1, 2).min(0) + 40


@cache
def measured_spine(index: int, rows: int = 700) -> Measurements:
    """Figures of a simulated spine's true masks, on a film that states its spacing."""
    return measure(masks_of(spine(index, rows)), SPACING)


def masks_of(corners: np.ndarray) -> Masks:
    """The pixels within each body, on a film with room around them."""
    rows, columns = (np.ceil(corners.reshape(-1, 2).max(0)).astype(int) + 40).tolist()
    return exact_masks(corners, rows, columns)


def expected(corners: np.ndarray) -> dict[str, float]:
    """The figures by complex numbers (x to the back, y to the head), independent of the code that is tested."""
    z = corners[..., 1] - 1j * corners[..., 0]
    upper, lower = z[:, 1] - z[:, 0], z[:, 2] - z[:, 3]
    turned = lambda a, b: float(np.degrees(np.angle(b / a)))  # noqa: E731
    found = {"lordosis_L1_S1_deg": turned(upper[0], upper[5]), "lordosis_L4_S1_deg": turned(upper[3], upper[5])}
    found["sacral_slope_deg"] = float(np.degrees(np.angle(upper[5])))
    for k in range(5):
        a, b = VERTEBRAE[k], VERTEBRAE[k + 1]
        found[f"{a}_{b}_segment_deg"] = turned(upper[k], upper[k + 1])
        found[f"{a}_{b}_disc_deg"] = turned(lower[k], upper[k + 1])
        found[f"{a}_{b}_slip_percent"] = float(100 * ((z[k + 1, 1] - z[k, 2]) / upper[k + 1]).real)
        along = lower[k] / abs(lower[k]) + upper[k + 1] / abs(upper[k + 1])
        gaps = [((z[k, 3] - z[k + 1, 0]) / along).imag, ((z[k, 2] - z[k + 1, 1]) / along).imag]
        found[f"{a}_{b}_disc_ratio"] = float(sum(gaps) * abs(along) / (abs(upper[k]) + abs(lower[k])))
        front, back = abs(z[k, 0] - z[k, 3]), abs(z[k, 1] - z[k, 2])
        found[f"{a}_anterior_posterior_ratio"] = float(front / back)
    return found


@pytest.mark.parametrize("index", range(5))
def test_true_masks_give_the_true_figures(index: int):
    """Angles within half a degree, ratios within 0.01 and slips within 1 %, of exact pixels of the true bodies.

    On a film of common size: where a body is 60 px deep, the steps of its pixels alone leave a degree undecided.
    """
    measured, truth = measured_spine(index, 2600), expected(spine(index, 2600))
    assert measured.facing == "left" and measured.left_out == {}
    for key, value in truth.items():
        limit = 0.5 if key.endswith("_deg") else 1.0 if key.endswith("_percent") else 0.01
        assert measured[key].value == pytest.approx(value, abs=limit), key


def blocks(wedge: dict[str, tuple[float, float]] | None = None, slip: dict[str, float] | None = None) -> np.ndarray:
    """Bodies 100 px deep and 80 high over discs of 20, each turned by 10 degrees against the next from L3 down.

    wedge: anterior and posterior height of a body. slip: how far a body and all above it lie in front, in px.
    """
    bodies, turn, back = [], 0.0, np.array([700.0, 400.0])
    for name in reversed(VERTEBRAE):
        turn = {"S1": 40.0, "L5": 30.0, "L4": 20.0, "L3": 10.0}.get(name, 0.0)
        front_px, back_px = (wedge or {}).get(name, (80.0, 80.0))
        c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        deep, high = 100 * np.array([-s, c]), np.array([-c, -s])  # from front to back, and to the head
        back = back - deep / 100 * (slip or {}).get(name, 0.0)
        low_back, low_front = back, back - deep
        bodies.append([low_front + high * front_px, low_back + high * back_px, low_back, low_front])
        back = low_back + high * (back_px + 20)
    return np.array(bodies[::-1])


@cache
def plain_blocks() -> Measurements:
    return measure(masks_of(blocks()), Spacing(0.5, 0.5, "detector"))


def test_figures_that_can_be_checked_by_eye():
    measured = measure(masks_of(blocks(wedge={"L2": (52.0, 80.0)}, slip={"L4": 30.0})), Spacing(0.5, 0.5, "detector"))
    assert measured["L2_anterior_posterior_ratio"].value == pytest.approx(0.65, abs=0.01)
    assert measured["L2_compression_percent"].value == pytest.approx(35, abs=1)
    assert measured["L2_genant_grade"].value == 2 and measured["L3_genant_grade"].value == 0
    assert measured["L4_L5_slip_percent"].value > 20 and measured["L4_L5_slip_percent"].unit == "%"
    assert measured["L4_L5_meyerding_grade"].value in (1, 2)
    assert measured["L3_depth_mm"].value == pytest.approx(50, abs=0.5)
    assert measured["L3_depth_mm"].unit == "mm at the detector"
    assert measured["sacral_slope_deg"].value == pytest.approx(40, abs=0.5)
    plain = plain_blocks()
    assert plain["L1_L2_disc_ratio"].value == pytest.approx(0.2, abs=0.01)
    assert plain["L1_L2_disc_height_mm"].value == pytest.approx(10, abs=0.4)


@pytest.mark.parametrize(
    ("forward_px", "word", "grade"),
    [(18.0, "anterolisthesis", 1), (-12.0, "retrolisthesis", 0), (-18.0, "retrolisthesis", 1)],
)
def test_a_slip_has_its_direction_and_grade_and_does_not_change_the_disc(forward_px: float, word: str, grade: int):
    measured = measure(masks_of(blocks(slip={"L1": forward_px})))
    slip = measured["L1_L2_slip_percent"]
    assert slip.value == pytest.approx(forward_px, abs=1) and slip.unit == "%"
    (row,) = (row for row in measured.table() if row.key == "L1_L2_slip_percent")
    assert (row.name, row.value) == (f"L1 on L2 {word}", abs(slip.value)), "signed once, by its name"
    assert row.cells[0] == f"L1 on L2 {word}" and float(row.cells[1]) > 0
    assert measured["L1_L2_meyerding_grade"].value == grade
    assert measured["L1_L2_disc_ratio"].value == pytest.approx(plain_blocks()["L1_L2_disc_ratio"].value, abs=0.01)


def sunken(corners: np.ndarray, level: int, sag_px: float) -> Masks:
    """The masks of bodies, one of them with its upper endplate sunk by that much in the middle."""
    masks, body = masks_of(corners), corners[level]
    t, along = np.linspace(0, 1, 50)[:, None], body[1] - body[0]
    down = np.array([along[1], -along[0]]) / np.linalg.norm(along)
    endplate = body[0] + along * t + 4 * t * (1 - t) * sag_px * down
    masks[level] = filled(np.concatenate([endplate, body[2:]]), masks.shape[1:])
    return masks


@pytest.mark.parametrize("sag", [8, 16, 20])
def test_a_sunken_endplate_lowers_the_middle_alone(sag: int):
    measured = measure(sunken(blocks(), 2, sag))
    assert measured["L3_middle_posterior_ratio"].value == pytest.approx(1 - sag / 80, abs=0.03)
    assert measured["L3_anterior_posterior_ratio"].value == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("grade", "values", "grades"),
    [
        (genant_grade, (-3, 0, 19.9, 20, 24.9, 25, 39.9, 40, 99), [0, 0, 0, 1, 1, 2, 2, 3, 3]),
        (meyerding_grade, (0, 4.9, 5, 24.9, 25, 50, 75, 100, 120), [0, 0, 1, 1, 2, 3, 4, 5, 5]),
        (meyerding_grade, (-5, -14.9, -15, -24.9, -25, -50, -75, -100), [0, 0, 1, 1, 2, 3, 4, 5]),
    ],
)
def test_grades_begin_where_they_should(grade: Callable[[float], int], values: tuple[float, ...], grades: list[int]):
    assert [grade(float(value)) for value in values] == grades


def test_segments_add_up_to_the_lordosis():
    measured = measured_spine(2)
    segments = [measured[f"{a}_{b}_segment_deg"].value for a, b in pairwise(VERTEBRAE)]
    assert sum(segments) == pytest.approx(measured["lordosis_L1_S1_deg"].value)
    assert sum(segments[3:]) == pytest.approx(measured["lordosis_L4_S1_deg"].value)


def differences(a: Measurements, b: Measurements) -> dict[str, float]:
    assert list(a.figures) == list(b.figures)
    return {key: abs(a[key].value - b[key].value) for key in a.figures}


def test_a_mirrored_film_has_the_same_figures():
    mirrored = measure(np.ascontiguousarray(masks_of(spine(1, 700))[:, :, ::-1]), SPACING)
    assert mirrored.facing == "right"
    assert max(differences(measured_spine(1), mirrored).values()) < 0.1


def test_the_size_and_the_shape_of_pixels_change_nothing():
    """A film twice as large with half the spacing, and one with rows three quarters as many."""
    corners = spine(3, 800)
    found = measured_spine(3, 800)
    large = measure(masks_of(corners * 2 + 0.5), Spacing(0.15, 0.15, "patient"))
    for key, difference in differences(found, large).items():
        limit = 0.9 if key.endswith("_deg") else 1.0 if key.endswith(("_percent", "_grade")) else 0.4
        assert difference < (0.02 if key.endswith("_ratio") else limit), key
    assert (found["L3_depth_mm"].unit, large["L3_depth_mm"].unit) == ("mm at the detector", "mm calibrated")
    oblong = measure(masks_of(corners * [0.75, 1.0]), Spacing(0.4, 0.3, "detector"))
    assert oblong["lordosis_L1_S1_deg"].value == pytest.approx(found["lordosis_L1_S1_deg"].value, abs=1.0)
    assert oblong["L3_middle_height_mm"].value == pytest.approx(found["L3_middle_height_mm"].value, abs=0.3)
    assert np.allclose(np.array(oblong.corners["L3"]), np.array(found.corners["L3"]) * [0.75, 1], atol=1.5)


@pytest.mark.parametrize("turn", [-20, 75, 180])
def test_a_turned_film_turns_the_sacral_slope_and_nothing_else(turn: int):
    corners = spine(1)
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    turned = corners @ np.array([[c, s], [-s, c]])
    turned = turned - turned.reshape(-1, 2).min(0) + 40
    before, after = measured_spine(1, 1400), measure(masks_of(turned), SPACING)
    for key, difference in differences(before, after).items():
        if key != "sacral_slope_deg":
            limit = 0.7 if key.endswith("_deg") else 1.0 if key.endswith("_percent") else 0.3
            assert difference < (0.015 if key.endswith(("_ratio", "_grade")) else limit), key
    moved = after["sacral_slope_deg"].value - before["sacral_slope_deg"].value
    assert (moved - turn + 180) % 360 - 180 == pytest.approx(0, abs=0.5)


def test_no_spacing_no_millimetres():
    without = measure(masks_of(spine(0, 700)))
    assert tuple(measured_spine(0).figures) == KEYS and len(set(KEYS)) == len(KEYS)
    assert tuple(without.figures) == tuple(key for key in KEYS if not key.endswith("_mm"))
    assert all(without[key] == measured_spine(0)[key] for key in without.figures), "the same every time"


def test_nothing_is_said_of_a_vertebra_that_cannot_be_measured():
    masks = masks_of(spine(0, 700))
    missing = measure(masks, usable=("L1", "L2", "L3", "L5", "S1"))
    assert missing.left_out == {"L4": "level uncertain"}
    assert [key for key in missing.figures if "L4" in key] == []
    assert "lordosis_L1_S1_deg" in missing.figures and not any(line.name.startswith("L4") for line in missing.lines)
    cut = measure(masks[:, : int(np.flatnonzero(masks[5].any(1))[-1]) - 20])
    assert cut.left_out == {"S1": "cut by the edge of the film"} and "sacral_slope_deg" not in cut.figures


def test_nothing_is_said_of_a_vertebra_that_a_shutter_cuts():
    seen = blurred(3.0)
    rows = slice(int(np.flatnonzero(seen.masks[0].any(1))[0]) + 20, 10_000)
    cut = measure_prediction(replace(seen, visible=(rows, slice(0, 10_000))))
    assert cut.left_out == {"L1": "cut by the edge of what the film shows"}
    assert "lordosis_L1_S1_deg" not in cut.figures and "lordosis_L4_S1_deg" in cut.figures


def column() -> Masks:
    """Equal blocks above each other without any curve."""
    return rectangles((700, 200), 30, 105, 85, 40, 110)


def test_no_figure_where_front_and_back_cannot_be_told():
    measured = measure(column())
    assert measured.facing is None and measured.figures == {} and measured.lines == ()
    assert set(measured.left_out.values()) == {"which side is the front cannot be told"}
    assert measure(np.zeros((6, 64, 64), bool)).figures == {}


@cache
def measured_blurred(soft: float) -> Measurements:
    return measure_prediction(blurred(soft))


def blurred(soft: float, levels: LevelReport = SURE) -> Prediction:
    """What a network might find: the true masks, softened on a grid of the film's own size."""
    masks = masks_of(spine(0, 700))
    config = GridConfig(rows=masks.shape[1], columns=masks.shape[2])
    soft_masks = np.stack([ndimage.gaussian_filter(mask.astype(np.float32), soft) for mask in masks])
    return predicted(masks, levels, probabilities=soft_masks, fit=grid_fit(masks.shape[1:], config))


def test_softer_edges_make_larger_errors():
    sharp, soft = measured_blurred(1.0), measured_blurred(3.0)
    assert sharp.error_from == soft.error_from == "probability"
    for key, figure in sharp.figures.items():
        assert (figure.error is None) == key.endswith("_grade")
        assert figure.error is None or 0 < figure.error < (soft[key].error or 0), key
    assert 1.5 < (soft["lordosis_L1_S1_deg"].error or 0) / (sharp["lordosis_L1_S1_deg"].error or 1) < 6


def test_a_vertebra_whose_level_is_uncertain_is_left_out():
    doubtful = LevelReport((True,) * 6, (0.9, 0.9, 0.1, 0.9, 0.9, 0.9), 1.0, CHECK, ("level uncertain: L3",))
    assert measure_prediction(blurred(1.0, doubtful)).left_out == {"L3": "level uncertain"}


def test_softness_of_a_logistic_edge_is_its_deviation():
    """A ramp of scale 3 px between bone and none, read across its edge."""
    rows = np.arange(200, dtype=np.float32)
    bone = np.repeat((1 / (1 + np.exp(-(rows - 100) / 3)))[:, None], 50, 1).astype(np.float32)
    places = BoneMap(bone, grid_fit((200, 50), GridConfig(rows=200, columns=50)))
    across = np.stack([np.linspace(60, 140, 801), np.full(801, 25.0)], 1)
    p = places.probability(across)
    assert (p * (1 - p)).sum() * 0.1 == pytest.approx(3.0, abs=0.02)
    assert places.sharpness(np.array([[100.0, 25.0]]))[0] == pytest.approx(1 / 12, abs=0.002)


def test_what_is_too_uncertain_is_withheld_with_its_grade():
    """Noise of which a network makes bodies: sides so soft that their lines may meet anywhere."""
    seen = blurred(3.0)
    flat = np.full_like(seen.probabilities, 0.15)
    measured = measure_prediction(replace(seen, probabilities=flat), Spacing(0.5, 0.5, "detector"))
    kept = [(key, figure.error) for key, figure in measured.figures.items() if figure.error is not None]
    gone = {"L1_L2_slip_percent", "L1_L2_meyerding_grade"}
    assert "L1 slip on L2" in measured.withheld and not gone & set(measured.figures)
    units = {definition.key: definition.unit for definition in DEFINITIONS}
    assert all(error <= MOST_ERROR[units[key]] for key, error in kept)
    assert measured.as_dict()["withheld"] == measured.withheld
    assert measured_blurred(3.0).withheld == ()


def test_a_side_that_no_edge_shows_has_a_large_error():
    """Bone that goes on across the disc of L3 and L4, as where two bodies have grown together."""
    seen = blurred(1.0)
    fused = seen.probabilities.copy()
    fused[2][bounding_box(seen.masks[2] | seen.masks[3])] = 1.0
    sharp, grown = measured_blurred(1.0), measure_prediction(replace(seen, probabilities=fused))
    for key in ("L3_L4_disc_deg", "L3_L4_disc_ratio"):
        assert (grown[key].error or 0) > 5 * (sharp[key].error or 1)
    assert (grown["L1_L2_disc_deg"].error or 0) < 1.5 * (sharp["L1_L2_disc_deg"].error or 0)


def test_l5_low_behind_is_healthy_and_its_sunken_middle_is_not():
    corners = blocks(wedge={"L5": (88.0, 72.0)})
    healthy = measure_corners(corners)
    assert healthy.error_from == "nothing" and {row.error for row in healthy.table()} == {None}
    assert healthy["L5_compression_percent"].value < 2
    sunk = measure(sunken(corners, 4, 24))
    assert 22 < sunk["L5_compression_percent"].value < 30.5  # 30; a hollow so deep pulls the corners in a little
    assert sunk["L5_genant_grade"].value >= 1


def test_the_front_can_be_stated():
    left, kyphotic = plain_blocks(), measure(masks_of(blocks()), facing="right")
    assert (left.facing, kyphotic.facing) == ("left", "right")
    assert kyphotic["lordosis_L1_S1_deg"].value == pytest.approx(-left["lordosis_L1_S1_deg"].value, abs=0.01)
    flat = measure(column(), facing="left")
    assert flat["L3_anterior_posterior_ratio"].value == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shape", [(60, 40, 7), (5, 60, 40), (60, 40)])
def test_another_array_is_refused_with_what_to_do(shape: tuple[int, ...]):
    with pytest.raises(BadInput, match="6 x rows x columns"):
        check_masks(np.zeros(shape, bool))
    with pytest.raises(BadInput, match="uint8"):
        check_masks(np.zeros((6, 60, 40), np.uint8))
    check_masks(np.zeros((6, 60, 40), bool))


def test_lines_end_where_the_figures_say():
    lines = {line.name: np.array([line.start, line.end]) for line in plain_blocks().lines}
    assert len(lines) == 2 * 5 + 3 * 5 + 2 + 3 * 5
    assert np.linalg.norm(np.diff(lines["L1 posterior height"], axis=0)) == pytest.approx(80, abs=1)
    (r0, c0), (r1, c1) = lines["S1 upper endplate"]
    assert np.degrees(np.arctan2(r0 - r1, c1 - c0)) == pytest.approx(40, abs=0.5)
    start, end = lines["sacral slope horizontal"]
    assert start[0] == end[0]


def test_tables_hold_what_was_measured():
    measured = measured_spine(0)
    first = ["Lumbar lordosis, L1-S1 Cobb", "Lower lumbar lordosis, L4-S1 Cobb", "Sacral slope"]
    assert [row.name for row in measured.table()][:3] == first
    assert {"L1 Genant grade", "L5 on S1 Meyerding grade"} <= {row.name for row in measured.table()}
    assert {row.source for row in measured.table()} <= set(SOURCES)
    stored = json.loads(json.dumps(measured.as_dict(), allow_nan=False))
    assert stored["figures"]["sacral_slope_deg"]["value"] == measured["sacral_slope_deg"].value
    assert stored["millimetres"] == "detector" and len(stored["corners_row_column"]["L1"]) == 4
    text = io.StringIO()
    csv.writer(text).writerows([csv_columns(), csv_row("a film", SURE, measured, ("no spacing", "8 bits"))])
    (row,) = csv.DictReader(io.StringIO(text.getvalue()))
    assert row["remarks"] == "no spacing; 8 bits"
    assert row["film"] == "a film" and row["verdict"] == RELIABLE and row["millimetres"] == "detector"
    assert float(row["sacral_slope_deg"]) == pytest.approx(measured["sacral_slope_deg"].value, rel=1e-3)
    assert all(row[key] for key in KEYS)
    nothing = csv_row("b", SURE, measure(np.zeros((6, 64, 64), bool)))
    assert len(nothing) == len(csv_columns()) and set(nothing[7:]) == {""}


def test_cells_hold_the_interval_and_the_unit_as_plain_numbers():
    measured = measured_blurred(3.0)
    cells = {row.key: dict(zip(TABLE_HEAD, row.cells, strict=True)) for row in measured.table()}
    figure = measured["lordosis_L1_S1_deg"]
    row = cells["lordosis_L1_S1_deg"]
    assert figure.error and (row["unit"], row["source"]) == ("deg", "Cobb 1948")
    ends = [float(row[end]) for end in ("95 % from", "value", "95 % to")]
    assert ends == pytest.approx([figure.value - figure.error, figure.value, figure.value + figure.error], rel=1e-3)
    assert cells["L2_genant_grade"] | {"source": ""} == dict(
        zip(
            TABLE_HEAD,
            ("L2 Genant grade", f"{measured['L2_genant_grade'].value:g}", "", "", "grade 0-3", ""),
            strict=True,
        )
    )


def test_every_figure_has_lines_and_every_line_a_figure():
    measured = plain_blocks()
    drawn = {line.name for line in measured.lines}
    shown = [set(row.lines) for row in measured.table()]
    assert all(lines and lines <= drawn for lines in shown)
    assert set().union(*shown) == drawn


def test_an_aspect_alone_squares_the_pixels_of_angles():
    """Every second row left out: pixels twice as high, and no spacing that says so."""
    masks = masks_of(spine(0, 700))
    square, high = measure(masks), measure(masks[:, ::2], row_to_column=2.0)
    for key in ("lordosis_L1_S1_deg", "sacral_slope_deg", "L3_L4_disc_deg", "L3_anterior_posterior_ratio"):
        assert high[key].value == pytest.approx(square[key].value, rel=0.03, abs=1.5)
    assert measure(masks[:, ::2])["lordosis_L1_S1_deg"].value != pytest.approx(
        square["lordosis_L1_S1_deg"].value, abs=5
    )
