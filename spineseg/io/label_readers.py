"""Readers of label files: MATLAB v5, MATLAB v7.3 (HDF5) and NumPy arrays.

Each takes an open file and the film's (rows, columns), and returns the stored array: rows x columns x channels. Size
and type are checked before the values are read, as a few bytes may claim gigabytes.
"""

from __future__ import annotations

from typing import BinaryIO

import h5py
import numpy as np
import scipy.io
from jaxtyping import Shaped

from spineseg.film import BACKGROUND, CHANNELS, VERTEBRAE, BadInput

KEY = "label_separated"
"""Name of the MATLAB variable that holds the channels."""
Stored = Shaped[np.ndarray, "rows columns channel"]
_NUMBERS = "buif"
"""NumPy kinds that may hold 0 and 1: logical, whole and decimal numbers."""


class UnreadableLabel(BadInput):
    """The file does not hold the masks of this film."""


def read_npy(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """A NumPy array; a pickled one is refused."""
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    stored_shape, _fortran, dtype = read_header(stream)
    check_array(stored_shape, dtype.kind, shape)
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def read_mat5(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """Variable `KEY` alone, and only where it is a plain array: nested cells can crash the process."""
    listed = reversed(scipy.io.whosmat(stream))  # loadmat reads the first of two that share a name
    variables = {name: (size, kind) for name, size, kind in listed}
    if KEY not in variables:
        raise UnreadableLabel(_no_key())
    size, kind = variables[KEY]
    plain = kind in ("logical", "double", "single") or kind.lstrip("u").startswith("int")
    check_array(tuple(size), "f" if plain else "O", shape)
    stream.seek(0)
    return scipy.io.loadmat(stream, variable_names=[KEY])[KEY]


def read_mat73(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """HDF5 dataset `KEY`, whose axes MATLAB stores in reverse. Links out of the file are not followed."""
    with h5py.File(stream, "r") as file:
        link = file.get(KEY, getlink=True)
        if link is None:
            raise UnreadableLabel(_no_key())
        dataset = file.get(KEY) if isinstance(link, h5py.HardLink) else None
        plain = isinstance(dataset, h5py.Dataset) and not dataset.is_virtual and dataset.external is None
        if not plain or not isinstance(dataset, h5py.Dataset):
            raise UnreadableLabel(f"expected {KEY} to be an array, got a group or a link; save it as a plain array")
        check_array(dataset.shape[::-1], dataset.dtype.kind, shape)
        return np.asarray(dataset[()]).T


def _no_key() -> str:
    return f"expected a variable {KEY}, got a file without it; save the label under that name"


def check_array(stored: tuple[int, ...], kind: str, shape: tuple[int, int]) -> None:
    """Raises UnreadableLabel unless the array is rows x columns x channels of plain numbers for a film of `shape`.

    stored: its shape. kind: of its values, as in `numpy.dtype.kind`.
    """
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
    sides = " x ".join(map(str, expected))
    raise UnreadableLabel(f"expected rows x columns x {len(CHANNELS)} = {sides}, got {got}; {advice}")
