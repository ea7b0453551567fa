"""patients: films of one patient are found, and who it is never leaves the function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from spineseg.film import BadInput, Film
from spineseg.io.dicom_write import write_film
from spineseg.io.patients import BadPatients, folds_in_table, patients_in_dicom, patients_in_table


def film_of(folder: Path, name: str, patient: str) -> Path:
    path = folder / f"{name}.dcm"
    write_film(path, Film(np.arange(4096, dtype=np.float32).reshape(64, 64)))
    header = pydicom.dcmread(path)
    header.PatientID = patient
    header.save_as(path)
    return path


def test_films_of_one_patient_have_one_number(tmp_path: Path):
    films = [film_of(tmp_path, name, who) for name, who in (("a", "Kim"), ("b", "Lee"), ("c", " Kim "), ("d", "Choi"))]
    assert patients_in_dicom(films) == [0, 1, 0, 2]
    assert patients_in_dicom(films[1:]) == [0, 1, 2]


def test_films_without_a_patient_are_not_taken_for_one_person_s(tmp_path: Path):
    films = [film_of(tmp_path, name, who) for name, who in (("a", "Kim"), ("b", ""), ("c", " "))]
    with pytest.raises(BadPatients, match=r"^expected a Patient ID in every film, got 2 of 3 without;") as caught:
        patients_in_dicom(films)
    assert "Kim" not in str(caught.value)


def test_what_is_no_film_is_named(tmp_path: Path):
    (tmp_path / "x.dcm").write_bytes(b"nothing of use")
    with pytest.raises(BadInput, match=r"^x: expected a DICOM file"):
        patients_in_dicom([tmp_path / "x.dcm"])


def test_a_table_names_the_patients(tmp_path: Path):
    table = tmp_path / "patients.csv"
    table.write_text("patient,film\nKim, a.dcm\nLee,b\nKim,c\nChoi,not here\n", encoding="utf-8-sig")
    assert patients_in_table(table, ["a", "b", "c"]) == [0, 1, 0]
    assert folds_in_table(table, ["a", "b", "c"]) is None


def test_a_table_names_the_folds(tmp_path: Path):
    table = tmp_path / "folds.csv"
    table.write_text("film,fold\na,10\nb,2\nc,10\nd,1\n")
    assert folds_in_table(table, ["a", "b", "c", "d"]) == [3, 2, 3, 1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("film,patient\na,Kim\n", r"expected a patient for every film, got none for 2 \(b, c\); add"),
        ("film,patient\na,Kim\nb,\nc,Lee\n", r"expected a patient for every film, got none for 1 \(b\)"),
        ("film,who\na,Kim\n", "expected a column patient, got a table without"),
        ("name,patient\na,Kim\n", "expected a CSV file with the columns film and patient, got another"),
        ("", "expected a CSV file with the columns film and patient, got another"),
    ],
)
def test_a_table_that_will_not_do_is_refused(tmp_path: Path, text: str, sentence: str):
    with pytest.raises(BadPatients, match=r"found none; check the path$"):
        patients_in_table(tmp_path / "a.csv", ["a"])
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BadPatients, match=f"^{sentence}"):
        patients_in_table(tmp_path / "a.csv", ["a", "b", "c"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_as_a_spreadsheet_writes_it(tmp_path: Path, separator: str, encoding: str):
    table = tmp_path / "patients.csv"
    lines = [("Film", "Patient"), ("Müller/1", "ä"), ("Müller/2", "b"), ("Müller/3", "ä")]
    table.write_bytes("".join(f"{separator.join(line)}\r\n" for line in lines).encode(encoding))
    assert patients_in_table(table, ["Müller/1", "Müller/2", "Müller/3"]) == [0, 1, 0]


def test_a_folder_is_no_table(tmp_path: Path):
    with pytest.raises(BadPatients, match="found none; check the path"):
        patients_in_table(tmp_path, ["a"])
