"""Pictures of films and masks: coloured overlays, channels side by side, contact sheets.

A picture is uint8 (rows, columns, 3), red green blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from spineseg.film import ANATOMY, BACKGROUND, VERTEBRAE, Film, Masks, bounding_box

Grey = UInt8[np.ndarray, "rows columns"]
Picture = UInt8[np.ndarray, "rows columns 3"]
AnyPicture = UInt8[np.ndarray, "_ _ 3"]  # of a size of its own
AnyGrey = UInt8[np.ndarray, "_ _"]


@dataclass(frozen=True)
class Colour:
    """A colour by its CSS name, `#rrggbb`."""

    hex: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, each 0..255."""
        red, green, blue = bytes.fromhex(self.hex.removeprefix("#"))
        return red, green, blue


COLOURS = tuple(Colour(vertebra.colour) for vertebra in ANATOMY)
"""One per vertebra, in the order of `VERTEBRAE`."""

DIFFERENCES = {
    "onlyA": Colour("#00c000"),
    "onlyB": Colour("#ff00ff"),
    "otherName": Colour("#000000"),
    "both": Colour("#ffffff"),
}
"""Colours of a difference map between two sets of masks, A and B.

They come from a search, among colours unlike any vertebra's, for the largest least CIEDE2000 distance over all pairs
and four kinds of eyes, at 50 % opacity over dark, middle and bright film: it is 24 (`tests/test_render.py`)."""
BACKGROUND_COLOUR = Colour("#808080")
LEGEND = {**dict(zip(VERTEBRAE, COLOURS, strict=True)), BACKGROUND: BACKGROUND_COLOUR}
"""The colour of each channel of an array, by name."""
_WHITE, _DARK, _PAPER = (255, 255, 255), (16, 16, 16), (32, 32, 32)
_DECIMATED_PX = 512
_TITLE_ROWS = 28
_CAPITAL_PX = 21.0
"""Height of a capital in OpenCV's sans font at scale 1."""


