"""Film to the network's grid and exactly back.

The exposed field of a film is scaled by one factor until it fits, and stands in the middle of the grid. Going there,
each grid pixel is the mean over the area that it covers (masks become area fractions); coming back, values are
interpolated between grid pixel centres. Both use the same affine map, so nothing shifts by half a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import sparse

from spineseg.exposed_field import Box
from spineseg.film import Film, Masks, bounding_box
from spineseg.model.config import GridConfig

Image = Float32[np.ndarray, "rows columns"]
Strided = Float32[np.ndarray, "strided_rows strided_columns"]
Channels = Float32[np.ndarray, "channel rows columns"]
GridImage = Float32[np.ndarray, "grid_rows grid_columns"]
GridChannels = Float32[np.ndarray, "channel grid_rows grid_columns"]
Coordinate = TypeVar("Coordinate", float, np.ndarray)


@dataclass(frozen=True)
class GridFit:
    """Where the field of a film lies on a grid: grid coordinate = coordinate in the field * scale + offset.

    Pixel edges are at whole numbers. field: the rows and columns of the film that the grid shows.
    """

    film_rows: int
    film_columns: int
    rows: int
    columns: int
    row_scale: float
    column_scale: float
    row_offset: float
    column_offset: float
    field: Box

    @property
    def field_rows(self) -> int:
        """How many rows of the film the grid shows."""
        return self.field[0].stop - self.field[0].start

    @property
    def field_columns(self) -> int:
        """How many columns of the film the grid shows."""
        return self.field[1].stop - self.field[1].start

    def grid_row(self, film_row: Coordinate) -> Coordinate:
        """Where rows of the film lie on the grid."""
        return (film_row - self.field[0].start) * self.row_scale + self.row_offset

    def grid_column(self, film_column: Coordinate) -> Coordinate:
        """Where columns of the film lie on the grid."""
        return (film_column - self.field[1].start) * self.column_scale + self.column_offset

    def film_place(self, row: float, column: float) -> tuple[float, float]:
        """Row and column of the film at a place of the grid."""
        return (
            (row - self.row_offset) / self.row_scale + self.field[0].start,
            (column - self.column_offset) / self.column_scale + self.field[1].start,
        )

    def grid_rows(self, film_rows: slice) -> tuple[float, float]:
        """First row of a part of the film on the grid, and one past its last."""
        return self.grid_row(float(film_rows.start)), self.grid_row(float(film_rows.stop))

    def inside(self) -> Bool[np.ndarray, "rows columns"]:
        """Grid pixels whose centre lies on the field."""
        row = (np.arange(self.rows) + 0.5 - self.row_offset) / self.row_scale
        column = (np.arange(self.columns) + 0.5 - self.column_offset) / self.column_scale
        return np.outer((row > 0) & (row < self.field_rows), (column > 0) & (column < self.field_columns))


def grid_fit(
    shape: tuple[int, int], config: GridConfig, row_to_column: float = 1.0, field: Box | None = None
) -> GridFit:
    """Place the field of a film of (rows, columns) on the grid, all of it where no field is given.

    row_to_column: height of a film's pixel over its width.
    """
    rows, columns = field or (slice(0, shape[0]), slice(0, shape[1]))
    field_rows, field_columns = rows.stop - rows.start, columns.stop - columns.start
    row_scale, column_scale = config.rows / field_rows, config.columns / field_columns
    if config.keep_aspect:
        column_scale = min(row_scale / row_to_column, column_scale)
        row_scale = column_scale * row_to_column
    return GridFit(
        *shape,
        config.rows,
        config.columns,
        row_scale,
        column_scale,
        (config.rows - field_rows * row_scale) / 2,
        (config.columns - field_columns * column_scale) / 2,
        (rows, columns),
    )


def _area_weights(film_size: int, grid_size: int, scale: float, offset: float) -> sparse.csr_array:
    """(grid, film) matrix: share of each grid pixel that each film pixel covers; rows sum to 1 on the film."""
    edges = np.arange(film_size + 1) * scale + offset
    first = np.clip(np.floor(edges[:-1]).astype(int), 0, grid_size - 1)
    last = np.clip(np.ceil(edges[1:]).astype(int) - 1, 0, grid_size - 1)
    span = int((last - first).max()) + 1
    pixel = np.arange(film_size)
    rows, columns, values = [], [], []
    for step in range(span):
        cell = first + step
        overlap = np.minimum(edges[1:], cell + 1) - np.maximum(edges[:-1], cell)
        keep = (overlap > 1e-12) & (cell < grid_size)
        rows.append(cell[keep])
        columns.append(pixel[keep])
        values.append(overlap[keep])
    weights = (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.coo_array(weights, shape=(grid_size, film_size)).tocsr()


def _weights(fit: GridFit) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Area weights along rows and along columns."""
    return (
        _area_weights(fit.field_rows, fit.rows, fit.row_scale, fit.row_offset),
        _area_weights(fit.field_columns, fit.columns, fit.column_scale, fit.column_offset),
    )


def _to_grid(image: Image, down: sparse.csr_array, across: sparse.csr_array) -> GridImage:
    """Mean over each grid pixel's whole area, what lies off the image counting as 0."""
    return np.ascontiguousarray((across @ (down @ image).T).T, dtype=np.float32)


