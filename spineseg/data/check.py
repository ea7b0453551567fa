"""Checks a folder of films and labels before training: what is missing, wrong, odd or duplicate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from spineseg.data.check_masks import mask_findings
from spineseg.data.findings import Finding, FindingCounts, Severity, not_used, sorted_findings, without_errors
from spineseg.film import BadInput, Case, Film
from spineseg.inference.grid import film_to_grid
from spineseg.inference.polarity import looks_bright
from spineseg.io.films import read_film
from spineseg.io.folder import LABELS, DataFolder, FilmFiles, no_labels, read_folder
from spineseg.io.labels import Label, read_label
from spineseg.model.config import GridConfig

_FLAT = 0.98
"""Share of pixels with one and the same value above which a film shows nothing."""
_THUMBNAIL, _DETAIL_PX, _ALIKE = 48, 3.0, 0.97
"""Side of the thumbnail, deviation of the blur that is taken off it, and the correlation above which two films are
looked at again. Different films, 120 simulated and 16 real ones, in all eight orientations: 0.73 at most."""
_ORIENTATIONS = {
    (0, False): "",
    (0, True): ", mirrored left to right",
    (2, True): ", turned upside down by a mirror",
    (2, False): ", turned by 180 degrees",
    (1, False): ", turned by 90 degrees",
    (3, False): ", turned by 270 degrees",
    (1, True): ", mirrored and turned by 90 degrees",
    (3, True): ", mirrored and turned by 270 degrees",
}
"""Quarter turns and mirror -> how a sentence says it."""


@dataclass(frozen=True)
class FolderReport(FindingCounts):
    """What a folder holds and what was found in it. films: all; pairs: those with a label."""

    films: int
    pairs: int
    findings: tuple[Finding, ...]

    @property
    def summary(self) -> str:
        """One line."""
        return f"{self.films} films, {self.pairs} with a label: {self.counts}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; holds file names but no folder."""
        counts = {"errors": self.errors, "warnings": self.warnings}
        return {"films": self.films, "pairs": self.pairs, **counts, "findings": [asdict(f) for f in self.findings]}


def check_folder(
    folder: Path | str,
    *,
    labelled: bool = False,
    threads: int = 1,
    progress: Callable[..., Iterable[Checked]] = lambda checked, **_: checked,
) -> FolderReport:
    """Check every film and label of a folder in the layout of `io.folder.read_folder`; changes nothing.

    labelled: read only films that have a label, which is all that training and scoring use. What is wrong with another
    film is a warning, so the errors are the same. threads: how many films are read at once; what takes time is done
    outside Python's lock, and the report is the same. progress: wraps an iterable, given its `total`.
    Raises NoFilms if there is no film at all.
    """
    data = read_folder(folder)
    read = [files for files in data.films if files.label or not labelled]
    with ThreadPoolExecutor(threads) as pool:
        checked = list(progress(pool.map(_check_film, read), total=len(read)))
    findings = sorted_findings([*name_findings(data), *film_findings(read, checked)])
    return FolderReport(len(data.films), sum(files.label is not None for files in data.films), findings)


def check_before_use(folder: Path | str, **options: Any) -> tuple[Finding, ...]:
    """The warnings of `check_folder` about labelled films and about names.

    options: its `threads` and `progress`. Raises FaultyFolder if there are errors, NoFilms if there is no film.
    """
    return without_errors(check_folder(folder, labelled=True, **options).findings)


def check_names(folder: Path | str) -> tuple[Finding, ...]:
    """The warnings of `name_findings`. Raises FaultyFolder if there are errors, NoFilms if there is no film."""
    return without_errors(name_findings(read_folder(folder)), names_only=True)


def film_findings(films: Sequence[FilmFiles], checked: Sequence[Checked]) -> tuple[Finding, ...]:
    """What was found in each of the films, and in all of them together: duplicates."""
    return sorted_findings([*(f for one in checked for f in one.findings), *_duplicates(films, checked)])


# Names


def name_findings(data: DataFolder) -> Iterator[Finding]:
    """Halves of pairs, several labels of one film, and files that are not used: an error where one may be lost."""
    if not any(files.label for files in data.films):
        yield Finding(f"{LABELS}/", "error", "no pair", no_labels(data))
        return
    for files in data.films:
        if files.label is None:
            yield Finding(files.name, "warning", "no label", "no label has the film’s name; it is not used")
        elif files.further:
            listed = ", ".join(path.name for path in files.further)
            yield Finding(files.name, "warning", "two labels", f"{files.label.name} is used, {listed} not; keep one")
    for name in data.alone:
        yield Finding(f"{LABELS}/{name}", "warning", "no film", "no film has the label’s name; it is not used")
    yield from map(not_used, data.left_out)


# One film


@dataclass(frozen=True, eq=False)
class Checked:
    """What is kept of a film until all are compared.

    thumbnail: detail of unit length; label_digest: None where no vertebra is marked or nothing could be read.
    """

    findings: tuple[Finding, ...]
    thumbnail: Float32[np.ndarray, "side side"] | None = None
    label_digest: str | None = None


