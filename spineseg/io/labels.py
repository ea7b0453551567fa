"""Annotation file <-> masks: MATLAB's `label_separated`, as v5 and v7.3 write it, and this project's own arrays."""

from __future__ import annotations

import os
import tokenize
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import scipy.io
from jaxtyping import Bool, Shaped, UInt8
from scipy.io.matlab import MatReadError

from spineseg.film import BACKGROUND, CHANNELS, VERTEBRAE, BadInput, Masks
from spineseg.io.files import replacing

KEY = "label_separated"
"""The variable of the course's MATLAB files: rows x columns x 7."""
_MAT5 = b"MATLAB 5.0 MAT-file"
_HEADER_TEXT = b"MATLAB 5.0 MAT-file, written by spineseg"
_HEADER_BYTES = 116
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NPY = b"\x93NUMPY"
_NUMBERS = "buif"
"""NumPy kinds that may hold 0 and 1: logical, whole and decimal numbers."""
_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, RuntimeError, EOFError, zlib.error, MatReadError),
    *(SyntaxError, tokenize.TokenError),  # NumPy reads the head of a .npy as Python
)
"""What SciPy, h5py and NumPy raise for damaged files; their words may hold the path."""


class UnreadableLabel(BadInput):
    """The file does not hold the masks of this film."""


@dataclass(frozen=True, eq=False)
class Label:
    """Six masks of a film, and what the file said that they do not.

    overlap_px: pixels in more than one vertebra; they stay in each.
    background_disagreement_px: pixels whose stored seventh channel is not what the other six make it, the complement of
    their union in the same values; the stored one is never used.
    """

    masks: Masks
    overlap_px: int
    background_disagreement_px: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """Both counts as sentences, where they are not zero."""
        said = []
        if self.overlap_px:
            said.append(f"{self.overlap_px} pixels in more than one vertebra, kept in each")
        if self.background_disagreement_px:
            said.append(f"stored background differs from the complement in {self.background_disagreement_px} pixels")
        return tuple(said)


def read_label(path: str | os.PathLike[str], shape: tuple[int, int]) -> Label:
    """Read the masks of a film of `shape` (rows, columns) from .mat (v5, v7.3) or .npy, told apart by content.

    Values may be 0 and 1, or 0 and 255, of any numeric or logical type.
    Raises UnreadableLabel for any other value, key or size; its sentence does not hold the path.
    """
    try:
        stored = _read_array(path, shape)
        masks, one = _binary(stored)
        return Label(
            masks=masks,
            overlap_px=int(np.count_nonzero(masks.sum(axis=0, dtype=np.uint8) > 1)),
            background_disagreement_px=_disagreement(stored[..., len(VERTEBRAE)], _background(masks), one),
        )
    except MemoryError:
        raise UnreadableLabel("expected a label that fits into memory, got a larger one; save it as uint8") from None


def to_array(masks: Masks) -> UInt8[np.ndarray, "rows columns channel"]:
    """The seven channels of `CHANNELS` as 0 and 1; the background is where no vertebra is."""
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
    """Write rows x columns x 7 as .npy, in C order. The file appears whole or not at all."""
    array = to_array(masks)
    with replacing(path) as stream:  # not by np.save, whose error for a full disk does not say what is wrong
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.data)


def mat_bytes(masks: Masks) -> bytes:
    """Rows x columns x 7 as compressed MATLAB v5; the same masks give the same bytes."""
    content = BytesIO()
    scipy.io.savemat(content, {KEY: to_array(masks)}, do_compression=True)
    content.seek(0)
    content.write(_HEADER_TEXT.ljust(_HEADER_BYTES))  # SciPy's holds the date
    return content.getvalue()


def write_mat(path: str | os.PathLike[str], masks: Masks) -> None:
    """Write `mat_bytes` into a file, which appears whole or not at all."""
    with replacing(path) as stream:
        stream.write(mat_bytes(masks))


# What the file holds


def _read_array(path: str | os.PathLike[str], shape: tuple[int, int]) -> Shaped[np.ndarray, "rows columns channel"]:
    """The stored array; sizes and types are checked before the values are read."""
    try:
        if not Path(path).is_file():
            raise UnreadableLabel("expected a label file (.mat or .npy), got none there; choose one file")
        with open(path, "rb") as stream:
            head = stream.read(512 + len(_HDF5))
            stream.seek(0)
            if head.startswith(_NPY):
                return _read_npy(stream, shape)
            if _HDF5 in (head[: len(_HDF5)], head[512:]):
                return _read_mat73(stream, shape)
            if head.startswith(_MAT5):
                return _read_mat5(stream, shape)
    except UnreadableLabel:
        raise
    except _DAMAGE:
        raise UnreadableLabel("expected a sound .mat or .npy file, got a damaged one; save the label again") from None
    found = "another kind of file" if head else "an empty file"
    raise UnreadableLabel(f"expected a MATLAB file (v5 or v7.3) or a .npy array, got {found}; save the label again")


