"""simulate: the same bytes for the same seed, and masks that lie on the bones they name."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from jaxtyping import Bool

from spineseg.evaluation.metrics import anatomy_faults
from spineseg.film import BadInput, Case
from spineseg.io.folder import find_films, read_case, write_case
from spineseg.simulate import SimulateConfig, simulate_case, true_corners, write_folder
from spineseg.simulate.bodies import endplate_rims, rims_mm
from spineseg.simulate.config import AnatomyConfig
from spineseg.simulate.shape import ShapeConfig, sample_spine

WHOLE = SimulateConfig(rows=256, crop_probability=0.0)
SMALL = SimulateConfig(rows=128)
Mask = Bool[np.ndarray, "rows columns"]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Twenty films on which the whole of L1 to S1 is meant to be."""
    return [simulate_case(11, index, WHOLE) for index in range(20)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def outline(mask: Mask) -> np.ndarray:
    """The mask's convex hull, (point, 1, 2)."""
    rows, columns = np.nonzero(mask)
    return cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32))


def corners_of(hull: np.ndarray) -> np.ndarray:
    """The hull's corners, at most four, as the tolerance grows."""
    for share in np.linspace(0.02, 0.12, 21):
        corners = cv2.approxPolyDP(hull, share * cv2.arcLength(hull, True), True)
        if len(corners) <= 4:
            return corners
    return hull


def filled(hull: np.ndarray, shape: tuple[int, int]) -> Mask:
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [hull], 1)
    return drawn.astype(bool)


def disc_contrast(case: Case, moved: int = 0) -> float:
    """How much brighter bodies are than the gaps between them, in deviations of the film; masks moved by some rows."""
    masks = np.roll(case.masks, moved, axis=1)
    bodies = masks[:5].any(0)
    gaps = np.zeros_like(bodies)
    for upper, lower in pairwise(masks[:5]):
        gaps |= filled(outline(upper | lower), case.film.shape)
    gaps &= ~bodies
    image = case.film.image
    return float((image[bodies].mean() - image[gaps].mean()) / image.std())


def test_the_same_seed_writes_the_same_bytes_however_many_processes(tmp_path: Path):
    for name, seed, processes in (("a", 7, 1), ("b", 7, 2), ("c", 8, 1)):
        write_folder(tmp_path / name, 3, seed, SMALL, write=write_case, processes=processes)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert sorted(a) == [
        *(f"img/S007-0000{k}.dcm" for k in range(3)),
        *(f"label/S007-0000{k}.mat" for k in range(3)),
    ]
    assert a == b
    assert not set(a.values()) & set(c.values())
    assert len(set(a.values())) == len(a)


def test_a_film_does_not_depend_on_those_before_it():
    alone, _, again = (simulate_case(3, index, SMALL) for index in (5, 4, 5))
    assert np.array_equal(alone.film.image, again.film.image) and np.array_equal(alone.masks, again.masks)
    assert alone.name == "S003-00005"


def test_bodies_are_known_by_name_above_and_below_the_lumbar_spine_too():
    spine = sample_spine(np.random.default_rng(0), ShapeConfig())
    assert np.array_equal(spine.of(), spine.lumbar)
    bodies = spine.of(("T11", "T12", "L1", "S1", "S2"))
    assert np.all(np.diff(bodies.mean(1)[:, 1]) > 0), "from head to tail"
    assert np.array_equal(bodies[3], spine.s1)
    with pytest.raises(BadInput, match="the simulator draws no C7; take other vertebrae"):
        spine.of(("C7", "L1"))


def test_images_are_whole_numbers_of_12_bits(cases: list[Case]):
    for case in cases:
        image = case.film.image
        assert image.dtype == np.float32
        assert np.array_equal(image, np.rint(image))
        assert 0 <= image.min() < image.max() <= 4095
        assert len(np.unique(image)) > 100


def test_labels_are_six_quadrilaterals_in_order(cases: list[Case]):
    for case in cases:
        assert case.masks.shape == (6, *case.film.shape)
        assert case.masks.any((1, 2)).all(), case.name
        assert anatomy_faults(case.masks).count == 0, case.name
        rows = [np.nonzero(mask)[0].mean() for mask in case.masks]
        assert rows == sorted(rows), case.name
        for mask in case.masks:
            hull = outline(mask)
            assert mask.sum() > 0.9 * filled(hull, case.film.shape).sum(), case.name
            corners = corners_of(hull)
            assert len(corners) == 4, case.name
            assert cv2.contourArea(corners) > 0.8 * cv2.contourArea(hull), case.name


def test_no_pixel_is_in_two_bodies() -> None:
    """Film 1 of series 2 has an L5 that nearly touches its S1."""
    for index in range(3):
        masks = simulate_case(2, index, SMALL).masks
        assert masks.sum(0).max() == 1


