"""The window that a film states, on the values that the program has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import dataset, save
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from spineseg.film import Window
from spineseg.io import isolation
from spineseg.io.films import read_film
from spineseg.io.isolation import read_film_isolated
from spineseg.io.reader_pool import Unsafe


def film_with(path: Path, rng: np.random.Generator, **elements: Any) -> Path:
    words = rng.integers(0, 4096, (70, 66)).astype(np.uint16)
    return save(path / "film.dcm", dataset(words, **elements))


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"RescaleSlope": "1.5", "RescaleIntercept": "-100"},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "1.5", "RescaleIntercept": "-100"},
        {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 17},
    ],
)
def test_the_window_gives_the_grey_values_of_pydicom(
    tmp_path: Path, rng: np.random.Generator, stated: dict[str, Any]
) -> None:
    path = film_with(tmp_path, rng, WindowCenter=["1500", "40"], WindowWidth=["1200", "400"], **stated)
    film, file = read_film(path), pydicom.dcmread(path)
    assert film.window and film.window.function == "LINEAR"
    found = np.clip((film.image - (film.window.level - 0.5)) / (film.window.width - 1) + 0.5, 0, 1)
    slope, intercept = float(file.get("RescaleSlope", 1)), float(file.get("RescaleIntercept", 0))
    modality = file.pixel_array * slope + intercept
    expected = np.clip((apply_windowing(modality, file) - intercept) / (4095 * slope), 0, 1)
    if "PhotometricInterpretation" in stated:
        expected = 1 - expected
    padded = file.pixel_array == stated.get("PixelPaddingValue", -1)
    assert np.allclose(found[~padded], expected[~padded], atol=1e-5)


def test_the_reader_process_hands_the_window_on(tmp_path: Path, rng: np.random.Generator) -> None:
    path = film_with(tmp_path, rng, WindowCenter=300, WindowWidth=40, VOILUTFunction="SIGMOID")
    assert read_film_isolated(path).window == Window(300.0, 40.0, "SIGMOID") == read_film(path).window


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"WindowCenter": 300},
        {"WindowCenter": 300, "WindowWidth": 0},
        {"WindowCenter": 300, "WindowWidth": -5},
        {"WindowCenter": "1e30", "WindowWidth": 5},
        {"WindowCenter": 300, "WindowWidth": 5, "VOILUTFunction": "LOGARITHM"},
    ],
)
def test_a_window_that_cannot_be_used_is_none(tmp_path: Path, rng: np.random.Generator, stated: dict[str, Any]) -> None:
    assert read_film(film_with(tmp_path, rng, **stated)).window is None


def test_the_window_of_an_enhanced_object_is_its_frames_own(tmp_path: Path, rng: np.random.Generator) -> None:
    frame, groups = Dataset(), Dataset()
    frame.WindowCenter, frame.WindowWidth = 300, 40
    groups.FrameVOILUTSequence = [frame]
    path = film_with(tmp_path, rng, SharedFunctionalGroupsSequence=[groups], WindowCenter=7, WindowWidth=7)
    assert read_film(path).window == Window(300.0, 40.0)


@pytest.mark.parametrize(
    "stated",
    [[1.0, 1.0], [1.0, -1.0, "LINEAR"], [float("nan"), 1.0, "LINEAR"], [1.0, 1.0, "Doe"], ["x", 1.0, "LINEAR"]],
)
def test_what_no_reader_says_of_a_window(stated: Any) -> None:
    with pytest.raises(Unsafe):
        isolation._window(stated)
