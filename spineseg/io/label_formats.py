"""The table of label formats: a new one is a function and an entry (docs/how-to/add-a-label-format.md)."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scipy.io.matlab import MatReadError

from spineseg.film import BadInput
from spineseg.io.dicom_header import start_of_elements
from spineseg.io.dicom_seg_read import read_segmentation
from spineseg.io.kinds import GZIP, HEAD_BYTES, JPEG, NIFTI, NUMPY, PNG, TIFF, ZIP, Kind, kind_of
from spineseg.io.label_maps import read_jpeg, read_map
from spineseg.io.label_readers import Stored, UnreadableLabel, check_array, read_mat5, read_mat73, read_npy, read_npz

_HDF5 = b"\x89HDF\r\n\x1a\n"
_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, RuntimeError, EOFError, zlib.error, MatReadError),
    *(SyntaxError, tokenize.TokenError),  # NumPy reads the head of a .npy as Python
    *(AttributeError, zipfile.BadZipFile),
)
"""What readers raise for damaged files; their words may hold the path."""


@dataclass(frozen=True)
class LabelFormat:
    """One kind of label file.

    name: for errors. suffixes: of its files in `label/`. starts: whether the first `HEAD_BYTES` bytes are of this
    format. read: from an open file and the film's (rows, columns) to rows x columns x channels, with values 0 and 1 or
    0 and 255, or to a label map, rows x columns with values from 0 to 6; what it raises for a damaged file becomes one
    sentence.
    """

    name: str
    suffixes: tuple[str, ...]
    starts: Callable[[bytes], bool]
    read: Callable[[BinaryIO, tuple[int, int]], Stored]


def _of(*kinds: Kind) -> Callable[[bytes], bool]:
    return lambda head: kind_of(head) in kinds


def _is_dicom(head: bytes) -> bool:
    return start_of_elements(head) is not None


LABEL_FORMATS = (
    LabelFormat("MATLAB", (".mat",), lambda head: _HDF5 in (head[: len(_HDF5)], head[512:]), read_mat73),
    LabelFormat("MATLAB", (".mat",), lambda head: head.startswith(b"MATLAB 5.0 MAT-file"), read_mat5),
    LabelFormat("NumPy", (".npy",), _of(NUMPY), read_npy),
    LabelFormat("NumPy", (".npz",), _of(ZIP), read_npz),
    LabelFormat("PNG", ("-labels.png", ".png"), _of(PNG), read_map),
    LabelFormat("TIFF", (".tif", ".tiff"), _of(TIFF), read_map),
    LabelFormat("NIfTI", (".nii.gz", ".nii"), _of(NIFTI, GZIP), read_map),
    LabelFormat("DICOM segmentation", (".seg.dcm", ".dcm"), _is_dicom, read_segmentation),
    LabelFormat("PNG", (), _of(JPEG), read_jpeg),
)
"""In the order in which a file's content is compared with them, and in which a film's label is looked for."""
LABEL_SUFFIXES = tuple(dict.fromkeys(suffix for each in LABEL_FORMATS for suffix in each.suffixes))
_CORRECTED = "-corrected"
"""What the page adds to the names of labels that a person changed."""


def either(names: Iterable[str]) -> str:
    """The names, each once, as a choice: "a, b or c"."""
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} or {last}" if first else last


def formats() -> str:
    """All formats as a choice."""
    return either(each.name for each in LABEL_FORMATS)


# Names


def films_of_label(name: str) -> Iterator[tuple[str, int]]:
    """Names of the film that a label file may belong to, with its rank among that film's labels, the least being used.

    "7.mat" belongs to film 7, "7-corrected-labels.png" to 7, 7-corrected or 7-corrected-labels; other files to none.
    """
    for rank, suffix in enumerate(LABEL_SUFFIXES):
        if name.lower().endswith(suffix):
            stem = name[: -len(suffix)]
            yield stem, rank
            if stem.endswith(_CORRECTED):
                yield stem.removesuffix(_CORRECTED), rank + len(LABEL_SUFFIXES)


# Content


def read_array(path: str | os.PathLike[str], shape: tuple[int, int]) -> Stored:
    """The array of a label file in any format of the table, told apart by content, for a film of (rows, columns).

    Raises UnreadableLabel; its sentence does not hold the path.
    """
    try:
        if not Path(path).is_file():
            raise UnreadableLabel(f"there is no label file; choose one file ({formats()})")
        with open(path, "rb") as stream:
            head = stream.read(HEAD_BYTES)
            stream.seek(0)
            array = _format_of(head).read(stream, shape)
        check_array(array.shape, array.dtype.kind, shape)
        return array
    except UnreadableLabel:
        raise
    except BadInput as error:  # of a picture
        raise UnreadableLabel(str(error)) from None
    except _DAMAGE:
        raise UnreadableLabel("the label file is damaged; save it again") from None


def _format_of(head: bytes) -> LabelFormat:
    for each in LABEL_FORMATS:
        if each.starts(head):
            return each
    raise UnreadableLabel(f"this is {kind_of(head).article}, not a label; save the label as {formats()}")
