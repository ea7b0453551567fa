"""A folder of films and labels: `img/<film>` with `label/<film>` and a suffix of `LABEL_SUFFIXES`, at any depth.

A simulated film of a sick spine has its findings in `findings/<film>.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile

from spineseg.film import BadInput, Case, Finding, Masks
from spineseg.io.dicom_write import write_film
from spineseg.io.discovery import FoundFilm, LeftOut, files_in, no_film, read_head, search, stem_of
from spineseg.io.files import PART, locked, replacing, write_text
from spineseg.io.films import FILM_KINDS, read_film
from spineseg.io.kinds import OTHER, Kind, kind_of
from spineseg.io.label_formats import LABEL_SUFFIXES, either, films_of_label
from spineseg.io.labels import read_label, write_mat

IMAGES, LABELS, FINDINGS = "img", "label", "findings"


class BadDataset(BadInput):
    """A folder that cannot be trained on."""


class NoFilms(BadDataset):
    """The folder holds no film."""


@dataclass(frozen=True)
class FilmFiles:
    """Where a film and its label are; label is None where there is none.

    name: path of the film below `img` with "/" between folders, without a film's ending. further: labels of it that are
    not used.
    """

    name: str
    film: Path
    label: Path | None
    further: tuple[Path, ...] = ()

    @property
    def root(self) -> Path:
        """The folder that holds `img` and `label`."""
        return self.film.parents[len(PurePosixPath(self.name).parts)]


@dataclass(frozen=True)
class DataFolder:
    """A folder of films and labels, with every file in its `img` and `label`.

    alone: labels without a film, by their names below `label`. left_out: what is neither a film nor a label, and
    further films of one name.
    """

    path: Path
    films: tuple[FilmFiles, ...]
    alone: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def read_folder(folder: Path | str) -> DataFolder:
    """The films in `img` at any depth, told by content, each with its label, and the files that are not used.

    A label has the film's path below `label`, as `films_of_label` takes it apart; of several the first one is used.
    Raises NoFilms.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NoFilms(f"There is no folder {folder.name}; name the one that holds {IMAGES}/ and {LABELS}/")
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
    labels, alone, others = _labels(folder / LABELS, films)
    paired = tuple(_paired(name, film, labels.get(name, [])) for name, film in films.items())
    return DataFolder(folder, paired, tuple(alone), (*left_out, *others))


def _paired(name: str, film: Path, labels: Sequence[Path]) -> FilmFiles:
    return FilmFiles(name, film, labels[0] if labels else None, tuple(labels[1:]))


def _labels(folder: Path, films: Collection[str]) -> tuple[dict[str, list[Path]], list[str], list[LeftOut]]:
    """The labels of each film, the one that is used first; names of those without a film; and what is no label."""
    ranked: dict[str, list[tuple[int, str, Path]]] = {}
    alone: list[str] = []
    left_out: list[LeftOut] = []
    for each in files_in(folder) if folder.is_dir() else ():
        if isinstance(each, LeftOut):
            left_out.append(replace(each, name=f"{LABELS}/{each.name}"))
            continue
        path, name = each
        owners = list(films_of_label(name))
        if owner := next((owner for owner in owners if owner[0] in films), None):
            ranked.setdefault(owner[0], []).append((owner[1], name, path))
        elif owners:
            alone.append(name)
        else:
            left_out.append(LeftOut(f"{LABELS}/{name}", "a file without a label’s ending"))
    return {film: [path for *_, path in sorted(found)] for film, found in ranked.items()}, alone, left_out


def no_labels(data: DataFolder) -> str:
    """Says that none of the films has a label, and where labels were looked for."""
    labels, film, endings = data.path / LABELS, data.films[0].name, either(LABEL_SUFFIXES)
    if not labels.is_dir():
        return f"there is no folder {labels}; put the labels there, as <film>{endings}"
    if data.alone:
        count = len(data.alone)
        return f"{labels} holds {count} labels, as {data.alone[0]}, but none of a film, as {film}; name them alike"
    return f"{labels} holds no label for {len(data.films)} films, as {film}; save them as <film>{endings}"


