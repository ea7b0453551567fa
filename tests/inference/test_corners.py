"""Corners from masks: of exact quadrilaterals, hollow ones, ragged ones, with osteophytes, turned, mirrored, scaled."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from spineseg.film import VERTEBRAE
from spineseg.inference.corners import KeptFits, NoBody, contour, fit_body
from spineseg.io.folder import labelled_films, read_case
from spineseg.measure.spine import read_spine, touches_edge
from spineseg.simulate import SimulateConfig, true_corners

DOWN = np.array([1.0, 0.0])
BODY = np.array([(40.3, 30.8), (37.2, 150.1), (121.9, 156.4), (128.6, 27.5)])
SHAPE = (180, 190)


def drawn(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies within a convex quadrilateral, corners clockwise on the film."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = np.ones(shape, bool)
    for (r0, c0), (r1, c1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        inside &= (r1 - r0) * (columns - c0) <= (c1 - c0) * (rows - r0)
    return inside


def filled(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels of any outline, by eightfold oversampling."""
    fine = np.zeros((shape[0] * 8, shape[1] * 8), np.uint8)
    cv2.fillPoly(fine, [np.round(((outline[:, ::-1] + 0.5) * 8 - 0.5) * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return fine[4::8, 4::8].astype(bool)


def missed_px(mask: np.ndarray, corners: np.ndarray, down: np.ndarray = DOWN) -> float:
    return float(np.linalg.norm(fit_body(mask, down).corners - corners, axis=1).max())


def test_the_contour_runs_between_the_pixels():
    mask = np.zeros((6, 7), bool)
    mask[2:4, 1:5] = True
    points = contour(mask)
    assert len(points) == 12
    assert set(points[:, 0]) == {1.5, 2.0, 3.0, 3.5} and set(points[:, 1]) == {0.5, 1.0, 2.0, 3.0, 4.0, 4.5}
    assert len(contour(np.zeros((3, 3), bool))) == 0


def test_holes_and_specks_are_no_contour():
    mask = drawn(BODY, SHAPE)
    spoiled = mask.copy()
    spoiled[70:80, 80:90] = False
    spoiled[2:5, 2:5] = True
    assert np.array_equal(contour(spoiled), contour(mask))


@pytest.mark.parametrize("rows", [slice(7, 8), slice(0, 40)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_line_is_no_body(rows: slice, turned: bool):
    """Neither one of pixels nor a slanting one; every warning is an error here."""
    mask = np.zeros((40, 40), bool)
    mask[rows, 5:35] = np.eye(40, dtype=bool)[rows, 5:35] | (rows.stop - rows.start == 1)
    with pytest.raises(NoBody, match="too short for a vertebral body"):
        fit_body(np.ascontiguousarray(mask.T) if turned else mask, DOWN)


def hollow(corners: np.ndarray, sag_px: float) -> np.ndarray:
    """An outline whose four sides bend inwards by that much."""
    t = np.linspace(0, 1, 40)[:, None]
    sides = []
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        inward = np.array([b[1] - a[1], a[0] - b[0]]) / np.linalg.norm(b - a)
        sides.append(a + (b - a) * t + 4 * t * (1 - t) * sag_px * inward)
    return np.concatenate(sides)


def test_hollow_sides_keep_their_corners():
    """A waist of 9 px is a tenth of the height; straight lines through it put every corner some 8 px inside."""
    mask = filled(hollow(BODY, 9.0), SHAPE)
    body = fit_body(mask, DOWN)
    assert np.linalg.norm(body.corners - BODY, axis=1).max() < 3.0
    assert np.linalg.norm(body.middles[0] - (BODY[0] + BODY[1]) / 2) == pytest.approx(9.0, abs=0.7)


def test_rounded_corners_are_made_sharp():
    soft = cv2.GaussianBlur(drawn(BODY, SHAPE).astype(np.float32), (0, 0), 7.0)
    assert missed_px(soft > 0.5, BODY) < 0.8


def test_ragged_edges_move_corners_little(rng: np.random.Generator):
    """An edge that wanders by 2 px (one deviation) over stretches of some 6 px."""
    body = drawn(BODY, SHAPE)
    inside, outside = (np.asarray(ndimage.distance_transform_edt(side)) for side in (body, ~body))
    depth = inside - outside
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), 3.0)
    ragged = depth + 2 * noise / noise.std() > 0
    assert 0.85 < (ragged & body).sum() / (ragged | body).sum() < 0.97
    assert missed_px(ragged, BODY) < 6.0


def test_osteophytes_move_corners_little():
    """Two beaks in front, 20 px long on a body of 120; a hull would go along with them."""
    beaks = [np.array([(40, 33), (44, 12), (58, 31)]), np.array([(128, 32), (124, 10), (108, 31)])]
    mask = drawn(BODY, SHAPE) | filled(beaks[0], SHAPE) | filled(beaks[1], SHAPE)
    assert missed_px(mask, BODY) < 6.0


def test_a_sharp_part_of_a_side_counts_for_more_than_a_blurred_one():
    """A ledge over the back third of the upper endplate, which the probability shows as soft."""
    mask = drawn(BODY, SHAPE) | filled(np.array([(39, 100), (30, 100), (28, 150), (38, 150)]), SHAPE)
    even = fit_body(mask, DOWN).corners
    weighted = fit_body(mask, DOWN, 1.0, lambda points: np.where((points[:, 1] > 95) & (points[:, 0] < 45), 0.1, 1.0))
    assert np.linalg.norm(weighted.corners[1] - BODY[1]) < 0.5 * np.linalg.norm(even[1] - BODY[1])


@pytest.mark.parametrize("turn", [30, 90, 150, 180, 270])
def test_a_turned_body_has_the_same_corners_turned(turn: int):
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    rotate = np.array([[c, s], [-s, c]])
    corners = (BODY - [85, 90]) @ rotate + [110, 110]
    assert missed_px(drawn(corners, (220, 220)), corners, DOWN @ rotate) < 0.8


def test_pixels_need_not_be_square():
    squeezed = BODY * [2 / 3, 1.0]
    body = fit_body(drawn(squeezed, SHAPE), DOWN, row_to_column=1.5)
    assert np.abs(body.corners - BODY).max() < 1.0


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (filled(np.array([(90 + 60 * np.cos(a), 90 + 60 * np.sin(a)) for a in (0.5, 2.6, 4.7)]), SHAPE), "shape|short"),
        (drawn(np.array([(10, 10), (10, 14), (14, 14), (14, 10)]), SHAPE), "few|short"),
        (drawn(np.array([(80, 10), (80, 180), (100, 180), (100, 10)]), SHAPE), "short"),
    ],
    ids=["triangle", "speck", "bar"],
)
def test_what_is_no_body_is_refused(mask: np.ndarray, reason: str):
    with pytest.raises(NoBody, match=reason):
        fit_body(mask, DOWN)


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1)], ids=["row", "column", "diagonal"])
@pytest.mark.parametrize("length", [20, 60, 170])
def test_a_line_of_pixels_is_no_body(step: tuple[int, int], length: int):
    mask = np.zeros(SHAPE, bool)
    along = np.arange(length)
    mask[5 + step[0] * along, 5 + step[1] * along] = True
    down = np.array(step) / np.hypot(*step)
    for way in (down, down[::-1] * [-1, 1], DOWN):
        with pytest.raises(NoBody, match=r"few|short|shape"):
            fit_body(mask, way)


