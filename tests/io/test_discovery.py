"""discovery: which files of folders and archives are films, under which names, and that nothing is lost silently."""

from __future__ import annotations

import os
import shutil
import time
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from dicom_files import save_object, wheel_file, write_index

from spineseg.film import Film
from spineseg.io import discovery
from spineseg.io.dicom_write import write_film
from spineseg.io.discovery import FILM_ENDINGS, FoundFilm, LeftOut, no_film, search, stem_of
from spineseg.io.folder import read_folder
from spineseg.io.kinds import HEAD_BYTES

REPORT, STATE = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.11.1"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    write_film(path, Film(np.arange(64 * 64, dtype=np.float32).reshape(64, 64)))
    return path


@pytest.fixture
def put(film: Path, tmp_path: Path) -> Callable[..., Path]:
    """Puts films under these names into one folder."""

    def put(*names: str, folder: Path = tmp_path / "films") -> Path:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(film, folder / name)
        return folder

    return put


def films(*paths: Path) -> dict[str, str]:
    """Name and stem of each."""
    return {each.name: each.stem for each in search(paths) if isinstance(each, FoundFilm)}


def left_out(*paths: Path) -> list[str]:
    return [str(each).replace(": left out: ", ": ") for each in search(paths) if isinstance(each, LeftOut)]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        *((f"a{ending}", "a") for ending in FILM_ENDINGS),
        *(("121", "121"), ("121.DCM", "121"), ("a/b.DiCoM", "a/b"), ("a.dcm.dcm", "a.dcm"), ("a.png.dcm", "a.png")),
        *((name, name) for name in ("film A.B", "2023.01.05_LSPINE", "1.2.840.10008.5", "patient v1.0 lateral")),
        *((name, name) for name in (".dcm", "a/.dcm", "dcm", "a.dcmx", "a.img/b", "a.zip/b")),
    ],
)
def test_only_endings_of_films_are_no_part_of_a_name(name: str, stem: str):
    assert stem_of(name) == stem


def test_films_are_told_by_content_at_any_depth(put: Callable[..., Path]):
    names = ["film A.B", "2023.01.05_LSPINE", "x.dic", "y.dc3", "z.dcm30", "w.img", "v.txt", "1.2.840.10008.5"]
    tree = ["sub/nested.dcm", "PA000001/ST000001/IM000001", "PA000001/ST000002/IM000001"]
    found = films(put(*names, *tree))
    assert list(found) == [*sorted(names), *sorted(tree)]
    assert found == {name: stem_of(name) for name in [*names, *tree]} and found["v.txt"] == "v.txt"
    assert left_out(put()) == []


def test_names_that_meet_are_kept_apart(put: Callable[..., Path]):
    """Also where a system does not tell upper from lower case, and over several folders."""
    folder = put("a.dcm", "a.ima", "b/a.dcm", "A.dic", "a", "a.ima.dcm")
    other = put("a.dcm", folder=folder.parent / "other")
    found = [each for each in search([folder, other]) if isinstance(each, FoundFilm)]
    assert len({each.stem.casefold() for each in found}) == len(found) == 7
    assert {each.name: each.meets for each in found if each.path.parent == folder} == {
        **{"A.dic": "", "a": "A.dic", "a.dcm": "A.dic", "a.ima": "A.dic", "a.ima.dcm": "a.ima"}
    }
    assert found[-1].name == "a.dcm" and found[-1].stem == "a.dcm-2"


