"""submission: which files are films, and which folders of arrays are not well formed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import rectangles

from spineseg.evaluation.submission import SubmissionReport, check_submission
from spineseg.film import BadInput, Film, Masks
from spineseg.io.dicom_write import write_film
from spineseg.io.labels import to_array, write_array

NAMES = ("121", "122.dcm", "123.DCM", "124.dicom")
SHAPES = ((200, 150), (180, 160), (190, 190), (170, 140))


def bodies(shape: tuple[int, int]) -> Masks:
    return rectangles(shape, 10, 26, 16, 60, 30)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Four test films of different sizes and endings, with what archives put beside them."""
    folder = tmp_path / "test"
    folder.mkdir()
    for k, (name, shape) in enumerate(zip(NAMES, SHAPES, strict=True)):
        image = np.random.default_rng(k).integers(0, 4096, shape).astype(np.float32)
        write_film(folder / name, Film(image))
    (folder / "._121.dcm").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").touch()
    return folder


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A valid answer."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name, shape in zip(NAMES, SHAPES, strict=True):
        write_array(folder / f"{name[:3]}.npy", bodies(shape))
    return folder


def said(report: SubmissionReport) -> list[tuple[str, str, str]]:
    assert all("\n" not in finding.sentence for finding in report.findings)
    return [(finding.film, finding.severity, finding.kind) for finding in report.findings]


def test_a_valid_submission(films: Path, arrays: Path):
    report = check_submission(arrays, films)
    assert report == SubmissionReport(4, 4, ())
    assert report.summary == "a valid submission: 4 films, 4 arrays, 0 errors, 0 warnings"
    assert report.as_dict()["valid"] is True
    np.save(arrays / "121.npy", to_array(bodies(SHAPES[0])).astype(bool))
    assert check_submission(arrays, films).findings == ()


def test_missing_and_superfluous(films: Path, arrays: Path):
    (arrays / "122.npy").rename(arrays / "222.npy")
    (arrays / "121.png").touch()
    report = check_submission(arrays, films)
    assert said(report) == [
        ("122.npy", "error", "no array"),
        ("222.npy", "error", "no film"),
        ("121.png", "warning", "no array"),
    ]
    assert report.summary == "not a valid submission: 4 films, 4 arrays, 2 errors, 1 warning"


def exchanged(array: np.ndarray) -> np.ndarray:
    return array[..., [0, 2, 1, 3, 4, 5, 6]]


def reversed_rows(array: np.ndarray) -> np.ndarray:
    return array[::-1]


def overlapping(array: np.ndarray) -> np.ndarray:
    array[20, 60:65, 3] = 1
    return array


def another_background(array: np.ndarray) -> np.ndarray:
    array[..., 6] = array[..., 5]
    return array


def two(array: np.ndarray) -> np.ndarray:
    return array * 255


def empty(array: np.ndarray) -> np.ndarray:
    array[..., :6] = 0
    array[..., 6] = 1
    return array


CHANGES: list[tuple[Callable[[np.ndarray], np.ndarray], list[str], str]] = [
    (lambda a: a[:-1], ["form"], "expected rows x columns x 7 = 200 x 150 x 7, got 199 x 150 x 7; resize"),
    (lambda a: a.transpose(1, 0, 2), ["form"], "got 150 x 200 x 7; exchange its axes"),
    (lambda a: a.transpose(2, 0, 1), ["form"], "got 7 x 200 x 150; exchange its axes"),
    (lambda a: a[..., :6], ["form"], "got 200 x 150 x 6"),
    (lambda a: a[..., 0], ["form"], "got 200 x 150;"),
    (lambda a: a.astype(np.float32), ["form"], "expected uint8 or bool, got float32"),
    (lambda a: a.astype(np.int64), ["form"], "expected uint8 or bool, got int64"),
    (two, ["values"], "got values up to 255"),
    (overlapping, ["overlap", "pieces"], "got 5 in several"),
    (another_background, ["background"], "got another in 27600 pixels"),
    (exchanged, ["exchanged"], "L2 and L3 exchanged"),
    (reversed_rows, ["upside down"], "got them going up"),
    (empty, ["empty"], "expected vertebrae, got none"),
]


@pytest.mark.parametrize(("change", "kinds", "words"), CHANGES)
def test_an_array_that_will_not_do(
    films: Path, arrays: Path, change: Callable[[np.ndarray], np.ndarray], kinds: list[str], words: str
):
    np.save(arrays / "121.npy", change(to_array(bodies(SHAPES[0]))))
    report = check_submission(arrays, films)
    assert [finding.kind for finding in report.findings] == kinds
    assert report.findings[0].severity == "error" and report.errors == 1
    assert words in report.findings[0].sentence


def test_a_vertebra_that_is_not_there_is_only_a_warning(films: Path, arrays: Path):
    masks = bodies(SHAPES[0])
    masks[2] = False
    write_array(arrays / "121.npy", masks)
    assert said(check_submission(arrays, films)) == [("121.npy", "warning", "empty")]


def test_a_file_that_is_no_array_or_a_pickle(films: Path, arrays: Path):
    for name, content in (("121", b""), ("122", b"\x93NUMPY"), ("123", b"nothing")):
        (arrays / f"{name}.npy").write_bytes(content)
    np.save(arrays / "124.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert said(check_submission(arrays, films)) == [(f"{n}.npy", "error", "form") for n in (121, 122, 123, 124)]


def test_films_that_cannot_be_read_or_share_a_name(films: Path, arrays: Path):
    (films / "122.dcm").write_bytes((films / "122.dcm").read_bytes()[:3000])
    (films / "121.ima").write_bytes((films / "121").read_bytes())
    assert said(check_submission(arrays, films)) == [
        ("121.ima.npy", "error", "no array"),
        ("122.dcm", "error", "unreadable film"),
    ]


def test_what_is_no_film_is_named(films: Path, arrays: Path):
    """A warning, or an error where a film may be behind it."""
    (films / "report").write_bytes(b"%PDF-1.7")
    (films / "gone.dcm").symlink_to("nowhere")
    report = check_submission(arrays, films)
    assert said(report) == [("gone.dcm", "error", "left out"), ("report", "warning", "left out")]
    assert report.findings[1].sentence == "left out: a PDF document" and report.errors == 1


def test_films_in_a_tree_or_an_archive(films: Path, arrays: Path, tmp_path: Path):
    """Arrays lie as their films do."""
    for folder, name, kept in ((films, "122.dcm", "122.dcm"), (arrays, "122.npy", "122.npy")):
        (folder / "a" / "b").mkdir(parents=True)
        (folder / name).rename(folder / "a" / "b" / kept)
    assert check_submission(arrays, films) == SubmissionReport(4, 4, ())
    archive = shutil.make_archive(str(tmp_path / "films"), "zip", films)
    assert check_submission(arrays, Path(archive)) == SubmissionReport(4, 4, ())
    (arrays / "a" / "b" / "122.npy").rename(arrays / "122.npy")
    assert said(check_submission(arrays, films)) == [
        ("122.npy", "error", "no film"),
        ("a/b/122.npy", "error", "no array"),
    ]


def test_no_films(arrays: Path):
    with pytest.raises(BadInput, match=r"holds no film: 4 files were looked at \(4 NumPy arrays\); name a folder"):
        check_submission(arrays, arrays)