def test_bodies_are_brighter_than_the_discs_between_them(cases: list[Case]):
    right = [disc_contrast(case) for case in cases]
    assert np.mean(right) > 0.1
    assert np.mean(np.array(right) > 0) >= 0.8
    half = [round(case.masks[2].any(1).sum() / 2) for case in cases]
    wrong = [disc_contrast(case, moved) for case, moved in zip(cases, half, strict=True)]
    assert np.mean(wrong) < np.mean(right) - 0.1


def test_some_films_are_cropped():
    cropped = [simulate_case(2, index, SimulateConfig(rows=96, crop_probability=1.0)) for index in range(8)]
    cut = [case.masks[0, 0].any() or case.masks[5, -1].any() or not case.masks.any((1, 2)).all() for case in cropped]
    assert sum(cut) >= 6


def test_a_film_that_faces_right_is_the_mirror_image():
    left = simulate_case(4, 0, SimulateConfig(rows=96, face_right_probability=0.0))
    right = simulate_case(4, 0, SimulateConfig(rows=96, face_right_probability=1.0))
    assert np.array_equal(left.film.image[:, ::-1], right.film.image)
    assert np.array_equal(left.masks[:, :, ::-1], right.masks)


def test_a_folder_reads_back_as_it_was_drawn(tmp_path: Path):
    write_folder(tmp_path, 2, 9, SMALL, write=write_case)
    for index, files in enumerate(find_films(tmp_path)):
        read, drawn = read_case(files), simulate_case(9, index, SMALL)
        assert read.name == drawn.name
        assert np.array_equal(read.film.image, drawn.film.image)
        assert np.array_equal(read.masks, drawn.masks)
        spacings = [case.film.spacing for case in (read, drawn)]
        assert {spacing and spacing.plane for spacing in spacings} == {"detector"}
        assert len({spacing and f"{spacing.row_mm:.5g} {spacing.column_mm:.5g}" for spacing in spacings}) == 1


def test_l3_has_the_size_of_an_adult_s(cases: list[Case]):
    """On the detector, magnified: its depth is drawn around 39 mm."""
    depths = []
    for case in cases:
        assert case.film.spacing is not None
        columns = np.nonzero(case.masks[2].any(0))[0]
        depths.append((columns[-1] - columns[0]) * case.film.spacing.column_mm)
    assert 30 < np.mean(depths) < 55


def test_masks_are_the_pixels_whose_centre_lies_within_the_corners():
    corners = true_corners(11, 3, WHOLE)
    case = simulate_case(11, 3, replace(WHOLE, face_right_probability=0.0))
    for mask, body in zip(case.masks, corners, strict=True):
        polygon = body[:, ::-1].astype(np.float32)
        inside = [
            [cv2.pointPolygonTest(polygon, (column, row), False) > 0 for column in range(mask.shape[1])]
            for row in range(mask.shape[0])
        ]
        assert np.count_nonzero(mask != np.array(inside)) <= 1  # one may lie on the border
        assert mask.sum() == pytest.approx(cv2.contourArea(polygon), rel=0.03)


def test_rims_of_endplates_part_with_the_distance_from_the_tube_and_with_the_lean():
    bodies = sample_spine(np.random.default_rng(0), ShapeConfig()).lumbar
    upright = AnatomyConfig(lean_deg=(0.0, 0.0, 0.0), focus_height_mm=0.0)
    parted = rims_mm(bodies, np.random.default_rng(0), upright)
    height = bodies[..., 1].reshape(-1, 2, 2).mean(-1)
    depth = np.linalg.norm(bodies[:, 1] - bodies[:, 0], axis=1)
    assert np.allclose(parted, -0.65 * depth[:, None] * height / 1000.0)
    assert parted[0, 0] > 0 > parted[-1, 1]
    far_tube = replace(upright, focus_mm=1e9, lean_deg=(5.0, 0.0, 0.0))
    leaning = rims_mm(bodies, np.random.default_rng(0), far_tube) / depth[:, None]
    assert np.ptp(leaning) < 1e-6 < abs(leaning[0, 0])


@pytest.mark.parametrize("rise", [2.0, -2.0])
def test_two_rims_part_from_a_point_in_front_to_an_open_back_and_the_outer_one_keeps_the_corners(rise: float):
    chord = np.stack([np.linspace(0, 30, 31), np.zeros(31)], 1)
    outward = np.array([0.0, -1.0])
    near, far = endplate_rims(chord, rise * outward, outward, (0.0, 0.5), 2.0)
    outer, inner = (near, far) if rise > 0 else (far, near)
    np.testing.assert_allclose(outer[[0, -1]], chord[[0, -1]], atol=1e-12)
    np.testing.assert_allclose(inner[[0, -1]], [(0, 0), (30, 2)], atol=1e-12)  # 2 x 0.5 x 2 mm within, behind
    np.testing.assert_allclose((outer - inner)[15], [0, -4])  # twice the rise
    np.testing.assert_allclose(near[:, 0], chord[:, 0])
    assert np.all(np.diff((outer - inner)[:16, 1]) < 0)