def test_touching_the_edge():
    mask = np.zeros((100, 100), bool)
    mask[20:70, 30:80] = True
    assert not touches_edge(mask)
    assert touches_edge(np.roll(mask, 30, 0)) and touches_edge(np.roll(mask, 20, 1)) and touches_edge(mask[:, 29:])
    assert not touches_edge(np.zeros((5, 5), bool))
    speck = mask.copy()
    speck[0, 0] = True
    assert not touches_edge(speck)
    part = (slice(10, 80), slice(20, 90))
    assert not touches_edge(mask, part)
    assert all(
        touches_edge(mask, within)
        for within in ((slice(30, 80), part[1]), (slice(10, 71), part[1]), (part[0], slice(40, 90)))
    )
    assert touches_edge(mask[18:]) and not touches_edge(mask[17:])  # two pixels are too near, three are not


def spine_masks(index: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Masks and corners of a simulated spine that faces left, on a film with room around it."""
    corners = true_corners(8000, index, SimulateConfig(rows=700, crop_probability=0.0))
    corners = corners - corners.reshape(-1, 2).min(0) + 25
    shape = tuple(np.ceil(corners.reshape(-1, 2).max(0)).astype(int) + 25)
    return np.stack([drawn(body, (shape[0], shape[1])) for body in corners]), corners


def test_a_spine_is_read_from_either_side():
    masks, corners = spine_masks()
    left, right = read_spine(masks), read_spine(np.ascontiguousarray(masks[:, :, ::-1]))
    assert (left.facing, right.facing) == ("left", "right")
    assert left.turn_deg == pytest.approx(right.turn_deg) and left.turn_deg > 50
    for k, name in enumerate(VERTEBRAE):
        mirrored = right.bodies[name].corners * [1, -1] + [0, masks.shape[2] - 1]
        assert np.abs(left.bodies[name].corners - corners[k]).max() < 1.2
        assert np.abs(left.bodies[name].corners - mirrored).max() < 0.05


def test_what_cannot_be_measured_is_left_out_with_its_reason():
    masks, corners = spine_masks()
    cut = masks[:, int(corners[0, :, 0].mean()) :].copy()
    cut[3] = False
    spine = read_spine(cut, usable=("L1", "L2", "L4", "L5", "S1"))
    assert spine.left_out == {
        "L1": "cut by the edge of the film",
        "L3": "level uncertain",
        "L4": "not on the film or not found",
    }
    assert list(spine.bodies) == ["L2", "L5", "S1"]


@pytest.mark.parametrize("index", range(6))
def test_facing_is_known_without_the_sacrum(index: int):
    masks, _ = spine_masks(index)
    masks[5] = False
    assert read_spine(masks).facing == "left"


def test_empty_masks_give_no_body():
    spine = read_spine(np.zeros((6, 50, 50), bool))
    assert spine.bodies == {} and set(spine.left_out) == set(VERTEBRAE) and spine.turn_deg == 0


def test_every_real_label_gives_six_bodies(shared: Path):
    for files in labelled_films(shared / "films"):
        spine = read_spine(read_case(files).masks)
        assert (spine.left_out, spine.facing) == ({}, "left"), files.name
        for body in spine.bodies.values():
            assert body.ragged_px.max() < 3.0, files.name


def test_kept_fits_are_those_of_fit_body_and_found_again() -> None:
    kept = KeptFits(most=2)
    first, second = np.zeros((2, 120, 120), bool)
    first[20:60, 20:80] = second[30:90, 30:70] = True

    def sharp(points: np.ndarray) -> np.ndarray:
        return np.where(points[:, 1] > 50, 0.1, 1.0)

    body = kept(first, DOWN, 1.0, None)
    assert np.array_equal(body.corners, fit_body(first, DOWN).corners)
    assert kept(first.copy(), DOWN.copy(), 1.0, None) is body
    moved = np.roll(first, 5, axis=0)
    for given in (
        (second, DOWN, 1.0, None),
        (moved, DOWN, 1.0, None),
        (first, DOWN, 2.0, None),
        (first, DOWN, 1.0, sharp),
    ):
        assert np.array_equal(kept(*given).corners, fit_body(*given).corners)
    assert kept(first, DOWN, 1.0, None) is not body, "no more than two are kept"
    with pytest.raises(NoBody):
        kept(np.zeros((50, 50), bool), DOWN, 1.0, None)
