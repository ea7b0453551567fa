"""A folder of films and labels: `img/<stem>.dcm` with `label/<stem>` and a suffix of `LABEL_SUFFIXES`.

A simulated film of a sick spine has its findings in `findings/<stem>.json`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from spineseg.film import BadInput, Case, Finding
from spineseg.io.dicom_write import write_film
from spineseg.io.files import write_text
from spineseg.io.films import read_film
from spineseg.io.label_formats import LABEL_SUFFIXES, either
from spineseg.io.labels import read_label, write_mat

IMAGES, LABELS, FINDINGS = "img", "label", "findings"


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
    """The films `img/*.dcm` of the folder by name, each with its label: the first of `LABEL_SUFFIXES` that there is.

    Raises NoFilms.
    """
    films = sorted(path for path in (Path(folder) / IMAGES).glob("*.dcm") if not path.name.startswith("."))
    if not films:
        raise NoFilms(f"expected films as {IMAGES}/*.dcm, found none; name the folder that holds {IMAGES} and {LABELS}")
    return tuple(FilmFiles(film.stem, film, _label_of(film)) for film in films)


def _label_of(film: Path) -> Path | None:
    candidates = [film.parents[1] / LABELS / f"{film.stem}{suffix}" for suffix in LABEL_SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)


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
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_mat(folder / LABELS / f"{case.name}.mat", case.masks)
    write_film(folder / IMAGES / f"{case.name}.dcm", case.film)
    if case.findings:
        (folder / FINDINGS).mkdir(exist_ok=True)
        lines = ",\n ".join(json.dumps(asdict(finding)) for finding in case.findings)
        write_text(folder / FINDINGS / f"{case.name}.json", f"[{lines}]\n")