def find_films(folder: Path | str) -> tuple[FilmFiles, ...]:
    """The films of `read_folder`. Raises NoFilms."""
    return read_folder(folder).films


def labelled_films(folder: Path | str) -> list[FilmFiles]:
    """Those of `find_films` that have a label. Raises BadDataset if none has."""
    data = read_folder(folder)
    labelled = [files for files in data.films if files.label]
    if not labelled:
        raise BadDataset(no_labels(data))
    return labelled


def read_case(files: FilmFiles) -> Case:
    """The film with its reference masks. Raises BadInput if either cannot be read."""
    if files.label is None:
        suffixes = either(LABEL_SUFFIXES)
        raise BadInput(f"expected a label for the film, got none; add a {suffixes} file of the same name")
    film = read_film(files.film)
    label = read_label(files.label, film.shape)
    return Case(files.name, film, label.masks, label.remarks)


def read_findings(folder: Path | str, name: str) -> tuple[Finding, ...]:
    """What `write_case` wrote of a film's findings; none for an ordinary film. Raises BadInput."""
    path = Path(folder) / FINDINGS / f"{name}.json"
    if not path.is_file():
        return ()
    try:
        return tuple(Finding(**{**one, "where": tuple(one["where"])}) for one in json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, KeyError):
        raise BadInput("expected findings as simulate writes them, got another file; simulate it anew") from None


def write_case(folder: Path, case: Case) -> None:
    """Write one case in the layout that `find_films` reads; 12-bit DICOM, compressed .mat, findings if any."""
    for part in (IMAGES, LABELS):
        (folder / part / case.name).parent.mkdir(parents=True, exist_ok=True)
    write_mat(folder / LABELS / f"{case.name}.mat", case.masks)
    write_film(folder / IMAGES / f"{case.name}.dcm", case.film)
    if case.findings:
        (folder / FINDINGS / case.name).parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n ".join(json.dumps(asdict(finding)) for finding in case.findings)
        write_text(folder / FINDINGS / f"{case.name}.json", f"[{lines}]\n")


def make_folder(folder: Path) -> None:
    """Make `img` and `label` without what a killed process left; try whether they can be written. Raises OSError."""
    for part in (folder / IMAGES, folder / LABELS):
        part.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=part).close()
        with locked(folder, wait=True):
            for unfinished in (path for path in part.iterdir() if PART.fullmatch(path.name)):
                unfinished.unlink(missing_ok=True)


def add_film(folder: Path, name: str, film: Path, masks: Masks) -> bool:
    """Copy a film's file into the folder, byte for byte, with its label as .mat; whether a label was replaced.

    name: of both, without ending; one film's alone. A film of that name stays as it is. One is added at a time, also by
    several processes. Where anything fails, the folder is as it was. Raises OSError.
    """
    with locked(folder, wait=True):
        label = folder / LABELS / f"{name}.mat"
        if known := _holds(folder / IMAGES, name):
            write_mat(label, masks)
        else:
            _add_both(folder / IMAGES / f"{name}{_ending(film)}", label, film, masks)
        return known


def _holds(images: Path, name: str) -> bool:
    """Whether a film of that name is there: another file, a folder or a link to nothing is none."""
    return any(stem_of(path.name) == name and _kind(path) in FILM_KINDS for path in images.iterdir())


def _kind(path: Path) -> Kind:
    try:
        return kind_of(read_head(path))
    except OSError:
        return OTHER


def _add_both(image: Path, label: Path, film: Path, masks: Masks) -> None:
    had_label = label.exists()
    try:
        with open(film, "rb") as source, replacing(image) as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            write_mat(label, masks)  # before the film appears: where the disk is full, neither does
    except OSError:
        if not had_label:
            label.unlink(missing_ok=True)
        raise


def _ending(film: Path) -> str:
    kind = kind_of(read_head(film)).name
    return ".dcm" if kind == "dicom" else f".{kind}"
