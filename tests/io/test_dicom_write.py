"""Written films: read back by us and by SimpleITK, anonymous, and the same bytes each time."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import EXPLICIT, by_simpleitk
from pydicom.uid import UID

from spineseg.film import Film, Spacing
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film

FILM = Film(np.arange(66 * 71, dtype=np.float32).reshape(66, 71) % 4096, Spacing(0.1, 0.2, "detector"))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_written_films_are_read_back(tmp_path: Path, rng: np.random.Generator, bits: int):
    image = rng.integers(0, 2**bits, (67, 71)).astype(np.float32)  # an odd number of pixels
    spacings = (None, Spacing(0.143, 0.15, "detector"), Spacing(0.1, 0.12345, "patient"))
    for photometric, spacing in itertools.product(("MONOCHROME1", "MONOCHROME2"), spacings):
        write_film(tmp_path / "a.dcm", Film(image, spacing), bits_stored=bits, photometric=photometric)
        film = read_film(tmp_path / "a.dcm")
        np.testing.assert_array_equal(film.image, image)
        assert film.spacing == spacing
        np.testing.assert_array_equal(by_simpleitk(tmp_path / "a.dcm"), image)


def test_written_values_are_rounded_and_clipped(tmp_path: Path):
    image = np.zeros((64, 64), dtype=np.float32)
    image[0, :5] = -3, 0.4, 0.6, 4095.4, 70000
    write_film(tmp_path / "a.dcm", Film(image))
    assert read_film(tmp_path / "a.dcm").image[0, :5].tolist() == [0, 0, 1, 4095, 4095]
    with pytest.raises(ValueError, match="8 to 16"):
        write_film(tmp_path / "b.dcm", FILM, bits_stored=17)


def test_same_film_same_bytes_and_another_film_other_identifiers(tmp_path: Path):
    a, b, c = (tmp_path / name for name in "abc")
    for path, film in ((a, FILM), (b, FILM), (c, FILM.inverted())):
        write_film(path, film)
    assert a.read_bytes() == b.read_bytes()
    one, other = pydicom.dcmread(a), pydicom.dcmread(c)
    assert one.SOPInstanceUID != other.SOPInstanceUID and one.StudyInstanceUID != other.StudyInstanceUID


def test_written_header(tmp_path: Path):
    write_film(tmp_path / "a.dcm", FILM)
    made = pydicom.dcmread(tmp_path / "a.dcm")
    assert made.file_meta.TransferSyntaxUID == EXPLICIT
    assert (made.Modality, made.BodyPartExamined, made.ViewPosition) == ("CR", "LSPINE", "LL")
    assert (made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation) == (16, 12, 11, 0)
    assert made.ImagerPixelSpacing == [0.1, 0.2] and "PixelSpacing" not in made
    assert all(not made[keyword].value for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate"))
    assert str(made.SOPInstanceUID).startswith("2.25.") and UID(made.SOPInstanceUID).is_valid
