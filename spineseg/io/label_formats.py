"""The table of label formats: a new one is a function and an entry (docs/how-to/add-a-label-format.md)."""

from __future__ import annotations

import os
import tokenize
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scipy.io.matlab import MatReadError

from spineseg.film import BadInput
from spineseg.io.label_readers import Stored, UnreadableLabel, check_array, read_mat5, read_mat73, read_npy

HEAD_BYTES = 520
"""Length of a file's beginning that tells its format."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MATLAB = "a MATLAB file (v5 or v7.3)"
_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, RuntimeError, EOFError, zlib.error, MatReadError),
    *(SyntaxError, tokenize.TokenError),  # NumPy reads the head of a .npy as Python
)
"""What readers raise for damaged files; their words may hold the path."""


@dataclass(frozen=True)
class LabelFormat:
    """One kind of label file.

    name: with its article, for errors. suffix: of its files in `label/`. starts: whether the first `HEAD_BYTES` bytes
    are of this format. read: from an open file and the film's (rows, columns) to rows x columns x channels, with values
    0 and 1 or 0 and 255; what it raises for a damaged file becomes one sentence.
    """

    name: str
    suffix: str
    starts: Callable[[bytes], bool]
    read: Callable[[BinaryIO, tuple[int, int]], Stored]


LABEL_FORMATS = (
    LabelFormat(_MATLAB, ".mat", lambda head: _HDF5 in (head[: len(_HDF5)], head[512:]), read_mat73),
    LabelFormat(_MATLAB, ".mat", lambda head: head.startswith(b"MATLAB 5.0 MAT-file"), read_mat5),
    LabelFormat("a .npy array", ".npy", lambda head: head.startswith(b"\x93NUMPY"), read_npy),
)
"""In the order in which a file's content is compared with them, and in which a film's label is looked for."""
LABEL_SUFFIXES = tuple(dict.fromkeys(each.suffix for each in LABEL_FORMATS))


def either(names: Iterable[str]) -> str:
    """The names, each once, as a choice: "a, b or c"."""
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} or {last}" if first else last


def read_array(path: str | os.PathLike[str], shape: tuple[int, int]) -> Stored:
    """The array of a label file in any format of the table, told apart by content, for a film of (rows, columns).

    Raises UnreadableLabel; its sentence does not hold the path.
    """
    suffixes = either(LABEL_SUFFIXES)
    try:
        if not Path(path).is_file():
            raise UnreadableLabel(f"expected a label file ({suffixes}), got none there; choose one file")
        with open(path, "rb") as stream:
            head = stream.read(HEAD_BYTES)
            stream.seek(0)
            array = _format_of(head).read(stream, shape)
        check_array(array.shape, array.dtype.kind, shape)
        return array
    except BadInput:
        raise
    except _DAMAGE:
        raise UnreadableLabel(f"expected a sound {suffixes} file, got a damaged one; save the label again") from None


def _format_of(head: bytes) -> LabelFormat:
    for each in LABEL_FORMATS:
        if each.starts(head):
            return each
    found = "another kind of file" if head else "an empty file"
    names = either(each.name for each in LABEL_FORMATS)
    raise UnreadableLabel(f"expected {names}, got {found}; save the label again")