def _read_npy(stream: BinaryIO, shape: tuple[int, int]) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    stored_shape, _fortran, dtype = read_header(stream)
    _check(stored_shape, dtype.kind, shape)
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def _read_mat5(stream: BinaryIO, shape: tuple[int, int]) -> np.ndarray:
    """Only the one variable, and only when it is a plain array: cells within cells can end a process."""
    listed = reversed(scipy.io.whosmat(stream))  # of two that share a name the first counts: it is what loadmat reads
    variables = {name: (size, kind) for name, size, kind in listed}
    if KEY not in variables:
        raise UnreadableLabel(_no_key())
    size, kind = variables[KEY]
    plain = kind in ("logical", "double", "single") or kind.lstrip("u").startswith("int")
    _check(tuple(size), "f" if plain else "O", shape)
    stream.seek(0)
    stored = scipy.io.loadmat(stream, variable_names=[KEY])[KEY]
    _check(stored.shape, stored.dtype.kind, shape)  # complex numbers show here
    return stored


def _read_mat73(stream: BinaryIO, shape: tuple[int, int]) -> np.ndarray:
    """MATLAB's v7.3 is HDF5 with the axes reversed; logical comes as uint8. Links out of the file are not followed."""
    with h5py.File(stream, "r") as file:
        link = file.get(KEY, getlink=True)
        if link is None:
            raise UnreadableLabel(_no_key())
        dataset = file.get(KEY) if isinstance(link, h5py.HardLink) else None
        plain = isinstance(dataset, h5py.Dataset) and not dataset.is_virtual and dataset.external is None
        if not plain or not isinstance(dataset, h5py.Dataset):
            raise UnreadableLabel(f"expected {KEY} to be an array, got a group or a link; save it as a plain array")
        _check(dataset.shape[::-1], dataset.dtype.kind, shape)
        return np.asarray(dataset[()]).T


def _no_key() -> str:
    return f"expected a variable {KEY}, got a file without it; save the label under that name"


def _check(stored: tuple[int, ...], kind: str, shape: tuple[int, int]) -> None:
    """Raises UnreadableLabel unless the array is rows x columns x 7 plain numbers for a film of `shape`."""
    if kind not in _NUMBERS:
        raise UnreadableLabel(f"expected {KEY} to hold numbers, got another kind of values; save it as 0 and 1")
    expected = (*shape, len(CHANNELS))
    if tuple(stored) == expected:
        return
    got = " x ".join(str(side) for side in stored) or "a single value"
    advice = "check that film and label belong together"
    if sorted(stored) == sorted(expected):
        advice = "the axes are exchanged, so transpose it to rows x columns x channels"
    elif tuple(stored[:2]) == shape:
        advice = f"save the channels {', '.join(VERTEBRAE)} and {BACKGROUND}"
    raise UnreadableLabel(f"expected rows x columns x 7 = {' x '.join(map(str, expected))}, got {got}; {advice}")


# What the values mean


def _binary(stored: Shaped[np.ndarray, "rows columns channel"]) -> tuple[Masks, int | None]:
    """The six masks and the value that stands for 'inside': 1 or 255, or None where no vertebra is marked."""
    vertebrae = [stored[..., channel] for channel in range(len(VERTEBRAE))]
    one = _inside(vertebrae)
    masks = np.empty((len(VERTEBRAE), *stored.shape[:2]), dtype=np.bool_)
    for channel, plane in enumerate(vertebrae):
        masks[channel] = plane != 0
        if np.count_nonzero(masks[channel]) != np.count_nonzero(plane == (one or 1)):
            raise UnreadableLabel(_mixed())
    return masks, one


def _inside(planes: list[Shaped[np.ndarray, "rows columns"]]) -> int | None:
    """The largest value of all planes as 1 or 255, None for 0."""
    top = np.max([plane.max() for plane in planes])  # NaN stays NaN
    if top in (1, 255):
        return int(top)
    if top == 0:
        return None
    raise UnreadableLabel(_mixed())


def _mixed() -> str:
    return "expected masks of 0 and 1 or of 0 and 255, got other values; save each vertebra as 0 and 1"


def _background(masks: Masks) -> Bool[np.ndarray, "rows columns"]:
    return ~np.logical_or.reduce(masks, axis=0)


def _disagreement(
    stored: Shaped[np.ndarray, "rows columns"], background: Bool[np.ndarray, "rows columns"], one: int | None
) -> int:
    """Pixels whose stored value is not `one` in the background or not 0 outside it; without `one`, 1 or 255 will do."""
    inside = (stored == 1) | (stored == 255) if one is None else stored == one
    return int(np.count_nonzero(np.where(background, ~inside, stored != 0)))
