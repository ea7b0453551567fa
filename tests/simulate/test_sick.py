"""simulate: every kind of sick spine changes what it names, by the degree that stands on the film's card."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool, Float

from spineseg.film import BadInput, Case
from spineseg.io.folder import find_films, read_findings, write_case
from spineseg.simulate import KINDS, SickConfig, SimulateConfig, only, simulate_case, true_corners, write_folder
from spineseg.simulate.alignment import cobb_deg, kyphose, slip, slip_percent
from spineseg.simulate.canvas import Canvas
from spineseg.simulate.case import exact_masks, outline_masks
from spineseg.simulate.column import Column
from spineseg.simulate.findings import PAINTERS, SHAPERS, afflict, draw_degrees, paint_findings
from spineseg.simulate.fractures import collapse, fracture
from spineseg.simulate.implants import instrument
from spineseg.simulate.presentation import Placement, compose, place, retouch
from spineseg.simulate.shape import ShapeConfig, SpineShape, sample_spine
from spineseg.simulate.soft_tissue import paint_ribs
from spineseg.simulate.variants import NUMBERINGS, renumber

SMALL = SimulateConfig(rows=192, crop_probability=0.0, face_right_probability=0.0)
HEALTHY = ShapeConfig(slip_probability=0.0, narrow_disc_probability=0.0, fracture_probability=0.0)
L3, L4, L5, S1 = 2, 3, 4, 5
Mask = Bool[np.ndarray, "rows columns"]


def spine(seed: int = 3) -> SpineShape:
    return sample_spine(np.random.default_rng(seed), HEALTHY)


def sick(kind: str, degree: float | None = None) -> SimulateConfig:
    return replace(SMALL, sick=only(kind, degree))


def masks_of(column: Column, pixel_mm: float = 0.25) -> Bool[np.ndarray, "vertebra rows columns"]:
    """The column's named bodies as pixels, with no film around them."""
    outlines = [line[:, ::-1] for line in column.spine().outlines()]
    low = np.min([line.min(0) for line in outlines], 0) - 5
    size = np.ceil((np.max([line.max(0) for line in outlines], 0) - low + 5) / pixel_mm).astype(int)
    return outline_masks([(line - low) / pixel_mm for line in outlines], int(size[0]), int(size[1]))


def wall_mm(mask: Mask, corner: Float[np.ndarray, "2 rc=2"], pixel_mm: float = 0.25) -> float:
    """Height of a mask along a line just inside two of its corners."""
    places = np.linspace(corner[0], corner[1], 400)
    inside = mask[tuple(np.clip(np.round(places).astype(int), 0, np.array(mask.shape) - 1).T)]
    return float(inside.mean() * np.linalg.norm(corner[1] - corner[0]) * pixel_mm)


@pytest.mark.parametrize("kind", ["wedge", "crush", "biconcave"])
@pytest.mark.parametrize("loss", [25.0, 60.0])
def test_a_fracture_takes_the_height_that_it_names(kind: str, loss: float):
    healthy, column = Column.of(spine()), Column.of(spine())
    index = column.first_lumbar + L3
    found = collapse(column, index, kind, loss, np.random.default_rng(5))
    assert found[0].name == f"{kind} fracture" and found[0].degree == loss and found[0].where == ("L3",)
    front, back = (np.linalg.norm(column.bodies[index, a] - column.bodies[index, b]) for a, b in ((0, 3), (1, 2)))
    before = np.linalg.norm(healthy.bodies[index, 1] - healthy.bodies[index, 2])
    sunk = -column.look.bow_mm[index, [0, 2]].sum()
    if kind == "wedge":
        assert front / back == pytest.approx(1 - loss / 100) and back == pytest.approx(before)
    if kind == "crush":
        assert back / before == pytest.approx(1 - loss / 100, rel=2e-3) and front < 0.95 * before
    if kind == "biconcave":
        assert sunk / ((front + back) / 2) == pytest.approx(loss / 100)
    areas = [masks_of(one)[L3].sum() for one in (column, healthy)]
    assert 1 - loss / 100 - 0.12 < areas[0] / areas[1] < 1 - loss / 100 * 0.3


