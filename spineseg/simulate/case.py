"""One simulated case: frame a spine on a film, paint, expose, and rasterise the masks."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from spineseg.film import VERTEBRAE, Case, Film, Masks, Spacing
from spineseg.simulate.anatomy import paint_person
from spineseg.simulate.atlas import Atlas, load_atlas
from spineseg.simulate.canvas import Canvas
from spineseg.simulate.config import AnatomyConfig
from spineseg.simulate.exposure import ExposureConfig, expose
from spineseg.simulate.shape import ShapeConfig, SpineShape, sample_spine

MAXIMUM = 4095
"""Largest stored value of a 12-bit film."""


@dataclass(frozen=True)
class SimulateConfig:
    """Size and framing of the films, and the ranges of what is on them."""

    rows: int = 1536
    """Rows of each film; its columns follow from a drawn aspect."""
    aspect: tuple[float, float] = (0.5, 0.95)
    """Columns as a share of rows."""
    span: tuple[float, float] = (0.42, 0.68)
    """Share of the rows that L1-S1 fills."""
    crop_probability: float = 0.14
    """Films on which L1 or S1 leaves the picture."""
    face_right_probability: float = 0.12
    shape: ShapeConfig = field(default_factory=ShapeConfig)
    anatomy: AnatomyConfig = field(default_factory=AnatomyConfig)
    exposure: ExposureConfig = field(default_factory=ExposureConfig)


def _frame(
    spine: SpineShape, rng: np.random.Generator, config: SimulateConfig
) -> tuple[int, float, tuple[float, float]]:
    """Columns, millimetres per pixel and origin so that L1-S1 stands where films have it."""
    top, bottom = spine.lumbar[..., 1].min(), spine.lumbar[..., 1].max()
    wide = rng.random() < 0.15
    share = rng.uniform(0.32, 0.85) if wide else rng.uniform(*config.span)
    pixel_mm = (bottom - top) / (share * config.rows)
    columns = round(config.rows * rng.uniform(*config.aspect))
    above = rng.uniform(0.05, max(min(0.35, 0.95 - share), 0.06))
    if rng.random() < config.crop_probability:
        above = rng.uniform(-0.2, -0.02) if rng.random() < 0.5 else 1.02 - share + rng.uniform(0, 0.2)
    across = rng.uniform(0.3, 0.75) * columns
    return columns, pixel_mm, (spine.lumbar[..., 0].mean() - across * pixel_mm, top - above * config.rows * pixel_mm)


def _corners(
    spine: SpineShape, pixel_mm: float, origin: tuple[float, float]
) -> Float[np.ndarray, "vertebra corner=4 rc=2"]:
    """Corners of `VERTEBRAE` on the film, (row, column) with pixel centres at whole numbers."""
    return ((spine.of(VERTEBRAE) - np.asarray(origin)) / pixel_mm - 0.5)[..., ::-1]


def exact_masks(corners: Float[np.ndarray, "vertebra corner=4 rc=2"], rows: int, columns: int) -> Masks:
    """Pixels whose centre lies within each convex quadrilateral; one within two is the upper body's.

    corners: as `true_corners` gives them.
    """
    masks = np.zeros((len(VERTEBRAE), rows, columns), bool)
    taken = np.zeros((rows, columns), bool)
    for mask, body in zip(masks, corners, strict=True):
        top, left = np.clip(np.floor(body.min(0)).astype(int), 0, [rows, columns])
        bottom, right = np.clip(np.ceil(body.max(0)).astype(int) + 1, 0, [rows, columns])
        row, column = np.mgrid[top:bottom, left:right]
        sides = zip(body, np.roll(body, -1, 0), strict=True)
        box = np.s_[top:bottom, left:right]
        mask[box] = ~taken[box] & np.all(
            [(r1 - r0) * (column - c0) <= (c1 - c0) * (row - r0) for (r0, c0), (r1, c1) in sides], axis=0
        )
        taken |= mask
    return masks


def simulate_case(seed: int, index: int, config: SimulateConfig = SimulateConfig(), atlas: Atlas | None = None) -> Case:
    """Film `index` of the series `seed`; the same two numbers give the same bytes.

    atlas: projected meshes to take the bones from (`build_atlas`); painted bones without it.
    image: whole numbers 0..4095; masks: quadrilaterals of the bodies, empty where a body is off the film.
    """
    rng = np.random.default_rng([seed, index])
    spine = sample_spine(rng, config.shape)
    columns, pixel_mm, origin = _frame(spine, rng, config)
    canvas = Canvas(np.zeros((config.rows, columns), np.float32), pixel_mm, origin)
    paint_person(canvas, spine, rng, config.anatomy, atlas)
    image = np.round(expose(canvas.attenuation, pixel_mm, rng, config.exposure) * MAXIMUM)
    masks = exact_masks(_corners(spine, pixel_mm, origin), config.rows, columns)
    if rng.random() < config.face_right_probability:
        image, masks = image[:, ::-1], masks[:, :, ::-1]
    film = Film(np.ascontiguousarray(image, dtype=np.float32), Spacing(pixel_mm, pixel_mm, "detector"))
    return Case(f"S{seed:03d}-{index:05d}", film, np.ascontiguousarray(masks))


def true_corners(
    seed: int, index: int, config: SimulateConfig = SimulateConfig()
) -> Float[np.ndarray, "vertebra corner=4 rc=2"]:
    """Where the bodies' corners lie on the film of `simulate_case`, before it is mirrored to face right.

    (row, column) with pixel centres at whole numbers, also of bodies that are off the film; cranial-anterior,
    cranial-posterior, caudal-posterior, caudal-anterior.
    """
    rng = np.random.default_rng([seed, index])
    spine = sample_spine(rng, config.shape)
    _, pixel_mm, origin = _frame(spine, rng, config)
    return _corners(spine, pixel_mm, origin)


def _write_one(
    index: int, *, out: Path, seed: int, config: SimulateConfig, write: Callable[[Path, Case], None], atlas: Path | None
) -> None:
    cv2.setNumThreads(1)
    write(out, simulate_case(seed, index, config, None if atlas is None else _atlas(atlas)))


_atlas = cache(load_atlas)
"""Read once in each process."""


def write_folder(
    out: Path,
    count: int,
    seed: int,
    config: SimulateConfig = SimulateConfig(),
    *,
    write: Callable[[Path, Case], None],
    atlas: Path | None = None,
    processes: int = 1,
    progress: Callable[..., Iterable[None]] = lambda done, **_: done,
) -> None:
    """Write `count` cases with `write(out, case)`; the number of processes changes nothing but the time.

    write: see `io.folder.write_case`. atlas: file of `save_atlas`.
    progress: wraps an iterable, given its `total`.
    """
    one = partial(_write_one, out=out, seed=seed, config=config, write=write, atlas=atlas)
    if processes == 1:
        deque(progress(map(one, range(count)), total=count), maxlen=0)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        deque(progress(pool.imap(one, range(count), chunksize=4), total=count), maxlen=0)
