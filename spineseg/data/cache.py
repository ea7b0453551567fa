"""Films decoded once onto the network's grid, memory-mapped."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt, UInt16

from spineseg.data.check import Checked, film_findings, read_and_check
from spineseg.data.findings import FaultyFolder, Finding
from spineseg.film import VERTEBRAE, Case
from spineseg.inference.grid import film_to_grid, masks_to_grid
from spineseg.io.folder import FilmFiles
from spineseg.io.main_guard import require_main_guard
from spineseg.model.config import GridConfig

_VERSION = 7
"""Of what a cache's files hold; another one is made anew."""
_FOLDER_NAME = re.compile(r"[0-9a-f]{16}(\.[0-9a-f]+\.partial)?")
"""Names of the folders that a cache is in, or was to be in: nothing else is ever removed."""
_KEY_FILE, _FINDINGS_FILE = "made-from.json", "findings.json"
_DAY_SECONDS = 24 * 3600
_WHITE = 65535
_Result = TypeVar("_Result")
Bits = UInt[np.ndarray, "rows columns"]


class GridFilm(NamedTuple):
    """One film on the grid. image: 0..1 from the film's own minimum to maximum, 0 off the film. inside: on the film."""

    image: Float32[np.ndarray, "rows columns"]
    masks: Bool[np.ndarray, "vertebra rows columns"]
    inside: Bool[np.ndarray, "rows columns"]


@dataclass(frozen=True, eq=False)
class GridCache:
    """Films on the grid, memory-mapped; `film` gives one of them.

    images: 0..65535 from the film's own minimum to maximum. bits: bit k = more than half of the pixel is vertebra k,
    the bit after the last vertebra = on the film. findings: what `check` warns of in these films.
    folder: where all that is, from which a copy in another process opens it instead of being sent a gigabyte.
    """

    names: tuple[str, ...]
    images: UInt16[np.ndarray, "film rows columns"]
    bits: UInt[np.ndarray, "film rows columns"]
    findings: tuple[Finding, ...]
    folder: Path

    def __reduce__(self) -> tuple[Callable[..., GridCache], tuple[Path, tuple[str, ...]]]:
        if get_spawning_popen():
            require_main_guard()
        return _open, (self.folder, self.names)

    def __len__(self) -> int:
        return len(self.names)

    def film(self, index: int) -> GridFilm:
        """The film of that place in `names`."""
        planes = unpack_bits(self.bits[index], len(VERTEBRAE) + 1)
        return GridFilm(self.images[index].astype(np.float32) / _WHITE, planes[:-1], planes[-1])


def bits_type(planes: int) -> np.dtype:
    """The smallest unsigned integers with so many bits."""
    return np.min_scalar_type((1 << planes) - 1)


def pack_bits(planes: Bool[np.ndarray, "plane rows columns"]) -> Bits:
    """Plane k as bit k."""
    packed = np.zeros(planes.shape[1:], bits_type(len(planes)))
    for k, plane in enumerate(planes):
        packed |= plane.astype(packed.dtype) << k
    return packed


def unpack_bits(packed: Bits, planes: int) -> Bool[np.ndarray, "plane rows columns"]:
    """The inverse of `pack_bits`."""
    return np.stack([(packed >> k & 1).astype(bool) for k in range(planes)])


class _Decoded(NamedTuple):
    """A film as the files of a cache hold it."""

    image: UInt16[np.ndarray, "rows columns"]
    bits: Bits


def _on_grid(case: Case, config: GridConfig) -> _Decoded:
    image, fit = film_to_grid(case.film, config)
    inside = fit.inside()
    low, high = float(image[inside].min()), float(image[inside].max())
    unit = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * inside
    masks = masks_to_grid(case.masks, fit) > 0.5
    bits = pack_bits(np.concatenate([masks, inside[None]]))
    return _Decoded(np.round(unit * _WHITE).astype(np.uint16), bits)


def _cache_key(films: Sequence[FilmFiles], config: GridConfig) -> dict[str, Any]:
    """What a cache is made from: changes when a file, the grid, the vertebrae or the cache's form changes."""
    files = [(f.name, _file_state(f.film, f.root), _file_state(f.label, f.root) if f.label else None) for f in films]
    return {"version": _VERSION, "vertebrae": VERTEBRAE, "grid": asdict(config), "films": files}


def _file_state(path: Path, root: Path) -> tuple[str, int, int]:
    """Path below the folder of films and labels, size, time of change."""
    stat = path.stat()
    return path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns


def _cache_folder(key: Mapping[str, Any], folder: Path) -> Path:
    return folder / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]