def shown_range(film: Film, low_percentile: float = 1.0, high_percentile: float = 99.5) -> tuple[float, float]:
    """The values of the film that become black and white.

    The percentiles (0..100) are those of every n-th row and column of the film's field, about 512 of each. Where they
    are equal (a film almost all of one value), the film's minimum and maximum.
    """
    image, field = film.image, film.image[film.field]
    sample = field[:: max(1, field.shape[0] // _DECIMATED_PX), :: max(1, field.shape[1] // _DECIMATED_PX)]
    low, high = (float(value) for value in np.percentile(sample, (low_percentile, high_percentile)))
    if low == high:
        return float(image.min()), float(image.max())
    return low, high


def to_uint8(film: Film, low_percentile: float = 1.0, high_percentile: float = 99.5) -> Grey:
    """The film as grey values, the ends of its `shown_range` black and white."""
    low, high = shown_range(film, low_percentile, high_percentile)
    grey = film.image - np.float32(low)
    grey *= np.float32(255 / (high - low))
    return np.rint(np.clip(grey, 0, 255, out=grey), out=grey).astype(np.uint8)


def overlay(
    film: Film | Grey, masks: Masks, *, opacity: float = 0.4, outline: bool = True, names: bool = True
) -> Picture:
    """The film with its vertebrae in `COLOURS`, at the film's size.

    film: a Film, or grey values of one's own making. opacity: of the colour over the grey, 0..1. outline: the inner
    border of each mask in full colour, as wide as 1/1000 of the film. names: written on the bones. Where masks overlap
    the more caudal vertebra is on top.
    """
    grey = to_uint8(film) if isinstance(film, Film) else film
    picture = cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB)
    present = [k for k in range(len(masks)) if masks[k].any()]
    for k in present:
        box = bounding_box(masks[k])
        _tint(picture[box], grey[box], masks[k][box], COLOURS[k], opacity)
        if outline:
            picture[box][_inner_border(masks[k][box], max(1, round(max(grey.shape) / 1000)))] = COLOURS[k].rgb
    if names:
        for k in present:
            _write(picture, VERTEBRAE[k], _middle(masks[k]), capital_px=max(8.0, max(grey.shape) / 60))
    return picture


def figure_channels(
    film: Film,
    channels: Float32[np.ndarray, "channel channel_rows channel_columns"]
    | Bool[np.ndarray, "channel channel_rows channel_columns"],
    titles: Sequence[str],
    *,
    panel_rows: int = 512,
    columns: int = 4,
) -> AnyPicture:
    """The film and each of its channels, side by side under their titles, as in the report's figures 2 and 8.

    channels: 0 is drawn black and 1 white, values beyond are clipped; at any size (a network's grid will do).
    titles: one for each channel. Every panel is reduced to at most panel_rows rows, in its own proportions; a channel
    much smaller than the film's panel is enlarged by a whole factor. `columns` panels make a row, of which the first
    holds the film.
    Raises ValueError if there are more channels than titles, or fewer.
    """
    drawn = [_titled("film", _reduced(to_uint8(film), panel_rows))]
    for channel, title in zip(channels, titles, strict=True):
        grey = np.rint(np.clip(channel.astype(np.float32), 0, 1) * 255).astype(np.uint8)
        grey = _reduced(grey, panel_rows)
        times = max(1, min(panel_rows, film.shape[0]) // grey.shape[0])
        drawn.append(_titled(title, grey.repeat(times, axis=0).repeat(times, axis=1)))
    return contact_sheet(drawn, columns)


def contact_sheet(pictures: Sequence[AnyPicture | AnyGrey], columns: int, *, gap: int = 8) -> AnyPicture:
    """The pictures in reading order, `columns` to a row, centred in cells as large as the largest, `gap` px apart."""
    cell_rows = max(picture.shape[0] for picture in pictures)
    cell_columns = max(picture.shape[1] for picture in pictures)
    columns = min(columns, len(pictures))
    lines = -(-len(pictures) // columns)
    sheet = np.empty((lines * (cell_rows + gap) + gap, columns * (cell_columns + gap) + gap, 3), np.uint8)
    sheet[:] = _PAPER
    for place, picture in enumerate(pictures):
        line, column = divmod(place, columns)
        rows, width = picture.shape[:2]
        top = gap + line * (cell_rows + gap) + (cell_rows - rows) // 2
        left = gap + column * (cell_columns + gap) + (cell_columns - width) // 2
        sheet[top : top + rows, left : left + width] = picture if picture.ndim == 3 else picture[..., None]
    return sheet


def label_picture(masks: Masks) -> Grey:
    """0 for background and k for the k-th vertebra. Where masks overlap the more caudal is kept."""
    picture = np.zeros(masks.shape[1:], np.uint8)
    for value, mask in enumerate(masks, 1):
        picture[mask] = value
    return picture


def _tint(picture: Picture, grey: Grey, mask: Bool[np.ndarray, "rows columns"], colour: Colour, opacity: float) -> None:
    """Blend the colour over the grey values within the mask, in place, by a table of the 256 results."""
    greys = np.arange(256, dtype=np.float64)[:, None]
    table = np.rint((1 - opacity) * greys + opacity * np.array(colour.rgb)).astype(np.uint8)
    picture[mask] = table[grey[mask]]


def _inner_border(mask: Bool[np.ndarray, "rows columns"], width: int) -> Bool[np.ndarray, "rows columns"]:
    """The mask's pixels within `width` of its outside; what is off the picture is outside."""
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inside == 0)


def _middle(mask: Bool[np.ndarray, "rows columns"]) -> tuple[int, int]:
    """(row, column) of the mask's centroid or, if that is outside (two components, a crescent), its deepest pixel."""
    box = bounding_box(mask)
    inside = mask[box]
    row, column = (round(float(indices.mean())) for indices in np.nonzero(inside))
    if not inside[row, column]:
        depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        row, column = divmod(int(depth.argmax()), inside.shape[1])
    return box[0].start + row, box[1].start + column


def _write(picture: Picture, text: str, centre: tuple[int, int], capital_px: float) -> None:
    """Write the text in white with a dark outline, centred on (row, column) but kept within the picture, in place."""
    ink = _ink(text, capital_px)[: picture.shape[0], : picture.shape[1]]
    top, left = (
        min(max(0, middle - size // 2), room - size)
        for middle, size, room in zip(centre, ink.shape, picture.shape[:2], strict=True)
    )
    place = picture[top : top + ink.shape[0], left : left + ink.shape[1]]
    reach = max(1, round(capital_px / 8))
    outline = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    for coverage, colour in ((outline, _DARK), (ink, _WHITE)):
        share = coverage[..., None] / 255
        place[:] = np.rint((1 - share) * place + share * np.array(colour))


def _ink(text: str, capital_px: float) -> AnyGrey:
    """How much of each pixel the text covers, 0..255, with a margin for its outline.

    OpenCV 5 takes the thickness for a font weight, so an outline cannot be drawn with it: it is grown from this.
    """
    scale = capital_px / _CAPITAL_PX
    margin = max(2, round(capital_px / 4))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    canvas = np.zeros((2 * height + below + 2 * margin, width + 2 * (margin + height)), np.uint8)
    origin = (margin + height, margin + height)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (255,), 2, cv2.LINE_AA)
    if not canvas.any():
        return canvas[:1, :1]
    return np.pad(canvas[bounding_box(canvas > 0)], margin)


def _reduced(grey: AnyGrey, most_rows: int) -> AnyGrey:
    """The picture with at most so many rows, in its own proportions; never enlarged."""
    rows, columns = grey.shape
    if rows <= most_rows:
        return grey
    return cv2.resize(grey, (max(1, round(columns * most_rows / rows)), most_rows), interpolation=cv2.INTER_AREA)


def _titled(title: str, grey: AnyGrey) -> AnyPicture:
    """The panel under a strip with its title, which is made smaller until it fits."""
    ink = _ink(title, capital_px=14.0)
    fits = min(1.0, grey.shape[1] / ink.shape[1])
    size = (round(ink.shape[1] * fits), max(1, round(ink.shape[0] * fits)))
    ink = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)[:_TITLE_ROWS]
    strip = np.empty((_TITLE_ROWS, grey.shape[1], 3), np.uint8)
    strip[:] = _PAPER
    top, left = (_TITLE_ROWS - ink.shape[0]) // 2, (grey.shape[1] - ink.shape[1]) // 2
    place = strip[top : top + ink.shape[0], left : left + ink.shape[1]]
    np.maximum(place, ink[..., None], out=place)
    return np.concatenate([strip, cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB)])
