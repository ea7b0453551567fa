"""polarity: bone dark on the picture is noticed whatever the file says, and never where bone is bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from spineseg.film import Film
from spineseg.inference.grid import film_to_grid
from spineseg.inference.polarity import bone_is_dark, clarity, looks_bright
from spineseg.inference.prediction import INVERTED
from spineseg.inference.segmenter import Segmenter
from spineseg.io.films import read_film

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.dcm"))
INSIDE = np.ones((160, 120), bool)


def body() -> np.ndarray:
    """Bright in the middle and brighter below, on black."""
    image = np.zeros((160, 120), np.float32)
    image[:, 30:90] = np.linspace(400, 800, 160)[:, None]
    return image


def spine(value: float) -> np.ndarray:
    """Probabilities of six bodies that the network outlines with so much confidence."""
    probabilities = np.zeros((6, 160, 120), np.float32)
    for k, channel in enumerate(probabilities):
        channel[10 + 24 * k : 30 + 24 * k, 40:70] = value
    return probabilities


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(device="cpu")


def test_brightness_tells_a_body_from_its_inverse_in_any_unit() -> None:
    for scale, offset in ((1, 0), (0.01, -3), (40, 1000)):
        assert looks_bright(body() * scale + offset, INSIDE)
        assert not looks_bright(-body() * scale + offset, INSIDE)


@pytest.mark.parametrize("frame", [-1000.0, 1000.0])
def test_a_frame_of_one_grey_value_never_makes_an_inverse_look_bright(frame: float) -> None:
    framed = np.full((240, 240), frame, np.float32)
    framed[40:200, 60:180] = -body()
    assert not looks_bright(framed, np.ones(framed.shape, bool))


def test_clarity_is_that_of_the_bone_that_is_found() -> None:
    assert clarity(spine(0.0)) == clarity(spine(0.4)) == 0
    assert clarity(spine(0.9)) == pytest.approx(1.8)


@pytest.mark.parametrize(
    ("upright", "inverse", "dark"), [(0.8, 0.9, True), (0.9, 0.8, False), (0.9, 0.9, False), (0.0, 0.9, True)]
)
def test_the_network_decides_where_brightness_leaves_doubt(upright: float, inverse: float, dark: bool) -> None:
    image = body()[::-1]  # darker below
    assert bone_is_dark(image, INSIDE, lambda seen: spine(upright if seen is image else inverse)) == dark


def test_the_network_is_not_asked_where_brightness_leaves_no_doubt() -> None:
    def fail(image: np.ndarray) -> np.ndarray:
        raise AssertionError

    assert not bone_is_dark(body(), INSIDE, fail)
    assert bone_is_dark(-body(), INSIDE, fail)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_inverted_film_has_the_masks_of_the_film(path: Path, segmenter: Segmenter) -> None:
    film = read_film(path)
    upright, inverse = segmenter(film), segmenter(film.inverted())
    assert (upright.inverted, upright.remarks) == (False, ())
    assert (inverse.inverted, inverse.remarks) == (True, (INVERTED,))
    np.testing.assert_array_equal(inverse.masks, upright.masks)
    assert inverse.levels == upright.levels
    np.testing.assert_array_equal(inverse.seen(film.inverted()).image, film.image)


def test_what_a_person_says_of_the_polarity_is_not_questioned(segmenter: Segmenter) -> None:
    film = read_film(EXAMPLES[0])
    told = segmenter(film.as_told(invert=True))
    assert not told.inverted
    assert not np.array_equal(told.masks, segmenter(film).masks)


def decided_dark(segmenter: Segmenter, film: Film) -> bool:
    image, fit = film_to_grid(film, segmenter.card.grid)
    return segmenter._bone_is_dark(image, fit, None)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["", "IDENTITY", "INVERSE"])
def test_the_picture_decides_under_every_tag(
    photometric: str, shape: str, segmenter: Segmenter, tmp_path: Path
) -> None:
    """The stored words are those of a film with bright bone, or of one with dark bone; either tag may lie."""
    dataset = dcmread(EXAMPLES[0])
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = photometric, shape
    dataset.save_as(path := tmp_path / "tagged.dcm")
    stored_bright = read_film(EXAMPLES[0]).image
    film = read_film(path)
    says_dark = photometric == "MONOCHROME1" or shape == "INVERSE"
    assert np.corrcoef(film.image[::9, ::9].ravel(), stored_bright[::9, ::9].ravel())[0, 1] == pytest.approx(
        -1 if says_dark else 1
    )
    assert decided_dark(segmenter, film) == says_dark
    assert decided_dark(segmenter, film.inverted()) != says_dark


@pytest.mark.parametrize("bits", [8, 16])
def test_every_real_film_and_its_inverse_are_told_apart(shared: Path, segmenter: Segmenter, bits: int) -> None:
    for path in sorted((shared / "films/img").glob("*.dcm")):
        image = read_film(path).image
        if bits == 8:
            image = np.rint((image - image.min()) / np.ptp(image) * 255).astype(np.float32)
        assert not decided_dark(segmenter, Film(image))
        assert decided_dark(segmenter, Film(image).inverted())