def test_two_spellings_of_one_path_in_an_archive_are_kept_apart(tmp_path: Path, film: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/b.png", "a/./b.png", "a//b.png", "./a/b.png"):
            archive.writestr(name, film.read_bytes())
    stems = [found.stem for found in search([path]) if isinstance(found, FoundFilm)]
    assert stems == ["a/b", "a/b.png", "a/b.png-2", "a/b.png-3"]


def test_what_systems_put_beside_films_is_passed_over(put: Callable[..., Path]):
    quiet = ["._a.dcm", ".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini", "__MACOSX/._a.dcm", "__MACOSX/b.dcm"]
    folder = put("a.dcm", *quiet)
    assert films(folder) == {"a.dcm": "a"} and left_out(folder) == []
    archive = Path(shutil.make_archive(str(folder), "zip", folder))
    assert films(archive) == {"a.dcm": "a"} and left_out(archive) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links of POSIX")
def test_links_and_what_is_no_file(put: Callable[..., Path], tmp_path: Path):
    """A link to a folder is followed once, and never up; the film bears the name of its real folder."""
    folder, elsewhere = put("z/a.dcm"), put("b.dcm", folder=tmp_path / "elsewhere")
    for name, target in (("broken.dcm", "gone"), ("loop", "loop"), ("up", ".."), ("self", "."), ("a-link", "z")):
        (folder / name).symlink_to(target)
    (folder / "c-link").symlink_to(elsewhere)
    (folder / "file-link").symlink_to(elsewhere / "b.dcm")
    os.mkfifo(folder / "pipe")
    assert films(folder) == {"file-link": "file-link", "z/a.dcm": "z/a", "c-link/b.dcm": "c-link/b"}
    assert left_out(folder) == [
        "broken.dcm: a broken link; mend or remove it",
        "loop: a broken link; mend or remove it",
        "pipe: a pipe, a socket or a device",
        "a-link: a folder that was searched already",
        "self: a link to a folder above it",
        "up: a link to a folder above it",
    ]


def test_what_cannot_be_opened_is_named_and_lost(put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    """As the system refuses it; the superuser, who may run this test, is refused nothing."""
    folder = put("a.dcm", "locked.dcm", "shut/b.dcm")
    whole, listed = discovery.read_head, os.listdir

    def read_head(path: Path) -> bytes:
        if path.name == "locked.dcm":
            raise PermissionError
        return whole(path)

    def listdir(path: Path) -> list[str]:
        if path.name == "shut":
            raise PermissionError
        return listed(path)

    monkeypatch.setattr(discovery, "read_head", read_head)
    monkeypatch.setattr(os, "listdir", listdir)
    assert films(folder) == {"a.dcm": "a"}
    found = [each for each in search([folder]) if isinstance(each, LeftOut)]
    assert [(each.name, each.lost) for each in found] == [("locked.dcm", True), ("shut", True)]
    assert [each.reason for each in found] == [
        "a file that cannot be opened; allow reading it",
        "a folder that cannot be opened; allow reading it",
    ]


def test_nothing_comes_twice(put: Callable[..., Path]):
    folder = put("a.dcm", "b/c.dcm")
    assert films(folder / "a.dcm", folder, folder / "b") == {"a.dcm": "a", "b/c.dcm": "b/c"}
    assert left_out(folder / "a.dcm", folder, folder / "b", folder / "a.dcm") == [
        "a.dcm: a file that was named already",
        "b: a folder that was searched already",
        "a.dcm: a file that was named already",
    ]


def test_results_and_hidden_folders_are_not_searched(put: Callable[..., Path]):
    folder = put("a.dcm", "out/b.dcm", ".cache/c.dcm", ".hidden.dcm")
    found = list(search([folder], apart_from=folder / "out"))
    assert [each.name for each in found if isinstance(each, FoundFilm)] == [".hidden.dcm", "a.dcm"]
    assert [str(each) for each in found if isinstance(each, LeftOut)] == [
        ".cache: left out: a hidden folder; name it to search it",
        "out: left out: a folder of results",
    ]
    assert len(list(search([folder], apart_from=folder))) == len(list(search([folder]))), "results beside their films"
    assert films(folder / ".cache") == {"c.dcm": "c"}


def test_archives_are_folders(put: Callable[..., Path], film: Path):
    """Their films can be read; one named outright stands for its own top."""
    folder = put("b/a.dcm", "c")
    write_index(folder / "DICOMDIR")
    archive = Path(shutil.make_archive(str(folder.parent / "export"), "zip", folder))
    assert films(archive) == {"b/a.dcm": "b/a", "c": "c"}
    (folder / "more").mkdir()
    archive.rename(folder / "more" / "any name")
    assert films(folder) == {"b/a.dcm": "b/a", "c": "c"} | {
        f"more/any name/{name}": f"more/any name/{stem_of(name)}" for name in ("b/a.dcm", "c")
    }
    for each in search([folder]):
        if isinstance(each, FoundFilm):
            with each.on_disk() as path:
                assert path.read_bytes() == film.read_bytes()
    shutil.make_archive(str(folder.parent / "outer"), "zip", folder)
    assert left_out(folder.parent / "outer.zip") == [
        "DICOMDIR: a DICOMDIR index",
        "more/any name: a ZIP archive in another; unpack it and name it",
    ]


def test_an_archive_without_a_film_is_one_line(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "letter.docx", "w") as archive:
        archive.writestr("word/document.xml", "<w:document/>")
        archive.writestr("report.pdf", b"%PDF-1.4")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "letter.docx").read_bytes()[:60])
    assert left_out(tmp_path) == [
        "cut.zip: a ZIP archive; it is damaged, or in part encrypted; pack it again",
        "letter.docx: a ZIP archive without a film; 1 PDF document, 1 file of another kind",
    ]
    assert [each.lost for each in search([tmp_path]) if isinstance(each, LeftOut)] == [True, False]