def test_a_wedge_of_60_percent_has_two_fifths_of_its_back_in_front_on_the_mask():
    column = Column.of(spine())
    index = column.first_lumbar + L3
    collapse(column, index, "wedge", 60.0, np.random.default_rng(1))
    column.look.bow_mm[:] = 0
    low = np.min([line.min(0) for line in column.spine().outlines()], 0)[::-1] - 5
    corners = (column.bodies[index][:, ::-1] - low) / 0.25
    inwards = corners + (corners[[1, 0, 3, 2]] - corners) * 0.03
    mask = masks_of(column)[L3]
    ratio = wall_mm(mask, inwards[[0, 3]]) / wall_mm(mask, inwards[[1, 2]])
    assert ratio == pytest.approx(0.4, abs=0.04)


def test_one_to_five_bodies_collapse():
    counts = set()
    for seed in range(60):
        found = fracture(Column.of(spine()), 0.5, np.random.default_rng(seed))
        counts.add(len({f.where for f in found if f.name.endswith("fracture")}))
        assert all(20 <= f.degree <= 50 for f in found if f.name.endswith("fracture"))
    assert counts == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("degree", [0.0, 0.5, 1.0])
def test_a_kyphosis_has_the_angle_that_it_names(degree: float):
    for seed in range(6):
        column = Column.of(spine(seed))
        (found,) = kyphose(column, degree, np.random.default_rng(seed))
        first, last = (column.names.index(name) for name in found.where)
        assert found.degree == 15 + 45 * degree
        column.separate()
        column.balance(0.7, 0.0)
        assert cobb_deg(column, first, last) == pytest.approx(found.degree, abs=0.01)


@pytest.mark.parametrize("degree", [0.1, 0.4, 0.6, 1.0])
def test_a_slip_has_the_share_that_it_names_on_the_masks(degree: float):
    column = Column.of(spine())
    found = slip(column, degree, np.random.default_rng(2))[0]
    joint = column.names.index(found.where[1])
    column.separate()
    assert slip_percent(column, joint) == pytest.approx(found.degree, abs=1.0)
    masks = masks_of(column)
    upper, lower = (np.argwhere(masks[column.names.index(n) - column.first_lumbar])[:, ::-1] for n in found.where)
    across = column.bodies[joint, 0] - column.bodies[joint, 1]
    length = float(np.linalg.norm(across))
    back = [np.percentile(points @ (across / length) * 0.25, 0.3) for points in (upper, lower)]
    # The lowest points along the endplate are the posterior walls, S1's being its own upper corner.
    assert (back[0] - back[1]) / length * 100 == pytest.approx(found.degree, abs=35)
    assert masks.sum(0).max() == 1