def cached(films: Sequence[FilmFiles], config: GridConfig, folder: Path) -> GridCache | None:
    """The cache of exactly these films on this grid, if there is one."""
    where = _cache_folder(_cache_key(films, config), folder)
    return _open(where, tuple(files.name for files in films)) if where.exists() else None


def build_cache(
    films: Sequence[FilmFiles],
    config: GridConfig,
    folder: Path,
    *,
    processes: int = 1,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> GridCache:
    """Decode and check every film and its label once, or open what was decoded before.

    processes: how many decode at once; they change nothing but the time. progress: wraps the films' numbers.

    The folder appears only when whole. Two processes that build the same one each do the work, and both use the one
    that was ready first. Caches whose films have changed since are removed.
    Raises FaultyFolder, when all films were read, for what `check` calls errors, and NoMainGuard before any is.
    """
    key = _cache_key(films, config)
    where = _cache_folder(key, folder)
    if not where.exists():
        _prune(folder, films[0].root)
        unfinished = folder / f"{where.name}.{secrets.token_hex(4)}.partial"
        unfinished.mkdir(parents=True)
        try:
            _decode(films, config, unfinished, processes, progress)
            made_from = {**key, "data": str(films[0].root.resolve())}
            (unfinished / _KEY_FILE).write_text(json.dumps(made_from))
            _rename_once(unfinished, where)
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
    """Write the films on the grid, and what was found in them. Raises FaultyFolder."""
    shape = (len(films), config.rows, config.columns)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint16, shape)
    bits = np.lib.format.open_memmap(folder / "bits.npy", "w+", bits_type(len(VERTEBRAE) + 1), shape)
    checked: list[Checked] = []
    with _mapped(partial(_decode_one, config=config), films, processes) as decoded:
        for index, (one, on_grid) in zip(progress(range(len(films))), decoded, strict=True):
            checked.append(one)
            if on_grid:
                images[index], bits[index] = on_grid
    images.flush()
    bits.flush()
    findings = film_findings(films, checked)
    if any(finding.severity == "error" for finding in findings):
        raise FaultyFolder(findings)
    (folder / _FINDINGS_FILE).write_text(json.dumps([asdict(finding) for finding in findings]))


def _decode_one(files: FilmFiles, *, config: GridConfig) -> tuple[Checked, _Decoded | None]:
    checked, case = read_and_check(files)
    sound = case is not None and all(finding.severity != "error" for finding in checked.findings)
    return checked, _on_grid(case, config) if case and sound else None


@contextmanager
def _mapped(
    one: Callable[[FilmFiles], _Result], films: Sequence[FilmFiles], processes: int
) -> Iterator[Iterator[_Result]]:
    """The films, decoded one by one here or several at once in processes of their own, in their order."""
    if (processes := min(processes, len(films))) <= 1:
        yield map(one, films)
        return
    require_main_guard()
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_reader)
    try:
        yield pool.map(one, films, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_reader() -> None:
    """One thread, and Ctrl+C left to the process that reads for."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _rename_once(unfinished: Path, final: Path) -> None:
    """Rename the folder, unless another process was faster: a folder with something in it is never replaced."""
    try:
        unfinished.rename(final)
    except OSError:
        if not final.exists():
            raise


def _open(where: Path, names: tuple[str, ...]) -> GridCache:
    images, bits = (np.load(where / name, mmap_mode="r") for name in ("images.npy", "bits.npy"))
    findings = tuple(Finding(**each) for each in json.loads((where / _FINDINGS_FILE).read_text()))
    return GridCache(names, images, bits, findings, where)


def _prune(folder: Path, data: Path) -> None:
    """Remove caches of the folder `data` whose files are not as they were, and what was never finished."""
    for cache in folder.iterdir() if folder.is_dir() else ():
        if not _FOLDER_NAME.fullmatch(cache.name):
            continue
        stale = _abandoned(cache) if cache.suffix == ".partial" else not _current(cache, data)
        if stale:
            shutil.rmtree(cache, ignore_errors=True)


def _abandoned(cache: Path) -> bool:
    """Whether nobody has written there for a day."""
    times = [path.stat().st_mtime for path in (cache, *cache.glob("*")) if path.exists()]
    return time.time() - max(times, default=0.0) > _DAY_SECONDS


def _current(cache: Path, data: Path) -> bool:
    """Whether every file that the cache was made from is as it was, or of another folder."""
    try:
        stored = json.loads((cache / _KEY_FILE).read_text())
        if stored.get("data") != str(data.resolve()):
            return True
        files = [tuple(part) for _, *parts in stored["films"] for part in parts if part]
        return stored["version"] == _VERSION and all(_file_state(data / name[0], data) == name for name in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False
