"""Checks a folder of films and labels before training: what is missing, wrong, odd or duplicate."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from spineseg.film import VERTEBRAE, BadInput, Film, Masks, down_the_spine
from spineseg.io.films import read_film
from spineseg.io.folder import LABELS, DataFolder, FilmFiles, read_folder
from spineseg.io.labels import Label, read_label

Severity = Literal["error", "warning"]
_ACROSS_DEG = 55.0
"""A spine further from the vertical than this lies across its film; upright ones stay below 30."""
_LEFT_OUT = 1.6
"""Centres of neighbours further apart than this many median steps have a body between them; 1.2 at most if right."""
_SIZE_ODD, _SIZE_ABSURD = (0.4, 2.2), (0.1, 5.0)
"""Area over the film's median area. Right labels, simulated and real, lie in 0.66 to 1.64."""
_SHARE_SMALL, _SHARE_ABSURD = 0.0005, 0.25
"""Share of the film that a body covers; 0.004 to 0.025 on right labels."""
_PIECE_ABSURD = 0.1
"""A second piece of this share of the mask is no slip of the brush."""
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
class Finding:
    """One thing about one film (or one file), in one sentence.

    error: training on it would teach something wrong, or cannot start. warning: worth a look; training goes on.
    """

    film: str
    severity: Severity
    kind: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.film}: {self.sentence}"


class FindingCounts:
    """A report on a folder, with its findings, errors first."""

    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors


@dataclass(frozen=True)
class FolderReport(FindingCounts):
    """What a folder holds and what was found in it. films: all; pairs: those with a label."""

    films: int
    pairs: int
    findings: tuple[Finding, ...]

    @property
    def summary(self) -> str:
        """One line."""
        return f"{self.films} films, {self.pairs} with a label: {self.errors} errors, {self.warnings} warnings"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; holds file names but no folder."""
        counts = {"errors": self.errors, "warnings": self.warnings}
        return {"films": self.films, "pairs": self.pairs, **counts, "findings": [asdict(f) for f in self.findings]}


def check_folder(
    folder: Path | str,
    *,
    threads: int = 1,
    progress: Callable[..., Iterable[_Checked]] = lambda checked, **_: checked,
) -> FolderReport:
    """Check every film and label of a folder in the layout of `io.folder.read_folder`; changes nothing.

    threads: how many films are read at once; what takes time is done outside Python's lock, and the report is the same.
    progress: wraps an iterable, given its `total`.
    Raises NoFilms if there is no film at all.
    """
    data = read_folder(folder)
    films = data.films
    with ThreadPoolExecutor(threads) as pool:
        checked = list(progress(pool.map(_check_film, films), total=len(films)))
    findings = [*_pairs(data), *(f for one in checked for f in one.findings), *_duplicates(films, checked)]
    findings.sort(key=lambda finding: (finding.severity != "error", finding.film))
    return FolderReport(len(films), sum(files.label is not None for files in films), tuple(findings))


# Names


def _pairs(data: DataFolder) -> Iterator[Finding]:
    """Halves of pairs, and files that are not used: an error where a film or a label may be lost."""
    if not any(files.label for files in data.films):
        yield Finding(f"{LABELS}/", "error", "no pair", f"expected labels as {LABELS}/<film>.mat or .npy, found none")
        return
    for files in data.films:
        if files.label is None:
            sentence = "expected a label of the film's name, found none; not used"
            yield Finding(files.name, "warning", "no label", sentence)
    for each in data.left_out:
        yield Finding(each.name, "error" if each.lost else "warning", "left out", f"left out: {each.reason}")


# One film


@dataclass(frozen=True, eq=False)
class _Checked:
    """What is kept of a film until all are compared.

    thumbnail: detail of unit length; label_digest: None where no vertebra is marked or nothing could be read.
    """

    findings: list[Finding]
    thumbnail: Float32[np.ndarray, "side side"] | None = None
    label_digest: str | None = None


def _check_film(files: FilmFiles) -> _Checked:
    try:
        film = read_film(files.film)
    except BadInput as error:
        return _Checked([Finding(files.name, "error", "unreadable film", str(error))])
    findings = list(_film_findings(files.name, film))
    if files.label is None:
        return _Checked(findings, _thumbnail(film))
    try:
        label = read_label(files.label, film.shape)
    except BadInput as error:
        return _Checked([*findings, Finding(files.name, "error", "unreadable label", str(error))], _thumbnail(film))
    findings += [*mask_findings(files.name, label.masks), *_background(files.name, label)]
    digest = hashlib.sha256(np.packbits(label.masks).tobytes() + repr(film.shape).encode()).hexdigest()
    return _Checked(findings, _thumbnail(film), digest if label.masks.any() else None)


def _film_findings(name: str, film: Film) -> Iterator[Finding]:
    """A film with next to nothing on it (one that is all one value was not read at all)."""
    median = np.median(film.image[::4, ::4])  # the only value that could fill nearly all of the film
    if (share := float(np.mean(film.image == median))) > _FLAT:
        yield Finding(name, "error", "constant film", f"expected a picture, got one value in {share:.1%} of its pixels")


def _background(name: str, label: Label) -> Iterator[Finding]:
    if px := label.background_disagreement_px:
        wanted = "expected the complement of the vertebrae as background"
        yield Finding(name, "warning", "background", f"{wanted}, got another in {px} pixels; the complement is used")


# One film's masks


@dataclass(frozen=True)
class _Body:
    """A vertebra's mask in numbers: centre in pixels, pieces by falling size, whether it touches the film's border."""

    name: str
    area_px: int
    row: float
    column: float
    pieces_px: tuple[int, ...]
    box: tuple[slice, slice]
    cut: bool


def mask_findings(name: str, masks: Masks) -> list[Finding]:
    """What the masks say that no lateral film of a spine, head up, could be; laterality does not matter."""
    bodies = [body for k, mask in enumerate(masks) if (body := _body(VERTEBRAE[k], mask))]
    if not bodies:
        return [Finding(name, "error", "empty", "expected vertebrae, got none; mark them or leave the film out")]
    order = list(_order(name, bodies))
    findings = [*order, *_sizes(name, bodies, masks[0].size), *_pieces(name, bodies), *_overlaps(name, bodies, masks)]
    return findings if order else [*findings, *_gaps(name, bodies, masks.shape[1:])]


def _body(name: str, mask: Bool[np.ndarray, "rows columns"]) -> _Body | None:
    """None for an empty mask."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return None
    box = (slice(top, top + height), slice(left, left + width))
    part = np.ascontiguousarray(mask[box]).view(np.uint8)
    _, _, stats, centres = cv2.connectedComponentsWithStats(part, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    column, row = areas @ centres[1:] / areas.sum()
    cut = top == 0 or left == 0 or top + height == mask.shape[0] or left + width == mask.shape[1]
    pieces = tuple(sorted((int(area) for area in areas), reverse=True))
    return _Body(name, int(areas.sum()), row + top, column + left, pieces, box, cut)


def _centres(bodies: Sequence[_Body]) -> Float[np.ndarray, "body 2"]:
    return np.array([(body.row, body.column) for body in bodies])


def _order(name: str, bodies: Sequence[_Body]) -> Iterator[Finding]:
    """Centres must go down the film from the first vertebra to the last, along the line that fits them best."""
    if len(bodies) < 2:
        return
    centres, wanted = _centres(bodies), f"expected {VERTEBRAE[0]} to {VERTEBRAE[-1]} down the film"
    down = down_the_spine(centres)
    if math.degrees(math.acos(min(float(down[0]), 1.0))) > _ACROSS_DEG:
        sentence = f"{wanted}, got them across it; transpose the label, or turn the film"
        yield Finding(name, "error", "across", sentence)
        return
    names = [body.name for body in bodies]
    found = [bodies[k].name for k in np.argsort(centres @ down, kind="stable")]
    moved = [k for k in range(len(found)) if found[k] != names[k]]
    if not moved:
        return
    if found == names[::-1] and len(found) > 2:
        sentence = f"{wanted}, got them going up; turn film and label, or reverse the channels"
        yield Finding(name, "error", "upside down", sentence)
    elif len(moved) == 2:
        first, second = (names[k] for k in moved)
        sentence = f"{wanted}, got {first} and {second} exchanged; exchange their channels"
        yield Finding(name, "error", "exchanged", sentence)
    else:
        yield Finding(name, "error", "order", f"{wanted}, got {' '.join(found)}; put the channels in order")


def _gaps(name: str, bodies: Sequence[_Body], shape: tuple[int, ...]) -> Iterator[Finding]:
    """Vertebrae that the label lacks though the film shows their place; for bodies in order."""
    places = [VERTEBRAE.index(body.name) for body in bodies]
    for k in sorted(set(range(places[0], places[-1])) - set(places)):
        sentence = f"expected {VERTEBRAE[k]} between its neighbours, got an empty mask; mark it or leave the film out"
        yield Finding(name, "error", "empty", sentence)
    if len(bodies) < 2:
        return
    centres = _centres(bodies)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.diff(places)
    times = steps / np.median(steps)
    for k in map(int, np.flatnonzero((times > _LEFT_OUT) & (np.diff(places) == 1))):
        upper, lower = bodies[k].name, bodies[k + 1].name
        sentence = f"expected {lower} next to {upper}, got {times[k]:.1f} times the usual distance; is a body left out?"
        yield Finding(name, "warning", "gap", sentence)
    beyond = {places[0] - 1: 2 * centres[0] - centres[1], places[-1] + 1: 2 * centres[-1] - centres[-2]}
    for k in {0, len(VERTEBRAE) - 1} & beyond.keys():
        if all(np.median(steps) <= at <= side - np.median(steps) for at, side in zip(beyond[k], shape, strict=True)):
            sentence = f"expected {VERTEBRAE[k]}, got an empty mask where the film has room for it; mark it if it shows"
            yield Finding(name, "warning", "empty", sentence)


def _sizes(name: str, bodies: Sequence[_Body], film_px: int) -> Iterator[Finding]:
    """Areas that no body of this film could have. A body that the film's border cuts may be small."""
    whole = [body.area_px for body in bodies if not body.cut] or [body.area_px for body in bodies]
    usual = float(np.median(whole))
    for body in bodies:
        ratio, share = body.area_px / usual, body.area_px / film_px
        if share > _SHARE_ABSURD:
            sentence = f"expected {body.name} to cover some 1 % of the film, got {share:.0%}; mark the body alone"
            yield Finding(name, "error", "size", sentence)
        elif ratio > _SIZE_ODD[1] or (ratio < _SIZE_ODD[0] and not body.cut):
            absurd = not _SIZE_ABSURD[0] <= ratio <= _SIZE_ABSURD[1]
            sentence = f"expected {body.name} as large as the other bodies, got {ratio:.2g} times their median"
            yield Finding(name, "error" if absurd else "warning", "size", f"{sentence}; look at it")
    if usual / film_px < _SHARE_SMALL:
        sentence = f"expected bodies of some 1 % of the film, got {usual / film_px:.2%}; mark areas, not points"
        yield Finding(name, "warning", "size", sentence)


def _pieces(name: str, bodies: Sequence[_Body]) -> Iterator[Finding]:
    for body in bodies:
        if len(body.pieces_px) > 1:
            absurd = body.pieces_px[1] >= _PIECE_ABSURD * body.area_px
            sizes = f"{body.pieces_px[0]} px and {len(body.pieces_px) - 1} more of at most {body.pieces_px[1]} px"
            sentence = f"expected {body.name} in one piece, got {sizes}; remove what is not the body"
            yield Finding(name, "error" if absurd else "warning", "pieces", sentence)


def _overlaps(name: str, bodies: Sequence[_Body], masks: Masks) -> Iterator[Finding]:
    for one, other in combinations(bodies, 2):
        shared = _shared_px(one, other, masks)
        if 2 * shared > min(one.area_px, other.area_px):
            sentence = f"expected {one.name} and {other.name} apart, got both on the same bone; mark each its own"
            yield Finding(name, "error", "same bone", sentence)
        elif shared:
            sentence = f"expected {one.name} and {other.name} apart, got {shared} pixels in both; they are kept in each"
            yield Finding(name, "warning", "overlap", sentence)


def _shared_px(one: _Body, other: _Body, masks: Masks) -> int:
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one.box, other.box, strict=True))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return 0
    first, second = (masks[VERTEBRAE.index(body.name)][rows, columns] for body in (one, other))
    return int(np.count_nonzero(first & second))


# Duplicates


def _thumbnail(film: Film) -> Float32[np.ndarray, "side side"]:
    """The film's detail on a small square, of mean 0 and length 1; mirrored and turned as the film is."""
    small = cv2.resize(film.image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    detail = small - cv2.GaussianBlur(small, (0, 0), _DETAIL_PX)
    detail -= detail.mean()
    return detail / max(float(np.linalg.norm(detail)), 1e-12)


def _duplicates(films: Sequence[FilmFiles], checked: Sequence[_Checked]) -> Iterator[Finding]:
    """Films and labels that are those of an earlier name."""
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
            return Finding(files.name, "error", "same film", sentence)
    sentence = f"expected a film of its own, got nearly the picture of {earlier.name}{labelled}; leave one out if it is"
    return Finding(files.name, "warning", "similar film", sentence)