def test_the_sentence_for_a_folder_without_films(tmp_path: Path):
    assert no_film("This folder", []) == (
        "This folder holds no film: nothing is in it; name a folder with DICOM files or pictures"
    )
    for k in range(7):
        np.save(tmp_path / f"{k}.npy", np.zeros(3))
    for k in range(5):
        (tmp_path / f"{k}.pdf").write_bytes(b"%PDF-1.7")
    found = [each for each in search([tmp_path]) if isinstance(each, LeftOut)]
    assert no_film("This folder", found) == (
        "This folder holds no film: 12 files were looked at (7 NumPy arrays, 5 PDF documents); "
        "name a folder with DICOM files or pictures"
    )


def test_named_files_are_films_whatever_they_are(tmp_path: Path):
    """Their reader says what is wrong with them, as with a file that is missing."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    assert films(tmp_path / "a.pdf", tmp_path / "gone.dcm") == {"a.pdf": "a.pdf", "gone.dcm": "gone"}


KINDS: dict[str, Callable[[Path], object]] = {
    "a PDF document": lambda path: path.write_bytes(b"%PDF-1.7"),
    "a NumPy array": lambda path: path.write_bytes(b"\x93NUMPY\1\0"),
    "a MATLAB file": lambda path: scipy.io.savemat(path, {"label_separated": np.zeros(3)}, appendmat=False),
    "an HDF5 file": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"),
    "a gzip archive": lambda path: path.write_bytes(b"\x1f\x8b\b"),
    "an empty file": lambda path: path.touch(),
    "a file of another kind": lambda path: path.write_bytes(b"noted by hand"),
    "a DICOM structured report": lambda path: save_object(path, REPORT),
    "a DICOM presentation state": lambda path: save_object(path, STATE),
    "a DICOMDIR index": write_index,
    "a DICOM object that is no radiograph": lambda path: shutil.copy(wheel_file("rtdose.dcm"), path),
}


def test_five_hundred_files_of_mixed_kinds_are_accounted_for(put: Callable[..., Path], rng: np.random.Generator):
    """In random folders under random endings: each is a film or one line with what it is."""
    folders = ["", "a", "a/b", "PA000001/ST000001", "x.y"]
    endings = ["", ".dcm", ".DCM", ".txt", ".B", ".png", ".zip"]
    kinds = rng.choice(["film", *KINDS], 500)
    names = [f"{folders[rng.integers(5)]}/{k}{endings[rng.integers(7)]}".strip("/") for k in range(500)]
    folder = put(*(name for name, kind in zip(names, kinds, strict=True) if kind == "film"))
    for name, kind in zip(names, kinds, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if kind != "film":
            KINDS[kind](folder / name)
    found = list(search([folder]))
    assert Counter(each.name for each in found) == Counter(names)
    assert {each.name: each.what if isinstance(each, LeftOut) else "film" for each in found} == dict(
        zip(names, kinds, strict=True)
    )
    archive = Path(shutil.make_archive(str(folder), "zip", folder))
    assert {each.name: getattr(each, "what", "film") for each in search([archive])} == dict(
        zip(names, kinds, strict=True)
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_ten_thousand_films_of_one_name_are_named_in_seconds(tmp_path: Path):
    path, started = tmp_path / "a.zip", time.process_time()
    with zipfile.ZipFile(path, "w") as archive:
        for _ in range(10_000):
            archive.writestr("a" * 100 + ".png", b"\x89PNG\r\n\x1a\n")
    found = [each for each in search([path]) if isinstance(each, FoundFilm)]
    assert len({each.stem for each in found}) == 10_000
    assert time.process_time() - started < 15


def test_ten_thousand_files_are_listed_in_seconds_and_the_first_at_once(tmp_path: Path, film: Path):
    head = film.read_bytes()[:HEAD_BYTES]
    for k in range(10_000):
        (folder := tmp_path / str(k % 10)).mkdir(exist_ok=True)
        (folder / f"{k}.dcm").write_bytes(head)
    began = time.process_time()
    found = search([tmp_path])
    next(found)
    first = time.process_time() - began
    assert sum(1 for _ in found) == 9_999
    assert first < 1 and time.process_time() - began < 10


@pytest.mark.parametrize("name", ["Röntgen/Müller 1", "요추/환자 1"])
def test_names_of_macos_are_those_of_other_systems(put: Callable[..., Path], tmp_path: Path, name: str):
    """It stores an accent, or a part of a Korean syllable, as a letter of its own: the same to the eye alone."""
    apart = unicodedata.normalize("NFD", name)
    folder = put(f"img/{apart}.dcm", folder=tmp_path / "data")
    assert films(folder) == {f"img/{name}.dcm": f"img/{name}"}
    label = folder / "label" / f"{name}.mat"
    label.parent.mkdir(parents=True)
    label.write_bytes(b"")
    (pair,) = read_folder(folder).films
    assert (pair.name, pair.label) == (name, label) and pair.film.is_file()
    archive = tmp_path / "films.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(pair.film, f"{apart}.dcm")
    assert films(archive) == {f"{name}.dcm": name}