def film_to_grid(film: Film, config: GridConfig, field: Box | None = None) -> tuple[GridImage, GridFit]:
    """The film's field, or another, on the grid in the film's own units, 0 off the field; and where it lies.

    A pixel at the border holds the mean of what the field covers of it, so that no dark rim appears.
    """
    fit = grid_fit(film.shape, config, film.row_to_column, field or film.field)
    down, across = _weights(fit)
    covered = np.outer(down.sum(1), across.sum(1)).astype(np.float32)
    return _to_grid(film.image[fit.field], down, across) / np.maximum(covered, 1e-6), fit


def masks_to_grid(masks: Masks, fit: GridFit) -> GridChannels:
    """Share of each grid pixel that each mask covers, 0..1."""
    down, across = _weights(fit)
    fractions = np.zeros((len(masks), fit.rows, fit.columns), np.float32)
    for fraction, mask in zip(fractions, masks, strict=True):
        fraction[:] = _to_grid(mask[fit.field].astype(np.float32), down, across)
    return np.clip(fractions, 0, 1)


def film_box(channel: GridImage, fit: GridFit) -> Box:
    """The smallest box of the field, in the film's pixels, outside of which the interpolated channel is 0."""
    rows, columns = bounding_box(channel != 0)
    if rows.start == rows.stop:
        return rows, columns
    return (
        _reached(rows, fit.row_scale, fit.row_offset, fit.field[0]),
        _reached(columns, fit.column_scale, fit.column_offset, fit.field[1]),
    )


def _reached(used: slice, scale: float, offset: float, field: slice) -> slice:
    """Film pixels whose centre lies within one grid pixel of those used, and one more on either side."""
    first = math.floor((used.start - 0.5 - offset) / scale) - 1
    last = math.ceil((used.stop + 0.5 - offset) / scale) + 1
    size = field.stop - field.start
    return slice(field.start + min(max(first, 0), size), field.start + min(max(last, 0), size))


def grid_to_film(channels: GridChannels, fit: GridFit, box: Box | None = None) -> Channels:
    """Interpolate grid channels at the film's pixel centres: (channel, film rows, film columns), or those of `box`."""
    rows, columns = (slice(0, fit.film_rows), slice(0, fit.film_columns)) if box is None else box
    high, wide = rows.stop - rows.start, columns.stop - columns.start
    matrix = np.array(
        [
            [fit.column_scale, 0, fit.grid_column(columns.start + 0.5) - 0.5],
            [0, fit.row_scale, fit.grid_row(rows.start + 0.5) - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = np.empty((len(channels), high, wide), np.float32)
    for at_film, channel in zip(warped, channels, strict=True):  # written in place: a copy of all would be 180 MB
        cv2.warpAffine(channel, matrix, (wide, high), dst=at_film, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return warped


OFF_FILM = (-1.0, 0.0)
"""What `normalise` puts into its channels off the film: black, and no contrast."""


def _blur(image: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def local_contrast(image: Image, sigma: float) -> Image:
    """(image - local mean) / local deviation over a Gaussian neighbourhood, limited to -3..3."""
    step = 4
    rows, columns = image.shape
    small = cv2.resize(image, (columns // step, rows // step), interpolation=cv2.INTER_AREA)
    mean = cv2.resize(_blur(small, sigma / step), (columns, rows), interpolation=cv2.INTER_LINEAR)
    rest = image - mean
    square = cv2.resize(rest * rest, (columns // step, rows // step), interpolation=cv2.INTER_AREA)
    variance = cv2.resize(_blur(square, sigma / step), (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.clip(rest / (np.sqrt(np.maximum(variance, 0)) + 0.01), -3, 3).astype(np.float32)


def normalise(image: Image, inside: Bool[np.ndarray, "rows columns"], config: GridConfig) -> Channels:
    """A grid image as the network's input channels; see `GridConfig.intensity`. Off the film they are `OFF_FILM`."""
    values = image[inside]
    limits = (0.0, 100.0) if config.intensity == "minmax" else (1.0, 99.0)
    low, high = np.percentile(values[:: max(1, values.size // 20000)], limits) if values.size else (0.0, 1.0)
    unit = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    unit[~inside] = 0
    channels = [(unit - 0.5) / 0.5]
    if config.intensity == "local":
        channels.append(local_contrast(unit, config.local_px) * inside)
    return np.stack(channels).astype(np.float32)


Matrix = Float[np.ndarray, "two=2 three=3"]


def about_middle(
    linear: Float[np.ndarray, "2 2"], shape: tuple[int, int], shift: Float[np.ndarray, "2"] | float = 0.0
) -> Matrix:
    """The affine map of (column, row) that moves the middle of a grid of (rows, columns) by `shift` and no farther."""
    middle = np.array(shape[::-1]) / 2
    return np.column_stack([linear, middle + shift - linear @ middle])


def warp(channel: Image, matrix: Matrix, stride: int = 1, border: float = 0.0) -> Strided:
    """Resample at the target grid divided by `stride`, linearly, `border` from outside.

    A stride of 2 samples where four pixels meet, which is their mean.
    """
    rows, columns = channel.shape
    to_strided = np.array([[1 / stride, 0.0], [0.0, 1 / stride]])
    linear = to_strided @ matrix[:, :2]
    offset = to_strided @ matrix[:, 2] + linear @ [0.5, 0.5] - 0.5
    size = (columns // stride, rows // stride)
    matrix = np.column_stack([linear, offset])
    return cv2.warpAffine(channel, matrix, size, flags=cv2.INTER_LINEAR, borderValue=border)
