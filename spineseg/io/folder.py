"""A folder of films and labels: `img/<stem>.dcm` with `label/<stem>` and a suffix of `LABEL_SUFFIXES`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from spineseg.film import BadInput, Case
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.label_formats import LABEL_SUFFIXES, either, films_of_label
from spineseg.io.labels import read_label, write_mat

IMAGES, LABELS = "img", "label"


class BadDataset(BadInput):
    """A folder that cannot be trained on."""


class NoFilms(BadDataset):
    """The folder holds no film."""


@dataclass(frozen=True)
class FilmFiles:
    """Where a film and its label are; label is None where there is none."""

    name: str
    film: Path
    label: Path | None


def find_films(folder: Path | str) -> tuple[FilmFiles, ...]:
    """The films `img/*.dcm` of the folder by name, each with its label: the first of `labels_by_film`.

    Raises NoFilms.
    """
    films = sorted(path for path in (Path(folder) / IMAGES).glob("*.dcm") if not path.name.startswith("."))
    if not films:
        raise NoFilms(f"expected films as {IMAGES}/*.dcm, found none; name the folder that holds {IMAGES} and {LABELS}")
    labels, _ = labels_by_film(folder, [film.stem for film in films])
    return tuple(FilmFiles(film.stem, film, labels.get(film.stem, (None,))[0]) for film in films)


def labels_by_film(folder: Path | str, names: Collection[str]) -> tuple[dict[str, tuple[Path, ...]], tuple[Path, ...]]:
    """The label files of each film, the one that is used first, and those that belong to no film."""
    known, found, others = set(names), dict[str, list[tuple[int, Path]]](), list[Path]()
    for path in sorted((Path(folder) / LABELS).glob("[!.]*")):
        films = list(films_of_label(path.name)) if path.is_file() else []
        if film := next((film for film in films if film[0] in known), None):
            found.setdefault(film[0], []).append((film[1], path))
        elif films:
            others.append(path)
    return {name: tuple(path for _, path in sorted(found[name])) for name in sorted(found)}, tuple(others)


def no_labels(folder: Path | str, films: Collection[FilmFiles]) -> str:
    """Says that none of the films has a label, and where labels were looked for."""
    labels = Path(folder) / LABELS
    _, others = labels_by_film(folder, ())
    if not labels.is_dir():
        return f"there is no folder {labels}; put the labels there, as <film>{either(LABEL_SUFFIXES)}"
    film = min(files.name for files in films)
    if others:
        return (
            f"{labels} holds {len(others)} labels, as {others[0].name}, but none of a film, as {film}; name them alike"
        )
    return f"{labels} holds no label for {len(films)} films, as {film}; save them as <film>{either(LABEL_SUFFIXES)}"


def labelled_films(folder: Path | str) -> list[FilmFiles]:
    """Those of `find_films` that have a label. Raises BadDataset if none has."""
    films = find_films(folder)
    labelled = [files for files in films if files.label]
    if not labelled:
        raise BadDataset(no_labels(folder, films))
    return labelled


def read_case(files: FilmFiles) -> Case:
    """The film with its reference masks. Raises BadInput if either cannot be read."""
    if files.label is None:
        suffixes = either(LABEL_SUFFIXES)
        raise BadInput(f"expected a label for the film, got none; add a {suffixes} file of the same name")
    film = read_film(files.film)
    label = read_label(files.label, film.shape)
    return Case(files.name, film, label.masks, label.remarks)


def write_case(folder: Path, case: Case) -> None:
    """Write one case in the layout that `find_films` reads; 12-bit DICOM and compressed .mat."""
    for part in (IMAGES, LABELS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_mat(folder / LABELS / f"{case.name}.mat", case.masks)
    write_film(folder / IMAGES / f"{case.name}.dcm", case.film)
