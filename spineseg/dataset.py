"""Cases from a folder, decoded once into a cache on the network's grid; split by film; batches.

Layout: `img/<stem>.dcm` with `label/<stem>.mat` or `label/<stem>.npy`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8, UInt16
from torch import Tensor
from torch.utils.data import Dataset

from spineseg.augment import AugmentConfig, augment, report_flips
from spineseg.dicom import read_film, write_film
from spineseg.film import VERTEBRAE, BadInput, Case
from spineseg.grid import GridConfig, film_to_grid, masks_to_grid, normalise
from spineseg.labels import read_label, write_mat

IMAGES, LABELS = "img", "label"
LABEL_SUFFIXES = (".mat", ".npy")
"""In the order in which a label is looked for."""

_ON_FILM = 1 << 7
_CACHE_VERSION = 4
_OURS = re.compile(r"[0-9a-f]{16}(\.[0-9a-f]+\.partial)?")
"""Names of the folders that a cache is in, or was to be in."""
_SIGNATURE = "made-from.json"
_DAY_SECONDS = 24 * 3600
_DEPTH = 65535
_Decoded = tuple[UInt16[np.ndarray, "rows columns"], UInt8[np.ndarray, "rows columns"], tuple[str, ...]]
"""Image and bits as in `GridCache`, and what is odd about the label."""


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
    """The films `img/*.dcm` of the folder by name, each with `label/<stem>.mat` or, failing that, `.npy`.

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
        raise BadDataset(f"expected labels as {LABELS}/<film>.mat or .npy, found none that belongs to a film")
    return labelled


def read_case(files: FilmFiles) -> Case:
    """The film with its reference masks. Raises BadInput if either cannot be read."""
    if files.label is None:
        raise BadInput("expected a label for the film, got none; add a .mat or .npy file of the same name")
    film = read_film(files.film)
    label = read_label(files.label, film.shape)
    return Case(files.name, film, label.masks, label.remarks)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Start the sentence of any BadInput with the name of the file that it is about."""
    try:
        yield
    except BadInput as error:
        raise type(error)(f"{name}: {error}") from None


def write_case(folder: Path, case: Case) -> None:
    """Write one case in the layout that `find_films` reads; 12-bit DICOM and compressed .mat."""
    for part in (IMAGES, LABELS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_mat(folder / LABELS / f"{case.name}.mat", case.masks)
    write_film(folder / IMAGES / f"{case.name}.dcm", case.film)


@dataclass(frozen=True, eq=False)
class GridCache:
    """Films on the grid, memory-mapped.

    images: 0..65535 from the film's own minimum to maximum. bits: bit k = more than half of the pixel is vertebra k,
    bit 7 = on the film. remarks: what was odd about a film's label, by the film's name. folder: where all that is, from
    which a copy in another process opens it instead of being sent a gigabyte.
    """

    names: tuple[str, ...]
    images: UInt16[np.ndarray, "film rows columns"]
    bits: UInt8[np.ndarray, "film rows columns"]
    remarks: Mapping[str, list[str]]
    folder: Path

    def __reduce__(self) -> tuple[Callable[..., GridCache], tuple[Path, tuple[str, ...]]]:
        return _open, (self.folder, self.names)


def _on_grid(
    case: Case, config: GridConfig
) -> tuple[UInt16[np.ndarray, "rows columns"], UInt8[np.ndarray, "rows columns"]]:
    image, to = film_to_grid(case.film, config)
    inside = to.inside()
    low, high = float(image[inside].min()), float(image[inside].max())
    unit = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * inside
    bits = np.where(inside, _ON_FILM, 0).astype(np.uint8)
    for k, fraction in enumerate(masks_to_grid(case.masks, to)):
        bits |= (fraction > 0.5).astype(np.uint8) << k
    return np.round(unit * _DEPTH).astype(np.uint16), bits


def _signature(films: Sequence[FilmFiles], config: GridConfig) -> dict[str, Any]:
    """What a cache holds: changes when a file, the grid or the cache's form changes."""
    files = [(f.name, _stats(f.film), _stats(f.label) if f.label else None) for f in films]
    return {"version": _CACHE_VERSION, "grid": asdict(config), "films": files}


