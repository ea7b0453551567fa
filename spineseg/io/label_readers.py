"""Readers of arrays as labels: MATLAB v5, MATLAB v7.3 (HDF5), NumPy's .npy and .npz.

Each takes an open file and the film's (rows, columns), and returns the stored array. Size and type are checked before
the values are read, as a few bytes may claim gigabytes.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable
from typing import BinaryIO, cast

import numpy as np
from jaxtyping import Shaped

from spineseg.film import BACKGROUND, CHANNELS, VERTEBRAE, BadInput

KEY = "label_separated"
"""Name of the MATLAB variable that holds the channels."""
NPZ_KEYS = ("masks", KEY)
"""Names of the array in a .npz, the page's own first."""
Stored = Shaped[np.ndarray, "rows columns *channel"]
"""What a reader returns: rows x columns x channels, with or without the background, or a label map."""
_NUMBERS = "buif"
"""NumPy kinds that may hold 0 and 1: logical, whole and decimal numbers."""
_MOST_NAMED, _MOST_CHANNEL_NAMES = 8, 1000
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What NumPy writes; other methods take memory of the archive's choice."""


class UnreadableLabel(BadInput):
    """The file does not hold the masks of this film.

    anonymous: the sentence without names that the file's author gave to its contents, for others to see.
    """

    def __init__(self, sentence: str, anonymous: str | None = None) -> None:
        super().__init__(sentence)
        self.anonymous = anonymous or sentence


def read_npy(stream: BinaryIO | zipfile.ZipExtFile, shape: tuple[int, int]) -> Stored:
    """A NumPy array; a pickled one is refused."""
    _check_npy_header(stream, shape)
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def _check_npy_header(stream: BinaryIO | zipfile.ZipExtFile, shape: tuple[int, int]) -> None:
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    stored_shape, _fortran, dtype = read_header(stream)
    check_array(stored_shape, dtype.kind, shape)


def read_npz(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """Array `masks`, as the page writes it, or `label_separated`; `channels`, if there, must name the same channels."""
    with zipfile.ZipFile(stream) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        key = next((key for key in NPZ_KEYS if key in entries), None)
        if key is None:
            raise no_variable(NPZ_KEYS[0], entries)
        if entries[key].compress_type not in _PLAIN:
            raise UnreadableLabel("the .npz is packed by a method that NumPy does not use; save it by numpy.savez")
        if "channels" in entries:
            _check_channels(archive, entries["channels"])
        with archive.open(entries[key]) as array:
            return read_npy(cast(zipfile.ZipExtFile, array), shape)


def _check_channels(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raises UnreadableLabel unless the names are ours, with the background or without it."""
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = (
            np.lib.format.read_array_header_1_0(stream) if version == (1, 0) else ((), None, np.dtype("O"))
        )
        named = dtype.kind == "U" and math.prod(shape) * dtype.itemsize <= _MOST_CHANNEL_NAMES
        if named:
            stream.seek(0)
            names = tuple(np.load(stream, allow_pickle=False).ravel().tolist())
    if not named or names not in (CHANNELS, VERTEBRAE):
        raise UnreadableLabel(
            f"the .npz says that its channels are others than {', '.join(CHANNELS)}; save them in this order"
        )


def read_mat5(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """Variable `KEY` alone, and only where it is a plain array: nested cells can crash the process."""
    import scipy.io  # readers alone need it, not who writes labels or serves the page

    listed = reversed(scipy.io.whosmat(stream))  # loadmat reads the first of two that share a name
    variables = {name: (size, kind) for name, size, kind in listed}
    if KEY not in variables:
        raise no_variable(KEY, reversed(variables))
    size, kind = variables[KEY]
    plain = kind in ("logical", "double", "single") or kind.lstrip("u").startswith("int")
    check_array(tuple(size), "f" if plain else "O", shape)
    stream.seek(0)
    return scipy.io.loadmat(stream, variable_names=[KEY])[KEY]


def read_mat73(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """HDF5 dataset `KEY`, whose axes MATLAB stores in reverse. Links out of the file are not followed."""
    import h5py  # as above

    with h5py.File(stream, "r") as file:
        link = file.get(KEY, getlink=True)
        if link is None:
            raise no_variable(KEY, map(str, file))
        dataset = file.get(KEY) if isinstance(link, h5py.HardLink) else None
        plain = isinstance(dataset, h5py.Dataset) and not dataset.is_virtual and dataset.external is None
        if not plain or not isinstance(dataset, h5py.Dataset):
            raise UnreadableLabel(f"{KEY} is a group or a link; save it as a plain array")
        check_array(dataset.shape[::-1], dataset.dtype.kind, shape)
        return np.asarray(dataset[()]).T


def no_variable(wanted: str, found: Iterable[str]) -> UnreadableLabel:
    """For a file that has other variables. found: their names; plain words alone are repeated."""
    names = [name for name in found if re.fullmatch(r"\w{1,63}", name, re.ASCII)]
    listed = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    remedy = f"save the masks as {wanted}"
    return UnreadableLabel(
        f"the label file has {listed or 'no variable'}, but no {wanted}; {remedy}",
        f"the label file has no {wanted}; {remedy}",
    )


# Size and type


def check_array(stored: tuple[int, ...], kind: str, shape: tuple[int, int]) -> None:
    """Raises UnreadableLabel unless the array can hold the masks of a film of `shape` (rows, columns).

    stored: its shape; rows x columns x channels, with the background or without it, or a label map of rows x columns.
    kind: of its values, as in `numpy.dtype.kind`.
    """
    if kind not in _NUMBERS:
        raise UnreadableLabel("the label holds other values than numbers; save it as 0 and 1")
    sizes = [(*shape, len(CHANNELS)), (*shape, len(VERTEBRAE)), shape]
    if tuple(stored) in sizes:
        return
    got = " x ".join(map(str, stored)) or "a single value"
    raise UnreadableLabel(
        f"the film has {shape[0]} x {shape[1]} rows x columns, the label {got}; {_advice(stored, shape, sizes)}"
    )


OTHER_FILM = "it is the label of another film, choose its own"


def _advice(stored: tuple[int, ...], shape: tuple[int, int], sizes: list[tuple[int, ...]]) -> str:
    if any(sorted(stored) == sorted(size) for size in sizes):
        return "its axes are exchanged, so transpose it to rows x columns" + " x channels" * (len(stored) == 3)
    if tuple(stored[:2]) == shape:
        return f"save the channels {', '.join(VERTEBRAE)} and {BACKGROUND}"
    scaled = len(stored) > 1 and 9 < stored[1] != shape[1] and abs(stored[0] - shape[0] * stored[1] / shape[1]) <= 1
    return "save it at the film’s own size" if scaled else OTHER_FILM
