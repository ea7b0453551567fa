"""Label files <-> masks: what the stored values mean, and how masks are written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from spineseg.film import BACKGROUND, CHANNELS, VERTEBRAE, Masks
from spineseg.io.files import replacing
from spineseg.io.label_readers import KEY, UnreadableLabel

_MAT_HEADER = b"MATLAB 5.0 MAT-file, written by spineseg".ljust(116)


@dataclass(frozen=True, eq=False)
class Label:
    """The masks of a film, and what the file states besides.

    overlap_px: pixels in more than one vertebra; they stay in each.
    background_disagreement_px: pixels whose stored background is not the complement of all vertebrae, in the values
    that the vertebrae have; the stored one is never used.
    """

    masks: Masks
    overlap_px: int
    background_disagreement_px: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """Both counts as sentences, where they are not zero."""
        remarks = []
        if self.overlap_px:
            remarks.append(f"{self.overlap_px} pixels in more than one vertebra, kept in each")
        if self.background_disagreement_px:
            remarks.append(f"stored background differs from the complement in {self.background_disagreement_px} pixels")
        return tuple(remarks)


# Reading


def read_label(path: str | os.PathLike[str], shape: tuple[int, int]) -> Label:
    """Read the masks of a film of `shape` (rows, columns) from any format of `label_formats`.

    Channels may hold 0 and 1, or 0 and 255, of any numeric or logical type; a label map 0 to 6.
    Raises UnreadableLabel for any other value, key or size; its sentence does not hold the path.
    """
    from spineseg.io.label_formats import read_array  # loads pydicom and SimpleITK, which writers need not wait for

    try:
        stored = read_array(path, shape)
        if stored.ndim == 2:
            return Label(_masks_of_map(stored), 0, 0)
        masks, one = _masks_of_channels(stored)
        background = ~np.logical_or.reduce(masks, axis=0)
        return Label(
            masks=masks,
            overlap_px=int(np.count_nonzero(masks.sum(axis=0, dtype=np.uint8) > 1)),
            background_disagreement_px=_disagreement(stored[..., -1], background, one)
            if stored.shape[2] == len(CHANNELS)
            else 0,
        )
    except MemoryError:
        raise UnreadableLabel("the label does not fit into memory; save it as uint8") from None


def _masks_of_map(values: Shaped[np.ndarray, "rows columns"]) -> Masks:
    """A mask for each number from 1 to 6 of a label map. Raises UnreadableLabel for other numbers."""
    masks = np.stack([values == number for number in range(1, len(VERTEBRAE) + 1)])
    marked = np.count_nonzero(masks)
    if marked + np.count_nonzero(values == 0) != values.size:
        raise UnreadableLabel(_other_numbers(np.unique(values).tolist()))
    if marked and values.dtype == np.bool_:
        raise UnreadableLabel(f"the label is one mask of true and false; {_NUMBERED}")
    return masks


_NUMBERED = f"give the vertebrae the numbers 1 ({VERTEBRAE[0]}) to {len(VERTEBRAE)} ({VERTEBRAE[-1]}), the background 0"


def _other_numbers(values: Sequence[float | int]) -> str:
    """Says which numbers a label map has, and how to turn them into 1 to 6."""
    found = [f"{value:g}" for value in values]
    listed = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
    if len(found) == 2:
        return f"the label map has the values {listed}: one mask of all vertebrae; {_NUMBERED}"
    if len(found) > 32:
        return f"this is a picture with {len(found)} values, not a label map; {_NUMBERED}"
    numbers = [value for value in found if value != "0"][: len(VERTEBRAE)]
    table = " ".join(f"{name}={number}" for name, number in zip(VERTEBRAE, numbers, strict=False))
    example = f" (spineseg convert ... --values {table}, if these are they)" if all(map(str.isdigit, numbers)) else ""
    return f"the label map has the values {listed}; {_NUMBERED}{example}"


def _masks_of_channels(stored: Shaped[np.ndarray, "rows columns channel"]) -> tuple[Masks, int | None]:
    """The masks and the value that stands for 'inside': 1 or 255, or None where no vertebra is marked."""
    vertebrae = [stored[..., channel] for channel in range(len(VERTEBRAE))]
    one = _inside_value(vertebrae)
    masks = np.empty((len(VERTEBRAE), *stored.shape[:2]), dtype=np.bool_)
    for channel, plane in enumerate(vertebrae):
        masks[channel] = plane != 0
        if np.count_nonzero(masks[channel]) != np.count_nonzero(plane == (one or 1)):
            raise UnreadableLabel(_MIXED)
    if stored.shape[2] == len(CHANNELS):
        _check_background_is_last(masks, stored[..., -1])
    return masks, one


def _check_background_is_last(masks: Masks, last: Shaped[np.ndarray, "rows columns"]) -> None:
    """Raises UnreadableLabel where the first channel is the complement of all others, and most of the film."""
    if 2 * np.count_nonzero(masks[0]) <= last.size:
        return
    others = np.logical_or.reduce(masks[1:], axis=0) | (last != 0)
    if np.count_nonzero(masks[0] == others) < _COMPLEMENT_DIFFERS * last.size:
        raise UnreadableLabel(
            f"the first channel is the {BACKGROUND}; save it as the last, after {', '.join(VERTEBRAE)}"
        )


_COMPLEMENT_DIFFERS = 0.01
"""Share of pixels in which a background may differ from the complement and still be one."""
_MIXED = "the label has other values than 0 and 1, or 0 and 255; save each vertebra as 0 and 1"


def _inside_value(planes: list[Shaped[np.ndarray, "rows columns"]]) -> int | None:
    """The largest value of all planes as 1 or 255, None for 0."""
    top = np.max([plane.max() for plane in planes])  # NaN stays NaN
    if top not in (0, 1, 255):
        raise UnreadableLabel(_MIXED)
    return int(top) or None


def _disagreement(
    stored: Shaped[np.ndarray, "rows columns"], background: Bool[np.ndarray, "rows columns"], one: int | None
) -> int:
    """Pixels whose stored value is not `one` in the background or not 0 outside it; without `one`, 1 or 255 will do."""
    inside = (stored == 1) | (stored == 255) if one is None else stored == one
    return int(np.count_nonzero(np.where(background, ~inside, stored != 0)))


# Writing


def to_array(masks: Masks) -> UInt8[np.ndarray, "rows columns channel"]:
    """The masks as 0 and 1, in the order of `CHANNELS`; the background is where no vertebra is."""
    empty = np.zeros((masks.shape[2], len(CHANNELS)), np.uint8)
    empty[:, -1] = 1
    array = np.empty((*masks.shape[1:], len(CHANNELS)), np.uint8)
    array[:] = empty
    for channel, mask in enumerate(masks):
        inside = np.flatnonzero(mask.any(1))
        if len(inside):  # most of a film is background: only the rows that hold the vertebra are gone through
            rows = np.s_[inside[0] : inside[-1] + 1]
            array[rows, :, channel] = mask[rows]
            array[rows, :, -1][mask[rows]] = 0
    return array


def write_array(path: str | os.PathLike[str], masks: Masks) -> None:
    """Write `to_array` as .npy, in C order. The file appears whole or not at all."""
    array = to_array(masks)
    with replacing(path) as stream:  # not by np.save, whose error for a full disk does not say what is wrong
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.data)


def mat_bytes(masks: Masks) -> bytes:
    """`to_array` as compressed MATLAB v5; the same masks give the same bytes."""
    import scipy.io  # as above

    content = BytesIO()
    scipy.io.savemat(content, {KEY: to_array(masks)}, do_compression=True)
    content.seek(0)
    content.write(_MAT_HEADER)  # SciPy's holds the date
    return content.getvalue()


def write_mat(path: str | os.PathLike[str], masks: Masks) -> None:
    """Write `mat_bytes` into a file, which appears whole or not at all."""
    with replacing(path) as stream:
        stream.write(mat_bytes(masks))
