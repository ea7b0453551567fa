"""grid: nothing shifts on the way to the grid and back, and nothing is lost that the grid can hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from spineseg.evaluation.metrics import dice
from spineseg.film import Film, Masks, bounding_box
from spineseg.inference.grid import GridFit, film_to_grid, grid_fit, grid_to_film, masks_to_grid, normalise
from spineseg.model.config import GridConfig

SMALL = GridConfig(rows=128, columns=96)
FILM = (3000, 2500)
EDGE_BIAS = 1.5 - math.sqrt(2)
"""Grid pixels by which a straight edge along the grid moves at most, when cut at 1/2 between pixel centres.

An edge that covers a share f > 1/2 of its pixel is found at 1.5 - 0.5 / f instead of f; worst at f = sqrt(1/2).
"""


@pytest.fixture(scope="module")
def label() -> Masks:
    """Six bodies of a lordotic spine, about 380 x 255 px, on a film of 3000 x 2500."""
    rows, columns, turns_deg = (
        (520, 850, 1185, 1520, 1850, 2150),
        (1180, 1105, 1060, 1075, 1170, 1330),
        (-14, -6, 2, 9, 20, 42),
    )
    corners = np.array([[-190, -119], [190, -119], [196, 127], [-184, 130]])
    masks = np.zeros((6, *FILM), np.uint8)
    for mask, row, column, turn in zip(masks, rows, columns, np.deg2rad(turns_deg), strict=True):
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        cv2.fillPoly(mask, [(corners @ rotation + [column, row]).round().astype(np.int32)], (1,))
    return masks.astype(bool)


def centroid_errors_px(a: Masks, b: Masks) -> np.ndarray:
    shifts = [np.mean(np.nonzero(x), 1) - np.mean(np.nonzero(y), 1) for x, y in zip(a, b, strict=True)]
    return np.linalg.norm(shifts, axis=1)


def there_and_back(masks: Masks, config: GridConfig) -> Masks:
    fit = grid_fit(masks.shape[1:], config)  # type: ignore[arg-type]
    return grid_to_film(masks_to_grid(masks, fit), fit) > 0.5


def random_film(shape: tuple[int, int], seed: int = 0) -> Film:
    return Film(np.random.default_rng(seed).random(shape, dtype=np.float32))


def ramp(shape: tuple[int, int]) -> np.ndarray:
    """Two units per row and one per column."""
    return (2 * np.arange(shape[0])[:, None] + np.arange(shape[1])).astype(np.float32)


@pytest.mark.parametrize(
    ("config", "most_px"), [(GridConfig(), 0.5), (GridConfig(rows=256, columns=192), EDGE_BIAS * FILM[0] / 256)]
)
def test_a_label_goes_to_the_grid_and_back(label: Masks, config: GridConfig, most_px: float):
    """On 256 rows L3, whose edges run along the grid, may move by the bias of its edges; the rest by less."""
    back = there_and_back(label, config)
    errors = centroid_errors_px(label, back)
    assert errors.max() <= most_px
    assert np.delete(errors, 2).max() <= 0.5
    assert dice(label, back).min() >= 0.98


SHAPES = [(300, 200), (301, 517), (97, 131), (128, 96), (50, 37), (3, 5), (1, 1)]


def covered(fit: GridFit) -> np.ndarray:
    """Share of each grid pixel that lies on the film, by hand."""

    def along(count: int, offset: float, length: float) -> np.ndarray:
        start = np.arange(count)
        return np.clip(np.minimum(start + 1, offset + length) - np.maximum(start, offset), 0, 1)

    return np.outer(
        along(fit.rows, fit.row_offset, fit.film_rows * fit.row_scale),
        along(fit.columns, fit.column_offset, fit.film_columns * fit.column_scale),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_areas_are_kept_on_any_film(shape: tuple[int, int], keep_aspect: bool):
    """The sum over the grid is the sum over the film times the scales: all of each film pixel goes somewhere, once."""
    film = random_film(shape)
    image, fit = film_to_grid(film, replace(SMALL, keep_aspect=keep_aspect))
    assert image.shape == (128, 96)
    expected = film.image.sum(dtype=np.float64) * fit.row_scale * fit.column_scale
    assert (image * covered(fit)).sum(dtype=np.float64) == pytest.approx(expected, rel=1e-5)
    masks = np.stack([film.image > np.median(film.image)] * 6)
    area = np.count_nonzero(masks[0]) * fit.row_scale * fit.column_scale
    fractions = masks_to_grid(masks, fit)
    assert fractions[0].sum(dtype=np.float64) == pytest.approx(area, rel=1e-5)
    assert fractions.min() >= 0 and fractions.max() <= 1


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_a_constant_film_stays_constant_and_ends_where_it_ends(shape: tuple[int, int], keep_aspect: bool):
    """A grid pixel that the film covers in part holds its value all the same: no dark rim."""
    image, fit = film_to_grid(Film(np.full(shape, 7, np.float32)), replace(SMALL, keep_aspect=keep_aspect))
    share = covered(fit)
    assert np.allclose(image[share > 1e-4], 7, atol=1e-3)
    assert np.array_equal(fit.inside(), (share > 0.5 - 1e-9) & fit.inside())
    assert not image[share == 0].any()


def test_a_film_of_the_grids_size_is_left_alone():
    film = random_film((128, 96))
    image, fit = film_to_grid(film, SMALL)
    assert np.allclose(image, film.image, atol=1e-6)
    assert np.allclose(grid_to_film(image[None], fit)[0], film.image, atol=1e-6)
    assert fit.inside().all()


def test_a_wide_film_stands_in_the_middle():
    fit = grid_fit((100, 300), SMALL)
    assert fit.grid_rows(slice(0, 100)) == (48.0, 80.0)
    assert (fit.grid_row(50.0), fit.grid_column(150.0)) == (64.0, 48.0)
    assert fit == GridFit(100, 300, 128, 96, 0.32, 0.32, 48.0, 0.0, (slice(0, 100), slice(0, 300)))
    inside = fit.inside()
    assert np.array_equal(np.flatnonzero(inside.any(1)), np.arange(48, 80))
    assert inside.any(0).all()


def test_without_keep_aspect_a_film_fills_the_square_of_the_report():
    fit = grid_fit((3000, 2500), GridConfig(rows=1024, columns=1024, keep_aspect=False))
    assert (fit.row_offset, fit.column_offset) == (0, 0)
    assert (fit.row_scale, fit.column_scale) == (1024 / 3000, 1024 / 2500)
    assert fit.inside().all()


@pytest.mark.parametrize("factor", [2, 4, 5])
def test_whole_factors_agree_with_the_area_means_of_opencv(factor: int):
    film = random_film((128 * factor, 96 * factor))
    expected = cv2.resize(film.image, (96, 128), interpolation=cv2.INTER_AREA)
    assert np.allclose(film_to_grid(film, SMALL)[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(600, 500), (301, 517), (512, 384), (60, 50)])
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_the_way_back_agrees_with_the_grid_sample_of_torch(shape: tuple[int, int], keep_aspect: bool):
    fit = grid_fit(shape, replace(SMALL, keep_aspect=keep_aspect))
    channels = np.random.default_rng(0).random((2, 128, 96), dtype=np.float32)
    row = ((np.arange(shape[0]) + 0.5) * fit.row_scale + fit.row_offset) * 2 / fit.rows - 1
    column = ((np.arange(shape[1]) + 0.5) * fit.column_scale + fit.column_offset) * 2 / fit.columns - 1
    where = torch.from_numpy(np.stack(np.meshgrid(column, row), -1)).float()[None]
    expected = functional.grid_sample(
        torch.from_numpy(channels)[None], where, mode="bilinear", padding_mode="border", align_corners=False
    )
    assert np.allclose(grid_to_film(channels, fit), expected[0].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "most"), [((512, 384), 0.01), ((640, 320), 0.01), ((256, 480), 0.01), ((601, 433), 0.5)]
)
def test_a_ramp_comes_back_without_a_shift(shape: tuple[int, int], most: float):
    """Half a grid pixel, the usual mistake, would be 2 film pixels or more: 4 units. The last scale is odd."""
    film = Film(ramp(shape))
    image, fit = film_to_grid(film, SMALL)
    border = 2 * math.ceil(1 / fit.row_scale)
    difference = (grid_to_film(image[None], fit)[0] - film.image)[border:-border, border:-border]
    assert abs(difference.mean()) < 0.01
    assert np.abs(difference).max() < most


def test_fractions_are_the_share_of_each_pixel():
    masks = np.zeros((6, 512, 384), bool)
    masks[2, 100:202, 40:83] = True
    fractions = masks_to_grid(masks, grid_fit((512, 384), SMALL))
    assert np.allclose(fractions, masks.reshape(6, 128, 4, 96, 4).mean((2, 4)), atol=1e-6)
    assert fractions[2, 50, 10] == pytest.approx(0.5)
    assert fractions[2, 30, 20] == pytest.approx(0.75)


Intensity = Literal["local", "global", "minmax"]
INTENSITIES: list[Intensity] = ["local", "global", "minmax"]


def on_grid(film: Film, intensity: Intensity) -> np.ndarray:
    config = replace(SMALL, intensity=intensity)
    image, fit = film_to_grid(film, config)
    return normalise(image, fit.inside(), config)


@pytest.mark.parametrize("intensity", INTENSITIES)
def test_ranges_of_the_input_channels(intensity: Intensity):
    film = Film(4000 * random_film((300, 200)).image ** 3)
    channels = on_grid(film, intensity)
    assert len(channels) == GridConfig(intensity=intensity).channels
    assert channels.dtype == np.float32
    inside = grid_fit(film.shape, SMALL).inside()
    assert (channels[0].min(), channels[0].max()) == (-1, 1)
    assert np.all(channels[0][~inside] == -1)
    if intensity == "local":
        assert np.abs(channels[1]).max() <= 3
        assert not channels[1][~inside].any()


def test_global_loses_a_hundredth_at_either_end():
    values = np.random.default_rng(0).permutation(128 * 96).reshape(128, 96)
    channel = on_grid(Film(values.astype(np.float32)), "global")[0]
    assert np.mean(channel == -1) == pytest.approx(0.01, abs=0.001)
    assert np.mean(channel == 1) == pytest.approx(0.01, abs=0.001)


def test_local_contrast_shows_a_faint_edge_in_the_dark_as_one_in_the_light():
    image = np.zeros((128, 96), np.float32)
    image[:, 16:48] += 0.1
    image[:, 48:] += 0.6
    image[40:60, 20:40] += 0.05
    image[40:60, 60:80] += 0.05
    image[:3, :40] = 1
    image[110:, :8], image[110:, 88:] = 0.3, 0.3  # sides of one value would be borders
    image += 0.002 * random_film((128, 96)).image
    channels = on_grid(Film(image), "local")
    for column in (30, 70):
        step = channels[:, 50, column] - channels[:, 30, column]
        assert step[1] > 2 * step[0] > 0


@pytest.mark.parametrize("intensity", INTENSITIES)
@pytest.mark.parametrize("shape", [(640, 480), (600, 440)], ids=["filling", "bordered"])
@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (0.01, 0.0), (1.0, 5000.0), (3.0, -1024.0)])
def test_exposure_does_not_matter(intensity: Intensity, shape: tuple[int, int], gain: float, offset: float):
    film = Film(1000 * random_film(shape).image)
    other = Film((film.image * gain + offset).astype(np.float32))
    assert np.allclose(on_grid(film, intensity), on_grid(other, intensity), atol=2e-3)


@pytest.mark.parametrize("intensity", INTENSITIES)
def test_a_blank_grid_is_no_accident(intensity: Intensity):
    config = replace(SMALL, intensity=intensity)
    for inside in (np.ones((128, 96), bool), np.zeros((128, 96), bool)):
        assert np.isfinite(normalise(np.full((128, 96), 3, np.float32), inside, config)).all()


@pytest.mark.parametrize("row_to_column", [0.5, 1.0, 3.0])
def test_pixels_that_are_not_square_are_square_on_the_grid_and_back(row_to_column: float):
    """A square bone of a film whose pixels are low or high."""
    shape = round(300 / row_to_column), 200
    masks = np.zeros((6, *shape), bool)
    masks[2, round(90 / row_to_column) : round(150 / row_to_column), 80:140] = True
    fit = grid_fit(shape, SMALL, row_to_column)
    box = bounding_box(masks_to_grid(masks, fit)[2] > 0.5)
    assert box[0].stop - box[0].start == pytest.approx(box[1].stop - box[1].start, abs=1)
    back = grid_to_film(masks_to_grid(masks, fit), fit)[2] > 0.5
    assert np.count_nonzero(back != masks[2]) < 0.1 * np.count_nonzero(masks[2])
