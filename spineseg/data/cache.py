"""Films decoded once onto the network's grid, memory-mapped."""

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
from jaxtyping import Bool, UInt8, UInt16

from spineseg.film import VERTEBRAE, Case
from spineseg.inference.grid import film_to_grid, masks_to_grid
from spineseg.io.files import naming
from spineseg.io.folder import FilmFiles, read_case
from spineseg.model.config import GridConfig

ON_FILM = 1 << 7
_CACHE_VERSION = 4
_OURS = re.compile(r"[0-9a-f]{16}(\.[0-9a-f]+\.partial)?")
"""Names of the folders that a cache is in, or was to be in."""
_SIGNATURE = "made-from.json"
_DAY_SECONDS = 24 * 3600
DEPTH = 65535
_Decoded = tuple[UInt16[np.ndarray, "rows columns"], UInt8[np.ndarray, "rows columns"], tuple[str, ...]]
"""Image and bits as in `GridCache`, and what is odd about the label."""


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
    image, fit = film_to_grid(case.film, config)
    inside = fit.inside()
    low, high = float(image[inside].min()), float(image[inside].max())
    unit = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * inside
    bits = np.where(inside, ON_FILM, 0).astype(np.uint8)
    for k, fraction in enumerate(masks_to_grid(case.masks, fit)):
        bits |= (fraction > 0.5).astype(np.uint8) << k
    return np.round(unit * DEPTH).astype(np.uint16), bits


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


def masks_of(cache: GridCache, index: int) -> Bool[np.ndarray, "vertebra rows columns"]:
    """The cached masks of one film on the grid."""
    return np.stack([(cache.bits[index] >> k) & 1 for k in range(len(VERTEBRAE))]).astype(bool)