def test_grades_of_slips_go_up_to_four():
    grades = set()
    for degree in np.linspace(0, 1, 12):
        found = slip(Column.of(spine()), float(degree), np.random.default_rng(0))[0]
        grades.add(int(min(found.degree, 99.9) // 25) + 1)
    assert grades == {1, 2, 3, 4}


def test_a_scoliosis_leans_and_turns_more_with_its_angle():
    leans, spins = [], []
    for degree in (0.0, 0.5, 1.0):
        column = Column.of(spine())
        (found,) = SHAPERS["scoliosis"](column, degree, np.random.default_rng(4))
        assert found.degree == 10 + 50 * degree
        leans.append(np.abs(column.look.lean_deg).max())
        spins.append(np.abs(column.look.spin_deg).max())
    assert leans == sorted(leans) and spins == sorted(spins) and spins[-1] > 15


def test_worn_discs_are_thinner_by_what_they_name():
    before, column = Column.of(spine()), Column.of(spine())
    found = SHAPERS["degeneration"](column, 1.0, np.random.default_rng(8))
    fused = {f.where for f in found if f.name == "fused bodies"}
    narrow = [f for f in found if f.name == "narrow disc" and f.where not in fused]
    assert narrow
    for finding in narrow:
        joint = column.names.index(finding.where[1])
        expected = max(before.gap_mm(joint) * (1 - finding.degree / 100), 0.3)
        assert column.gap_mm(joint) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("degree", [0.0, 0.4, 1.0])
def test_implants_span_one_to_six_levels(degree: float):
    levels = 1 + round(5 * degree)
    for seed in range(12):
        column = Column.of(spine())
        for finding in instrument(column, degree, np.random.default_rng(seed)):
            if finding.name in ("pedicle screws", "anterior plate"):
                first, last = (column.names.index(finding.where[k]) for k in (0, -1))
                assert finding.degree == last - first == levels


def test_screws_saturate_and_reach_from_the_arch_into_the_body():
    column = Column.of(spine())
    found = next(
        made
        for seed in range(20)
        if (made := instrument(column, 0.0, np.random.default_rng(seed)))[0].name == "pedicle screws"
    )
    shape = column.spine()
    low = shape.column.min((0, 1)) - 40
    canvas = Canvas(np.zeros((900, 500), np.float32), 0.5, (float(low[0]), float(low[1])))
    paint_findings(canvas, shape, tuple(found[:1]), np.ones(3), np.random.default_rng(0))
    for name in found[0].where:
        body = shape.column[shape.column_names.index(name)]
        row, column_ = (np.argwhere(outline_masks([canvas.to_pixels(body)[:, ::-1]], 900, 500)[0])).T
        inside = canvas.attenuation[row, column_]
        assert 0.03 < (inside > 0.8).mean() < 0.6
    assert canvas.attenuation.max() > 2


def test_six_lumbar_bodies_have_no_ribs_and_four_have_one_pair_more():
    names = {}
    for seed in range(60):
        column = Column.of(spine())
        (found,) = renumber(column, 1.0, np.random.default_rng(seed))
        names[found.name] = (found.degree, column.look.lumbar_like)
    assert set(names) == set(NUMBERINGS)
    assert names["six lumbar bodies"] == (6, 1) and names["four lumbar bodies"] == (4, -1)


@pytest.mark.parametrize(("lumbar_like", "lowest"), [(1, "T11"), (0, "T12"), (-1, "L1")])
def test_no_rib_starts_below_the_lowest_body_with_ribs(lumbar_like: int, lowest: str):
    shape = spine()
    shape = replace(shape, look=replace(shape.look, lumbar_like=lumbar_like))
    low = shape.column.min((0, 1)) - 150
    ink = np.zeros(len(shape.column))
    for seed in range(30):
        canvas = Canvas(np.zeros((600, 500), np.float32), 1.0, (float(low[0]), float(low[1])))
        paint_ribs(canvas, shape, np.random.default_rng(seed))
        for index, body in enumerate(shape.column):
            x, y = np.round(canvas.to_pixels(body[1:2] + [14.0, 10.0])[0]).astype(int)
            ink[index] += canvas.attenuation[y - 8 : y + 8, x - 6 : x + 6].sum()
    last = shape.column_names.index(lowest)
    assert ink[last] > 0 and ink[last - 1] > 0
    assert ink[last + 1 :].sum() < 0.35 * ink[last]


def test_six_bodies_are_drawn_above_the_sacrum_and_the_lowest_five_are_named():
    """The uppermost of the six has the arch of a lumbar body and no name; masks are those of an ordinary film."""
    shape = spine()
    column = Column.of(shape)
    column.look = replace(column.look, lumbar_like=1)
    assert np.array_equal(masks_of(column), masks_of(Column.of(shape)))
    lumbar = len(column.bodies) - 1 - (column.first_lumbar - column.look.lumbar_like)
    assert lumbar == 6


def test_a_lumbarised_s1_stands_over_a_disc_and_a_sacralised_l5_close_to_the_sacrum():
    before = Column.of(spine())
    for seed in range(60):
        column = Column.of(spine())
        (found,) = renumber(column, 1.0, np.random.default_rng(seed))
        away = np.linalg.norm(column.sacral[0, :2].mean(0) - column.bodies[-1, 2:].mean(0))
        if found.name == "lumbarised S1":
            assert away > 4
        if found.name == "sacralised L5":
            joint = len(column.bodies) - 1
            assert column.gap_mm(joint) < 0.5 * before.gap_mm(joint)


def test_a_child_is_small_and_its_discs_are_thick():
    child, adult = simulate_case(6, 1, sick("child", 1.0)), simulate_case(6, 1, SMALL)
    assert [f.name for f in child.findings] == ["child"] and child.findings[0].degree == 5
    sizes = []
    for case in (child, adult):
        assert case.film.spacing is not None
        sizes.append(np.sqrt(case.masks[L3].sum()) * case.film.spacing.row_mm)
    assert 15 < sizes[0] < 0.75 * sizes[1]
    column = Column.of(spine())
    gap = column.gap_mm(column.first_lumbar + L3)
    SHAPERS["child"](column, 1.0, np.random.default_rng(0))
    assert column.gap_mm(column.first_lumbar + L3) > 1.2 * gap


def test_thin_bone_attenuates_less():
    column = Column.of(spine())
    (found,) = SHAPERS["osteoporosis"](column, 1.0, np.random.default_rng(0))
    assert found.degree == pytest.approx(90) and np.allclose(column.look.density, 0.1)


def test_a_film_that_is_turned_and_small_keeps_its_masks_on_its_bones():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        placement, found = place(300, 200, 0.8, rng)
        film = np.zeros((300, 200), np.float32)
        film[100:160, 80:130] = 1.0
        corners = np.array([(99.5, 79.5), (99.5, 129.5), (159.5, 129.5), (159.5, 79.5)])
        assert found and placement.names
        mask = outline_masks([placement.points(corners)], *placement.shape)[0]
        shown = compose(film, replace(placement, page=0.0, names=("turned",)), 0.0, rng)
        assert shown.shape == placement.shape
        assert np.mean(mask != (shown > 0.5)) < 0.004


def test_a_turned_film_is_turned_by_what_it_names_and_a_small_one_has_larger_pixels():
    for seed in range(30):
        placement, found = place(300, 200, 1.0, np.random.default_rng(seed))
        degrees = {f.name: f.degree for f in found}
        if placement.names == ("turned",):
            along = placement.points(np.array([(0.0, 0.0), (0.0, 100.0)]))
            (down,), (right,) = np.diff(along, axis=0)[:, :1].T, np.diff(along, axis=0)[:, 1:].T
            assert abs(np.degrees(np.arctan2(down, right))) == pytest.approx(30)
        if placement.names == ("small in the picture",):
            assert placement.scale is not None
            assert placement.scale * 100 == pytest.approx(degrees["small in the picture"])
            assert placement.scale < 0.5


@pytest.mark.parametrize("name", ["faint", "evenly grey", "burnt out", "digitised"])
def test_a_tone_takes_away_contrast_as_it_says(name: str):
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (128, 1))
    ramp[::2] = np.clip(ramp[::2] + 0.1, 0, 1)
    shown = retouch(ramp, 1.0, name, 1.0, np.random.default_rng(1))
    assert shown.shape == ramp.shape and shown.min() >= 0 and shown.max() <= 1
    if name == "faint":
        assert np.ptp(cv2_blur(shown)) < 0.2
    if name == "burnt out":
        assert ((shown == 0) | (shown == 1)).mean() > 0.25
    if name == "evenly grey":
        assert np.abs(np.diff(shown[:, 20:100], axis=0)).mean() < np.abs(np.diff(ramp[:, 20:100], axis=0)).mean()


def cv2_blur(image: np.ndarray) -> np.ndarray:
    return image.reshape(16, 8, 16, 8).mean((1, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_stands_on_the_card_and_its_masks_are_disjoint(kind: str):
    case, again = (simulate_case(12, 4, sick(kind, 0.7)) for _ in range(2))
    assert np.array_equal(case.film.image, again.film.image) and case.findings == again.findings
    assert case.findings and case.masks.sum(0).max() == 1
    assert case.masks.any((1, 2)).sum() >= 5
    ordinary = simulate_case(12, 4, SMALL)
    assert not ordinary.findings
    same = case.film.image.shape == ordinary.film.image.shape
    assert not (same and np.array_equal(case.film.image, ordinary.film.image))


def test_a_share_of_films_is_sick_and_the_others_are_as_without():
    mixed = replace(SMALL, rows=96, sick=SickConfig(share=0.4))
    plain = replace(SMALL, rows=96)
    count = 0
    for index in range(30):
        one, other = simulate_case(21, index, mixed), simulate_case(21, index, plain)
        count += bool(one.findings)
        if not one.findings:
            assert np.array_equal(one.film.image, other.film.image) and np.array_equal(one.masks, other.masks)
    assert 6 <= count <= 18


def test_kinds_combine():
    drawn = [draw_degrees(np.random.default_rng(k), SickConfig(share=1.0)) for k in range(200)]
    assert all(drawn) and max(map(len, drawn)) > 4
    assert set().union(*drawn) == set(KINDS)


def test_every_shaped_finding_is_painted_or_is_shape_alone():
    shape_alone = {
        *("narrow disc", "sclerosis", "bone thrown out behind", "bone thrown out in front", "kyphosis", "scoliosis"),
        *("slip", "six lumbar bodies", "four lumbar bodies"),
    }
    names = set()
    for seed in range(60):
        shape = sample_spine(np.random.default_rng(seed), HEALTHY)
        names |= {f.name for f in afflict(shape, dict.fromkeys(SHAPERS, 0.9), np.random.default_rng(seed))[1]}
    assert names - set(PAINTERS) == shape_alone


def test_a_kind_that_there_is_not_is_refused():
    with pytest.raises(BadInput, match="the simulator draws no gout; take one of fracture, "):
        only("gout")


def test_true_corners_lie_on_the_masks_of_a_sick_film():
    config = sick("placement", 0.8)
    case, corners = simulate_case(9, 2, config), true_corners(9, 2, config)
    assert np.mean(case.masks != exact_masks(corners, *case.film.shape)) < 1e-3


def test_findings_are_written_beside_the_film_and_read_back(tmp_path: Path):
    write_folder(tmp_path, 4, 21, replace(SMALL, rows=96, sick=SickConfig(share=0.5)), write=write_case)
    found = {files.name: read_findings(tmp_path, files.name) for files in find_films(tmp_path)}
    cases = [simulate_case(21, k, replace(SMALL, rows=96, sick=SickConfig(share=0.5))) for k in range(4)]
    assert found == {case.name: case.findings for case in cases}
    assert 0 < len(list((tmp_path / "findings").iterdir())) < 4
    broken = next((tmp_path / "findings").iterdir())
    broken.write_text("{}]")
    with pytest.raises(BadInput, match="expected findings as simulate"):
        read_findings(tmp_path, broken.stem)


def test_outlines_with_corners_alone_are_filled_as_quadrilaterals_are():
    corners = true_corners(3, 1, SMALL)
    rows, columns = simulate_case(3, 1, SMALL).film.shape
    different = exact_masks(corners, rows, columns) != outline_masks(list(corners), rows, columns)
    assert different.sum() <= 2  # pixels on a border


def test_an_unchanged_placement_changes_nothing():
    film = np.random.default_rng(0).random((20, 10), dtype=np.float32)
    placement = Placement.unchanged(20, 10)
    assert compose(film, placement, 0.0, np.random.default_rng(0)) is film
    assert placement.scale == 1


def test_bodies_stay_apart_however_many_kinds_meet():
    for index in range(12):
        case: Case = simulate_case(31, index, replace(SMALL, sick=SickConfig(share=1.0)))
        rows = [np.nonzero(mask)[0].mean() for mask in case.masks if mask.any()]
        assert case.masks.sum(0).max() == 1
        if not any(f.name in ("turned", "slip", "kyphosis") for f in case.findings):
            assert all(a < b for a, b in pairwise(rows))