def read_and_check(files: FilmFiles) -> tuple[Checked, Case | None]:
    """Read a film and its label once, and check both; None where there is no label or one cannot be read.

    Of a film without a label every finding is a warning: nothing is learnt from it.
    """
    severity: Severity = "error" if files.label else "warning"
    try:
        film = read_film(files.film)
    except BadInput as error:
        return Checked((Finding(files.name, severity, "unreadable film", str(error)),)), None
    findings, thumbnail = [*_constant(files.name, severity, film)], _thumbnail(film)
    if files.label is None:
        return Checked(tuple(findings), thumbnail), None
    try:
        label = read_label(files.label, film.shape)
    except BadInput as error:
        findings.append(Finding(files.name, "error", "unreadable label", str(error)))
        return Checked(tuple(findings), thumbnail), None
    findings += [
        *mask_findings(files.name, label.masks),
        *_background(files.name, label),
        *_dark_bone(files.name, film),
    ]
    return Checked(tuple(findings), thumbnail, _digest(label)), Case(files.name, film, label.masks, label.remarks)


def _check_film(files: FilmFiles) -> Checked:
    return read_and_check(files)[0]


def _digest(label: Label) -> str | None:
    masks = label.masks
    return (
        hashlib.sha256(np.packbits(masks).tobytes() + repr(masks.shape[1:]).encode()).hexdigest()
        if masks.any()
        else None
    )


def _constant(name: str, severity: Severity, film: Film) -> Iterator[Finding]:
    """A film with next to nothing on it (one that is all one value was not read at all)."""
    median = np.median(film.image[::4, ::4])  # the only value that could fill nearly all of the film
    if (share := float(np.mean(film.image == median))) > _FLAT:
        yield Finding(
            name, severity, "constant film", f"expected a picture, got one value in {share:.1%} of its pixels"
        )


def _background(name: str, label: Label) -> Iterator[Finding]:
    if px := label.background_disagreement_px:
        wanted = "expected the complement of the vertebrae as background"
        yield Finding(name, "warning", "background", f"{wanted}, got another in {px} pixels; the complement is used")


def _dark_bone(name: str, film: Film) -> Iterator[Finding]:
    """A film whose brightness leaves no doubt that its file states bone the wrong way round."""
    image, fit = film_to_grid(film, GridConfig())
    if looks_bright(-image, fit.inside()) and not looks_bright(image, fit.inside()):
        sentence = (
            "expected bright bone, got dark, which training reads as stored; save the film inverted, or leave it out"
        )
        yield Finding(name, "warning", "dark bone", sentence)


# Duplicates


def _thumbnail(film: Film) -> Float32[np.ndarray, "side side"]:
    """The film's detail on a small square, of mean 0 and length 1; mirrored and turned as the film is."""
    small = cv2.resize(film.image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    detail = small - cv2.GaussianBlur(small, (0, 0), _DETAIL_PX)
    detail -= detail.mean()
    return detail / max(float(np.linalg.norm(detail)), 1e-12)


def _duplicates(films: Sequence[FilmFiles], checked: Sequence[Checked]) -> Iterator[Finding]:
    """Films and labels that are those of an earlier name, or of one that has a label."""
    order = sorted(range(len(films)), key=lambda k: films[k].label is None)
    films, checked = [films[k] for k in order], [checked[k] for k in order]
    first: dict[str, int] = {}
    same_film: set[tuple[int, int]] = set()
    for index, earlier in _similar_pairs([one.thumbnail for one in checked]):
        same_film.add((earlier, index))
        digests = {checked[index].label_digest, checked[earlier].label_digest}
        yield _compare(films[index], films[earlier], other_label=len(digests - {None}) == 2)
    for index, one in enumerate(checked):
        if one.label_digest is None:
            continue
        earlier = first.setdefault(one.label_digest, index)
        if earlier != index and (earlier, index) not in same_film:
            sentence = f"expected a label of its own, got the very one of {films[earlier].name}; one of them is wrong"
            yield Finding(films[index].name, "error", "same label", sentence)


def _similar_pairs(thumbnails: Sequence[Float32[np.ndarray, "side side"] | None]) -> Iterator[tuple[int, int]]:
    """Index of a film and of the first one before it that looks the same in one of eight orientations."""
    readable = [k for k, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    stack = np.array([thumbnails[k] for k in readable]).reshape(len(readable), _THUMBNAIL, _THUMBNAIL)
    flat = stack.reshape(len(readable), _THUMBNAIL**2)
    turned = [_turned(stack, turns, mirror).reshape(flat.shape) for turns, mirror in _ORIENTATIONS]
    for place in range(1, len(readable)):
        likeness = np.max([np.abs(other[:place] @ flat[place]) for other in turned], axis=0)
        if likeness.max() > _ALIKE:
            yield readable[place], readable[int(np.argmax(likeness > _ALIKE))]


def _turned(pictures: np.ndarray, turns: int, mirror: bool) -> np.ndarray:
    """Pictures (in the last two axes) after a mirror left to right and quarter turns."""
    return np.rot90(pictures[..., ::-1] if mirror else pictures, turns, (-2, -1))


def _compare(files: FilmFiles, earlier: FilmFiles, *, other_label: bool) -> Finding:
    """Look again at two films that are alike: the same pixels, or nearly the same picture."""
    image, other = read_film(files.film).image, read_film(earlier.film).image
    labelled = ", under another label" if other_label else ""
    for (turns, mirror), words in _ORIENTATIONS.items():
        if np.array_equal(_turned(image, turns, mirror), other):
            sentence = f"expected a film of its own, got the pixels of {earlier.name}{words}{labelled}; leave one out"
            repeated = files.film.samefile(earlier.film)  # a link, which nobody makes by mistake
            return Finding(files.name, "error" if files.label and not repeated else "warning", "same film", sentence)
    sentence = f"expected a film of its own, got nearly the picture of {earlier.name}{labelled}; leave one out if it is"
    return Finding(files.name, "warning", "similar film", sentence)
