"""Which films show the same patient: the only file that reads a patient's identifier, which it never returns."""

from __future__ import annotations

import csv
import hashlib
import io
import locale
import secrets
from collections.abc import Hashable, Sequence
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from spineseg.film import BadInput
from spineseg.io.dicom_header import without_library_messages
from spineseg.io.discovery import composed, stem_of

FILM, PATIENT, FOLD = "film", "patient", "fold"
"""Columns of a table of patients."""
_EXPECTED = f"expected a CSV file with the columns {FILM} and {PATIENT}"


class BadPatients(BadInput):
    """Films whose patients are not known."""


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    """The keys as numbers from 0, in the order in which each first appears."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def patients_in_dicom(films: Sequence[Path]) -> list[int]:
    """A number for each film, the same for films of one patient by Patient ID (0010,0020).

    The identifiers are read into memory, salted with random bytes that are then forgotten, and compared; nothing of
    them is returned. Raises BadPatients if a film has none, and BadInput if one is no DICOM file.
    """
    salt = secrets.token_bytes(16)
    digests = [_patient_digest(film, salt) for film in films]
    if missing := digests.count(None):
        raise BadPatients(
            f"expected a Patient ID in every film, got {missing} of {len(films)} without; name the patients in a CSV"
        )
    return _numbered(digests)


def _patient_digest(film: Path, salt: bytes) -> bytes | None:
    """A digest of the patient's identifier, None where the film has none."""
    try:
        with without_library_messages():
            header = pydicom.dcmread(film, stop_before_pixels=True, specific_tags=["PatientID"])
            identifier = str(header.get("PatientID") or "").strip()
    except (InvalidDicomError, EOFError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError):
        raise BadInput(
            f"{film.stem}: expected a DICOM file, got something else or half of one; name the patients in a CSV"
        ) from None
    return hashlib.sha256(salt + identifier.encode()).digest() if identifier else None


def patients_in_table(table: Path, films: Sequence[str]) -> list[int]:
    """A number for each film by name, the same for films of one patient, from a CSV file with `film` and `patient`.

    Raises BadPatients if the table is not understood or lacks a film.
    """
    return _numbered(_column(table, PATIENT, films))


def folds_in_table(table: Path, films: Sequence[str]) -> list[int] | None:
    """The fold of each film, numbered from 1 in the order of their names, or None without such a column."""
    if FOLD not in _columns(table):
        return None
    folds = _column(table, FOLD, films)
    order = sorted(set(folds), key=lambda name: (len(name), name))  # 2 before 10
    return [order.index(fold) + 1 for fold in folds]


def _columns(table: Path) -> list[str]:
    return list(_rows(table)[0])


def _rows(table: Path) -> list[dict[str, str]]:
    """The lines by column in lower case, separated by commas, or by semicolons or tabs as spreadsheets may write."""
    try:
        head, _, lines = _text(table.read_bytes()).partition("\n")
        separator = max(",;\t", key=head.count)
        rows = list(csv.DictReader(io.StringIO(f"{head.lower()}\n{lines}", newline=""), delimiter=separator))
    except OSError:
        raise BadPatients(f"{_EXPECTED}, found none; check the path") from None
    except (UnicodeDecodeError, csv.Error):
        rows = []
    if not rows or FILM not in rows[0]:
        raise BadPatients(f"{_EXPECTED}, got another; name them in its first line")
    return rows


def _text(content: bytes) -> str:
    """UTF-8, or what a spreadsheet writes on this system. Raises UnicodeDecodeError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        local = locale.getencoding()
        return content.decode("cp1252" if local.lower() == "utf-8" else local)


def _column(table: Path, column: str, films: Sequence[str]) -> list[str]:
    """The column's entry for each film, whose name in the table may have a film's ending."""
    rows = _rows(table)
    if column not in rows[0]:
        raise BadPatients(f"expected a column {column}, got a table without; add it")
    stated = {stem_of(composed((row[FILM] or "").strip())): (row[column] or "").strip() for row in rows}
    missing = [film for film in films if not stated.get(film)]
    if missing:
        few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise BadPatients(
            f"expected a {column} for every film, got none for {len(missing)} ({few}); add a line for each"
        )
    return [stated[film] for film in films]