def _stats(path: Path) -> tuple[str, int, int]:
    """Folder and name, size, time of change."""
    stat = path.stat()
    return f"{path.parent.name}/{path.name}", stat.st_size, stat.st_mtime_ns


def _place(signature: Mapping[str, Any], folder: Path) -> Path:
    return folder / hashlib.sha256(json.dumps(signature).encode()).hexdigest()[:16]


def cached(films: Sequence[FilmFiles], config: GridConfig, folder: Path) -> GridCache | None:
    """The cache of exactly these films on this grid, if there is one."""
    where = _place(_signature(films, config), folder)
    return _open(where, tuple(files.name for files in films)) if where.exists() else None


def build_cache(
    films: Sequence[FilmFiles],
    config: GridConfig,
    folder: Path,
    *,
    processes: int = 1,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> GridCache:
    """Decode every film and its label once, or open what was decoded before; the folder appears only when whole.

    processes: how many decode at once; they change nothing but the time. progress: wraps the films' numbers.

    Two processes that build the same one each do the work, and both use the one that was ready first. Caches whose
    films have changed since are removed.
    """
    signature = _signature(films, config)
    where = _place(signature, folder)
    if not where.exists():
        _prune(folder, films[0].film.parents[1])
        unfinished = folder / f"{where.name}.{secrets.token_hex(4)}.partial"
        unfinished.mkdir(parents=True)
        try:
            _decode(films, config, unfinished, processes, progress)
            (unfinished / _SIGNATURE).write_text(json.dumps(signature))
            _give_name(unfinished, where)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return _open(where, tuple(files.name for files in films))


def _decode(
    films: Sequence[FilmFiles],
    config: GridConfig,
    folder: Path,
    processes: int,
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> None:
    """Write the films on the grid, and what is odd about their labels."""
    shape = (len(films), config.rows, config.columns)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint16, shape)
    bits = np.lib.format.open_memmap(folder / "bits.npy", "w+", np.uint8, shape)
    remarks = {}
    with _mapped(partial(_decode_one, config=config), films, processes) as decoded:
        for index, (image, bit, remark) in zip(progress(range(len(films))), decoded, strict=True):
            images[index], bits[index] = image, bit
            if remark:
                remarks[films[index].name] = remark
    images.flush()
    bits.flush()
    (folder / "remarks.json").write_text(json.dumps(remarks))


def _decode_one(files: FilmFiles, *, config: GridConfig) -> _Decoded:
    with naming(files.name):
        case = read_case(files)
    return *_on_grid(case, config), case.remarks


@contextmanager
def _mapped(
    one: Callable[[FilmFiles], _Decoded], films: Sequence[FilmFiles], processes: int
) -> Iterator[Iterator[_Decoded]]:
    """The films, decoded one by one here or several at once in processes of their own, in their order."""
    if (processes := min(processes, len(films))) <= 1:
        yield map(one, films)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,))
    try:
        yield pool.map(one, films, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _give_name(unfinished: Path, final: Path) -> None:
    """Rename the folder, unless another process was faster: a folder with something in it is never replaced."""
    try:
        unfinished.rename(final)
    except OSError:
        if not final.exists():
            raise


def _open(where: Path, names: tuple[str, ...]) -> GridCache:
    images, bits = (np.load(where / name, mmap_mode="r") for name in ("images.npy", "bits.npy"))
    remarks = json.loads((where / "remarks.json").read_text())
    return GridCache(names, images, bits, remarks, where)


def _prune(folder: Path, data: Path) -> None:
    """Remove caches made from files that `data` does not hold any more, and what was never finished; nothing else."""
    for place in folder.iterdir() if folder.is_dir() else ():
        if not _OURS.fullmatch(place.name):
            continue
        stale = _abandoned(place) if place.suffix == ".partial" else not _current(place, data)
        if stale:
            shutil.rmtree(place, ignore_errors=True)


def _abandoned(place: Path) -> bool:
    """Whether nobody has written there for a day."""
    times = [path.stat().st_mtime for path in (place, *place.glob("*")) if path.exists()]
    return time.time() - max(times, default=0.0) > _DAY_SECONDS


def _current(place: Path, data: Path) -> bool:
    """Whether every file that the cache was made from is as it was."""
    try:
        stored = json.loads((place / _SIGNATURE).read_text())
        files = [tuple(part) for _, *parts in stored["films"] for part in parts if part]
        return stored["version"] == _CACHE_VERSION and all(_stats(data / name[0]) == name for name in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def split_by_film(count: int, validation_share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices for training and for validation; at least one film in each.

    Raises BadDataset if there are fewer than two films.
    """
    if count < 2:
        raise BadDataset(f"expected at least 2 labelled films, got {count}; add films or simulate some")
    order = np.random.default_rng(seed).permutation(count)
    held = min(max(round(count * validation_share), 1), count - 1)
    return sorted(int(i) for i in order[held:]), sorted(int(i) for i in order[:held])


class FilmDataset(Dataset[tuple[Tensor, Tensor]]):
    """Cached films as (input channels, targets); each film's changes follow from (seed, epoch, index) alone.

    background: value of the seventh target, where there is one, off every vertebra; anything but 1 is a mistake that
    `check_targets` finds.
    """

    def __init__(
        self,
        cache: GridCache,
        indices: Sequence[int],
        grid: GridConfig,
        *,
        augmentation: AugmentConfig | None,
        out_channels: int = len(VERTEBRAE),
        background: float = 1.0,
        stride: int = 1,
        seed: int = 0,
    ) -> None:
        self.cache, self.indices, self.grid = cache, list(indices), grid
        self.augmentation, self.out_channels, self.stride, self.seed = augmentation, out_channels, stride, seed
        self.background = background
        self.epoch = 0

    @property
    def names(self) -> list[str]:
        """Of the films, in order."""
        return [self.cache.names[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = self.indices[position]
        bits = self.cache.bits[index]
        image = self.cache.images[index].astype(np.float32) / _DEPTH
        inside = (bits & _ON_FILM) > 0
        masks = masks_of(self.cache, index).astype(np.float32)
        if self.augmentation is None:
            targets = self._complete(_pool(masks, self.stride))
        else:
            rng = np.random.default_rng([self.seed, self.epoch, index])
            image, targets, inside = augment(image, masks, inside, rng, self.augmentation, self.stride)
            targets = self._complete(targets)
            if self.augmentation.flips == "report":
                image, targets, inside = report_flips(image, targets, inside, rng, self.augmentation.flip_probability)
        return torch.from_numpy(normalise(image, inside, self.grid)), torch.from_numpy(targets)

    def _complete(
        self, targets: Float32[np.ndarray, "vertebra=6 rows columns"]
    ) -> Float32[np.ndarray, "channel rows columns"]:
        """With the background as a seventh channel, if the network has one."""
        if self.out_channels == len(VERTEBRAE):
            return targets
        background = np.float32(self.background) * (1 - np.minimum(targets.sum(0, keepdims=True), 1))
        return np.concatenate([targets, background])


def _pool(
    masks: Float32[np.ndarray, "channel rows columns"], stride: int
) -> Float32[np.ndarray, "channel rows_out columns_out"]:
    """Mean over stride x stride pixels."""
    channels, rows, columns = masks.shape
    return masks.reshape(channels, rows // stride, stride, columns // stride, stride).mean((2, 4))


def masks_of(cache: GridCache, index: int) -> Bool[np.ndarray, "vertebra=6 rows columns"]:
    """The cached masks of one film on the grid."""
    return np.stack([(cache.bits[index] >> k) & 1 for k in range(len(VERTEBRAE))]).astype(bool)
