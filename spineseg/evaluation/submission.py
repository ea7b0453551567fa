"""A submission of arrays, one for each film: which folders are valid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from spineseg.data.check_masks import mask_findings
from spineseg.data.findings import Finding, FindingCounts, not_used
from spineseg.film import CHANNELS, VERTEBRAE, BadInput
from spineseg.io.discovery import FoundFilm, LeftOut, is_quiet, no_film, search
from spineseg.io.films import read_film
from spineseg.io.labels import to_array

ARRAY_SUFFIX = ".npy"
_WARNED_ONLY = ("pieces", "size", "gap", "empty")
"""Findings about masks that leave a submission valid."""


@dataclass(frozen=True)
class SubmissionReport(FindingCounts):
    """Whether a folder holds a well-formed array for each film; without findings if it does."""

    films: int
    arrays: int
    findings: tuple[Finding, ...]

    @property
    def summary(self) -> str:
        """One line."""
        verdict = "not a valid submission" if self.errors else "a valid submission"
        return f"{verdict}: {self.films} films, {self.arrays} arrays, {self.counts}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; holds file names but no folder."""
        return {
            "valid": self.errors == 0,
            "films": self.films,
            "arrays": self.arrays,
            "findings": [asdict(finding) for finding in self.findings],
        }


def check_submission(
    arrays: Path,
    films: Path,
    *,
    progress: Callable[[Iterable[FoundFilm]], Iterable[FoundFilm]] = iter,
) -> SubmissionReport:
    """Compare a folder of arrays with a folder or a ZIP archive of films, as `predict` reads it; changes nothing.

    progress: wraps the films. Raises BadInput if there is no film.
    """
    found = list(search([films], apart_from=arrays))
    expected = {film.stem: film for film in found if isinstance(film, FoundFilm)}
    left_out = [each for each in found if isinstance(each, LeftOut)]
    if not expected:
        raise BadInput(no_film("The place of the films", left_out))
    findings = [not_used(each) for each in left_out]
    for film in progress(expected.values()):
        findings += _check_one(film, arrays)
    extras = list(_extras(arrays, expected.keys()))
    count = sum(path.suffix == ARRAY_SUFFIX for path in _files(arrays))
    findings = sorted([*findings, *extras], key=lambda finding: (finding.severity != "error", finding.film))
    return SubmissionReport(len(expected), count, tuple(findings))


def _files(arrays: Path) -> list[Path]:
    """Of the folder and those in it, but for what systems put there."""
    files = (path for path in sorted(arrays.rglob("*")) if path.is_file())
    return [path for path in files if not path.name.startswith(".") and not is_quiet(path.name)]


def _extras(arrays: Path, stems: Collection[str]) -> Iterator[Finding]:
    """Files that belong to no film."""
    for path in _files(arrays):
        name = path.relative_to(arrays).as_posix()
        if path.suffix != ARRAY_SUFFIX:
            yield Finding(name, "warning", "no array", "expected .npy arrays alone, found another file; remove it")
        elif name.removesuffix(ARRAY_SUFFIX) not in stems:
            yield _error(name, "no film", "expected a film of that name, found none; leave the array out")


def _error(name: str, kind: str, sentence: str) -> Finding:
    return Finding(name, "error", kind, sentence)


def _check_one(film: FoundFilm, arrays: Path) -> list[Finding]:
    array, name = arrays / f"{film.stem}{ARRAY_SUFFIX}", f"{film.stem}{ARRAY_SUFFIX}"
    if not array.is_file():
        return [_error(name, "no array", f"expected the array of {film.name}, found none; predict that film")]
    try:
        with film.on_disk() as path:
            shape = read_film(path).shape
    except BadInput as error:
        return [_error(film.name, "unreadable film", str(error))]
    try:
        return list(array_findings(name, _opened(array, shape)))
    except BadInput as error:
        return [_error(name, "form", str(error))]


def _opened(path: Path, shape: tuple[int, int]) -> Shaped[np.ndarray, "rows columns channel"]:
    """The array, whose values are not read before its form is checked. Raises BadInput for another form."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BadInput("expected a sound .npy array of numbers, got something else; write it again") from None
    expected = (*shape, len(CHANNELS))
    if not isinstance(stored, np.ndarray) or stored.shape != expected:
        got = " x ".join(map(str, getattr(stored, "shape", ()))) or "something else"
        axes = sorted(getattr(stored, "shape", ())) == sorted(expected)
        advice = "exchange its axes" if axes else "resize the masks back to the film's own size"
        raise BadInput(
            f"expected rows x columns x {len(CHANNELS)} = {' x '.join(map(str, expected))}, got {got}; {advice}"
        )
    if stored.dtype not in (np.uint8, np.bool_):
        raise BadInput(f"expected uint8 or bool, got {stored.dtype}; write 0 and 1 as uint8")
    return stored


def array_findings(name: str, stored: Shaped[np.ndarray, "rows columns channel"]) -> Iterator[Finding]:
    """What is wrong with the values of an array of the right form."""
    array = np.asarray(stored).view(np.uint8)
    if array.max() > 1:
        yield _error(name, "values", f"expected 0 and 1, got values up to {array.max()}; write each mask as 0 and 1")
        return
    masks = np.ascontiguousarray(np.moveaxis(array[..., : len(VERTEBRAE)], -1, 0)).view(np.bool_)
    if shared := int(np.count_nonzero(masks.sum(axis=0, dtype=np.uint8) > 1)):
        yield _error(name, "overlap", f"expected each pixel in one vertebra, got {shared} in several; give each to one")
    if wrong := int(np.count_nonzero(to_array(masks)[..., -1] != array[..., -1])):
        sentence = f"expected the complement of the vertebrae as background, got another in {wrong} pixels; write that"
        yield _error(name, "background", sentence)
    for finding in mask_findings(name, masks):
        if finding.kind == "overlap":  # counted above
            continue
        lenient = finding.kind in _WARNED_ONLY and masks.any()
        yield Finding(name, "warning" if lenient else "error", finding.kind, finding.sentence)
