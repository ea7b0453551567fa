"""Films with label maps as other tools keep them (pictures, NIfTI) to the folder that `train` reads, or nothing.

A label map holds a whole number for each pixel, and a table says which vertebra each number is; or there is one PNG
for each vertebra. NIfTI stores where the axes point, and tools differ in the order in which they store them, so a
picture is brought to film rows and columns by what its header says, not by how it lies in the file.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32, Int32

from spineseg.data.check_masks import MISPLACED, mask_findings
from spineseg.data.config import ConvertConfig
from spineseg.film import VERTEBRAE, BadInput, Film, Masks
from spineseg.io.dicom_write import write_film
from spineseg.io.discovery import LeftOut, composed, files_in, search, stem_of
from spineseg.io.files import naming
from spineseg.io.films import read_film
from spineseg.io.folder import IMAGES, LABELS
from spineseg.io.label_maps import DEEPEST, read_label_map
from spineseg.io.labels import write_array, write_mat
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.nifti import Orientation, film_plane, read_nifti
from spineseg.io.picture_decoder import UnreadablePicture

NIFTI_SUFFIXES = (".nii.gz", ".nii")
MAP_SUFFIXES = (".png", ".tif", ".tiff", *NIFTI_SUFFIXES)
_ASSIGNMENT = re.compile(r"(?P<vertebra>[A-Za-z]\d+)=(?P<value>\d+)")
_PART = re.compile(rf"(?:(?P<film>.+)[_.-])?(?P<vertebra>{'|'.join(VERTEBRAE)})", re.IGNORECASE)


class NotConverted(BadInput):
    """Nothing was written. failed: a sentence for each pair that cannot be converted or file left out, by name."""

    def __init__(self, failed: Mapping[str, str], pairs: int, left_out: Mapping[str, str]) -> None:
        super().__init__(
            f"expected all of {pairs} pairs to convert, {len(failed)} do not; correct them, or --skip them"
        )
        self.failed = dict(sorted({**left_out, **failed}.items()))


@dataclass(frozen=True)
class Converted:
    """names: films written, out of `films`. left_out: a sentence for each film or label that was not, by file."""

    names: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    films: int = 0


def convert_folder(config: ConvertConfig, *, progress: Callable[[Iterable[str]], Iterable[str]] = iter) -> Converted:
    """Convert all pairs of films and labels. The folder appears when every pair has been written, or not at all.

    progress: wraps the names. Raises BadInput if there is nothing to convert, NotConverted if some pair cannot be
    (with `skip`: if none can).
    """
    table = value_table(config.values)
    films, left_out = _films_by_stem(config)
    labels = _labels_by_stem(config, films)
    left_out = _unpaired(config, films, labels) | left_out
    pairs = sorted(films.keys() & labels.keys())
    if not pairs:
        raise BadInput(
            f"expected films and labels of the same names, got {len(films)} films and {len(labels)} labels without a "
            "pair; see --film-suffix and --label-suffix"
        )
    films_there = len(set(films.values()) - {path for name in pairs for path in labels[name]})
    written: list[str] = []
    failed: dict[str, str] = {}
    with _whole_folder(config.out, config.force) as folder:
        for name in progress(pairs):
            try:
                _convert_one(name, films[name], labels[name], folder, table, config)
                written.append(name)
            except BadInput as error:
                failed[name] = str(error)
        if failed and (not config.skip or not written):
            raise NotConverted(failed, len(pairs), left_out)
    return Converted(tuple(written), dict(sorted((left_out | failed).items())), films_there)


def _convert_one(
    name: str, film: Path, labels: Sequence[Path], folder: Path, table: Mapping[str, int], config: ConvertConfig
) -> None:
    picture = read_picture(film, config.orientation, invert=config.invert)
    if len(labels) == 1 and _stem(_below(labels[0], config.labels), MAP_SUFFIXES) == name + config.label_suffix:
        values, spacing = read_label_map(labels[0], config.orientation)
        masks = masks_of_map(values, table, config.ignore)
    else:
        masks, spacing = _masks_of_parts(labels, config), None
    if masks.shape[1:] != picture.shape:
        got, want = (" x ".join(map(str, shape)) for shape in (masks.shape[1:], picture.shape))
        advice = "; try --orientation" if masks.shape[1:] == picture.shape[::-1] else "; do they belong together?"
        raise UnreadablePicture(f"expected a label of the film's {want} rows x columns, got {got}{advice}")
    for finding in mask_findings(name, masks):
        if finding.severity == "error" and finding.kind in MISPLACED:
            raise UnreadablePicture(f"{finding.sentence}, or give another --orientation or --values")
    picture = replace(picture, spacing=picture.spacing or spacing)
    stored, bits = stored_values(picture)
    for part in (IMAGES, LABELS):
        (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
    write_film(folder / IMAGES / f"{name}.dcm", stored, bits_stored=bits)
    write = write_mat if config.label_format == "mat" else write_array
    write(folder / LABELS / f"{name}.{config.label_format}", masks)


# Which number is which vertebra


def value_table(assignments: Sequence[str]) -> dict[str, int]:
    """`L1=20 L2=21 ...` as a table. Raises BadInput for other words, a name or a number that comes twice, or 0."""
    table: dict[str, int] = {}
    for text in assignments:
        match = _ASSIGNMENT.fullmatch(text)
        if not match or match["vertebra"].upper() not in VERTEBRAE:
            raise BadInput(f"expected values as L1=20 L2=21, of {' '.join(VERTEBRAE)}, got another word; write them so")
        name, value = match["vertebra"].upper(), int(match["value"])
        if name in table or value in (0, *table.values()):
            raise BadInput(f"expected each vertebra and each number above 0 once, got {name}={value}; correct --values")
        table[name] = value
    return table


def masks_of_map(
    values: Int32[np.ndarray, "rows columns"], table: Mapping[str, int], ignore: Collection[int] = ()
) -> Masks:
    """A mask for each vertebra, empty where the table lacks it. Raises UnreadablePicture for a number in neither."""
    found = {int(value) for value in np.unique(values)}
    if unknown := sorted(found - {0, *table.values(), *ignore}):
        listed = " ".join(map(str, unknown[:8])) + (" ..." if len(unknown) > 8 else "")
        raise UnreadablePicture(
            f"expected numbers that --values explains, got also {listed}; add them or --ignore them"
        )
    return np.stack([values == table[name] if name in table else np.zeros_like(values, bool) for name in VERTEBRAE])


def _masks_of_parts(parts: Sequence[Path], config: ConvertConfig) -> Masks:
    """One PNG for each vertebra: 0 outside, one other number inside. A vertebra without a file is empty."""
    by_name: dict[str, np.ndarray] = {}
    for path in parts:
        with naming(path.name):
            values, _ = read_label_map(path, config.orientation)
            if len(np.unique(values)) > 2 or (values.min() != 0 and values.max() != values.min()):
                raise UnreadablePicture("expected 0 and one other number in the PNG of one vertebra, got more; save so")
            by_name[_vertebra_of(path, config.label_suffix) or ""] = values != 0
    shapes = {mask.shape for mask in by_name.values()}
    if len(shapes) > 1:
        raise UnreadablePicture("expected the PNGs of one film to be of one size, got several; save them alike")
    return np.stack([by_name.get(name, np.zeros(shapes.copy().pop(), bool)) for name in VERTEBRAE])


# Which files belong together


def _stem(name: str, suffixes: Sequence[str]) -> str | None:
    """The name without its ending, or None for another kind of file."""
    ending = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), None)
    return name[: -len(ending)] if ending and not PurePosixPath(name).name.startswith(".") else None


def _below(path: Path, top: Path) -> str:
    return composed(path.relative_to(top).as_posix())


def _paths(folder: Path) -> dict[str, Path]:
    """Every file at any depth by its name below the folder."""
    return {each[1]: each[0] for each in files_in(folder) if not isinstance(each, LeftOut)}


def _films_by_stem(config: ConvertConfig) -> tuple[dict[str, Path], dict[str, str]]:
    """Films at any depth by name, told by content but for PNG and NIfTI; and what each other file is."""
    found: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    paths = _paths(config.films)
    for each in search([config.films], archives=False):
        stem = _stem(each.name, (".png", *NIFTI_SUFFIXES)) if isinstance(each, LeftOut) else stem_of(each.name)
        if stem is not None and stem.endswith(config.film_suffix):
            _add(found, stem.removesuffix(config.film_suffix), paths[each.name])
        elif isinstance(each, LeftOut):
            left_out[each.name] = each.reason
    return found, left_out


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    """Raises BadInput for two of one name."""
    if name in found:
        names = sorted((found[name].name, path.name))
        raise BadInput(f"expected one file of each name, got {names[0]} and {names[1]}; remove one")
    found[name] = path


def _maps_by_stem(config: ConvertConfig) -> dict[str, Path]:
    """Label maps at any depth by the name of their film."""
    found: dict[str, Path] = {}
    for name, path in _paths(config.labels).items():
        stem = _stem(name, MAP_SUFFIXES)
        if stem is not None and stem.endswith(config.label_suffix):
            _add(found, stem.removesuffix(config.label_suffix), path)
    return found


def _labels_by_stem(config: ConvertConfig, films: Collection[str]) -> dict[str, tuple[Path, ...]]:
    """The label map of each film, or the PNGs of its vertebrae: <film>_L1.png and so on, or <film>/L1.png."""
    maps = _maps_by_stem(config)
    parts: dict[str, list[Path]] = {}
    for stem, path in list(maps.items()):
        if stem not in films and (film := _film_of_part(stem, path, films)):
            parts.setdefault(film, []).append(maps.pop(stem))
    if twice := maps.keys() & parts.keys():
        raise BadInput(f"expected a label map or one PNG per vertebra for {min(twice)}, got both; remove one kind")
    return {name: (path,) for name, path in maps.items()} | {name: tuple(paths) for name, paths in parts.items()}


def _unpaired(config: ConvertConfig, films: Mapping[str, Path], labels: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """A sentence for each film and label that belongs to no pair, by file name."""
    paired = films.keys() & labels.keys()
    used = {path for name in paired for path in (films[name], *labels[name])}
    none = "expected a {} of its name that can be converted, found none"
    said = {path: (name, _no_map(name)) for name, path in _paths(config.labels).items()}
    said |= {path: (_below(path, config.labels), none.format("film")) for paths in labels.values() for path in paths}
    said |= {path: (_below(path, config.films), none.format("label")) for path in films.values()}
    return dict(said[path] for path in said.keys() - used)


def _no_map(name: str) -> str:
    """Why a file beside the label maps is none of them."""
    if _stem(name, MAP_SUFFIXES) is not None:
        return "its name does not end with --label-suffix"
    if name.lower().endswith((".mat", ".npy", ".npz")):
        return "no label map, but train reads it as it is; copy it into label/"
    return "expected a label map as PNG, TIFF or NIfTI, got another file; save it as PNG"


def _film_of_part(stem: str, path: Path, films: Collection[str]) -> str | None:
    """The film of a PNG of one vertebra: `a/7` for a/7_L1.png, a/7/L1.png and a/7/mask_L1.png; else None."""
    parent, name = str(PurePosixPath(stem).parent), PurePosixPath(stem).name
    part = _PART.fullmatch(name) if path.suffix.lower() == ".png" else None
    if part is None:
        return None
    beside = str(PurePosixPath(parent, part["film"])) if part["film"] else None
    return beside if beside in films else parent if parent != "." else None


def _vertebra_of(path: Path, beyond: str) -> str | None:
    """L1 for 7_L1.png, 7-l1.png and L1.png; None for a name that ends otherwise."""
    match = _PART.fullmatch(path.stem.removesuffix(beyond)) if path.suffix.lower() == ".png" else None
    return match["vertebra"].upper() if match else None


# Reading


def read_picture(path: Path, orientation: Orientation = "header", *, invert: bool = False) -> Film:
    """A film from NIfTI, told by its ending, or from any file that `read_film` reads. Raises UnreadableFilm.

    NIfTI's spacing is taken for the detector's, which claims less; see `film_plane`.
    """
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        return read_film(path, invert=invert)
    values, spacing = film_plane(read_nifti(path), orientation)
    if min(values.shape) < DEFAULT_LIMITS.min_side or not np.isfinite(values).all() or values.min() == values.max():
        raise UnreadablePicture("expected a picture of at least 64 x 64 pixels with more than one value, got another")
    film = Film(np.ascontiguousarray(values, dtype=np.float32), spacing)
    return film.inverted() if invert else film


# Writing


def stored_values(film: Film) -> tuple[Film, int]:
    """The film as 12 or 16 bits hold it, and how many: unchanged if its values are whole and fit, else stretched."""
    image, (low, high) = film.image, (float(film.image.min()), float(film.image.max()))
    if low < 0 or high > DEEPEST or np.any(image != np.rint(image)):
        unit: Float32[np.ndarray, "rows columns"] = (image - low) / np.float32(high - low)
        return Film(np.rint(unit * DEEPEST).astype(np.float32), film.spacing), 16
    return film, 12 if high < 2**12 else 16


@contextmanager
def _whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place at the end; on failure `out` stays as it was.

    Raises BadInput if `out` is there without `force`, or holds anything but what a conversion writes.
    """
    if out.exists():
        if not out.is_dir() or {path.name for path in out.iterdir()} - {IMAGES, LABELS}:
            raise BadInput(f"expected a folder of {IMAGES} and {LABELS} alone, got more; name another folder")
        if not force and any(out.iterdir()):
            raise BadInput("expected a new folder, got one with films in it; name another --out, or --force")
    out = out.resolve()
    part = out.with_name(f".{secrets.token_hex(8)}.part")
    old = part.with_suffix(".old")
    try:
        for name in (IMAGES, LABELS):
            (part / name).mkdir(parents=True)
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
