"""A folder of films and labels: `img/<film>` with `label/<film>` and a suffix of `LABEL_SUFFIXES`, at any depth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from spineseg.film import BadInput, Case
from spineseg.io.dicom_write import write_film
from spineseg.io.discovery import FoundFilm, LeftOut, files_in, no_film, search, stem_of
from spineseg.io.films import read_film
from spineseg.io.label_formats import LABEL_SUFFIXES, either
from spineseg.io.labels import read_label, write_mat

IMAGES, LABELS = "img", "label"


class BadDataset(BadInput):
    """A folder that cannot be trained on."""


class NoFilms(BadDataset):
    """The folder holds no film."""


@dataclass(frozen=True)
class FilmFiles:
    """Where a film and its label are; label is None where there is none.

    name: path of the film below `img` with "/" between folders, without a film's ending.
    """

    name: str
    film: Path
    label: Path | None

    @property
    def root(self) -> Path:
        """The folder that holds `img` and `label`."""
        return self.film.parents[len(PurePosixPath(self.name).parts)]


@dataclass(frozen=True)
class DataFolder:
    """A folder of films and labels. left_out: every file in `img` and `label` that is not used."""

    films: tuple[FilmFiles, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def unused(self) -> list[LeftOut]:
        """What is left out, and films without a label."""
        alone = [LeftOut(files.name, "a film without a label") for files in self.films if files.label is None]
        return [*self.left_out, *alone]


def read_folder(folder: Path | str) -> DataFolder:
    """The films in `img` at any depth, told by content, each with its label, and the files that are not used.

    A label has the film's path below `label` and the first of `LABEL_SUFFIXES` that there is, in either case.
    Raises NoFilms.
    """
    folder = Path(folder)
    if not (folder / IMAGES).is_dir():
        raise NoFilms(f"This folder has no {IMAGES}/ with films; name the folder that holds {IMAGES}/ and {LABELS}/")
    found = list(search([folder / IMAGES], archives=False))
    left_out = [replace(each, name=f"{IMAGES}/{each.name}") for each in found if isinstance(each, LeftOut)]
    films: dict[str, Path] = {}
    for film in sorted((each for each in found if isinstance(each, FoundFilm)), key=lambda film: film.name):
        if (stem := stem_of(film.name)) in films:
            left_out.append(LeftOut(f"{IMAGES}/{film.name}", f"another film of the name {stem}"))
        else:
            films[stem] = film.path
    if not films:
        raise NoFilms(no_film(f"{IMAGES}/", left_out))
    labels, others = _labels(folder / LABELS, films)
    paired = tuple(FilmFiles(name, film, labels.get(name)) for name, film in films.items())
    return DataFolder(paired, (*left_out, *others))


def _labels(folder: Path, films: Collection[str]) -> tuple[dict[str, Path], list[LeftOut]]:
    """The label of each film that has one, and the files that are none."""
    by_film: dict[str, list[tuple[int, str, Path]]] = {}
    left_out: list[LeftOut] = []
    for each in files_in(folder) if folder.is_dir() else ():
        if isinstance(each, LeftOut):
            left_out.append(replace(each, name=f"{LABELS}/{each.name}"))
            continue
        path, name = each
        rank = next((k for k, suffix in enumerate(LABEL_SUFFIXES) if name.lower().endswith(suffix)), None)
        if rank is None:
            left_out.append(LeftOut(f"{LABELS}/{name}", f"no {either(LABEL_SUFFIXES)} file"))
        else:
            by_film.setdefault(name[: -len(LABEL_SUFFIXES[rank])], []).append((rank, name, path))
    for stem, candidates in by_film.items():
        first, *more = sorted(candidates)
        if stem not in films:
            left_out += [LeftOut(f"{LABELS}/{name}", "a label without a film of its name") for _, name, _ in candidates]
        else:
            left_out += [LeftOut(f"{LABELS}/{name}", f"a second label beside {first[1]}") for _, name, _ in more]
    return {stem: min(candidates)[2] for stem, candidates in by_film.items() if stem in films}, left_out


def find_films(folder: Path | str) -> tuple[FilmFiles, ...]:
    """The films of `read_folder`. Raises NoFilms."""
    return read_folder(folder).films


def labelled_films(folder: Path | str) -> list[FilmFiles]:
    """Those of `find_films` that have a label. Raises BadDataset if none has."""
    labelled = [files for files in find_films(folder) if files.label]
    if not labelled:
        suffixes = either(LABEL_SUFFIXES)
        raise BadDataset(f"expected labels as {LABELS}/<film>{suffixes}, found none that belongs to a film")
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
        (folder / part / case.name).parent.mkdir(parents=True, exist_ok=True)
    write_mat(folder / LABELS / f"{case.name}.mat", case.masks)
    write_film(folder / IMAGES / f"{case.name}.dcm", case.film)
