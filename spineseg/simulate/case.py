"""One simulated case: frame a spine on a film, paint, expose, and rasterise the masks."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spineseg.film import VERTEBRAE, Case, Film, Finding, Masks, Spacing
from spineseg.io.main_guard import require_main_guard
from spineseg.simulate.anatomy import paint_person
from spineseg.simulate.atlas import Atlas, load_atlas
from spineseg.simulate.canvas import Canvas
from spineseg.simulate.config import AnatomyConfig, SickConfig
from spineseg.simulate.exposure import ExposureConfig, expose
from spineseg.simulate.findings import Degrees, afflict, draw_degrees, shape_config
from spineseg.simulate.presentation import TONES, Placement, compose, place, retouch, tone
from spineseg.simulate.shape import Points, ShapeConfig, SpineShape, sample_spine
from spineseg.simulate.variants import child_scale

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
    odd_span: tuple[float, float] = (0.32, 0.85)
    """The same on some films, 15 %."""
    above: tuple[float, float] = (0.05, 0.35)
    """Share of the rows above L1."""
    crop_probability: float = 0.14
    """Films on which L1 or S1 leaves the picture."""
    face_right_probability: float = 0.12
    shape: ShapeConfig = field(default_factory=ShapeConfig)
    anatomy: AnatomyConfig = field(default_factory=AnatomyConfig)
    exposure: ExposureConfig = field(default_factory=ExposureConfig)
    sick: SickConfig = field(default_factory=SickConfig)


def _long_film(spine: SpineShape, rng: np.random.Generator, config: SimulateConfig) -> SimulateConfig:
    """Framing of a film that shows the whole column, and the processing that shows chest and loin alike."""
    top, l1, s1 = (float(y) for y in (spine.column[0, :2, 1].min(), spine.lumbar[0, :, 1].min(), spine.s1[:, 1].max()))
    above, below = (l1 - top) * rng.uniform(0.88, 1.03), (s1 - l1) * rng.uniform(0.15, 0.7)
    whole = above + s1 - l1 + below
    span, least = ((s1 - l1) / whole, (s1 - l1) / whole), above / whole
    exposure = replace(config.exposure, compression=(0.1, 0.6))
    framing: dict[str, Any] = {"span": span, "odd_span": span, "above": (least, least + 0.02), "aspect": (0.36, 0.55)}
    return replace(config, exposure=exposure, crop_probability=0.0, **framing)


def _frame(
    spine: SpineShape, rng: np.random.Generator, config: SimulateConfig
) -> tuple[int, float, tuple[float, float]]:
    """Columns, millimetres per pixel and origin so that L1-S1 stands where films have it."""
    top, bottom = spine.lumbar[..., 1].min(), spine.lumbar[..., 1].max()
    wide = rng.random() < 0.15
    share = rng.uniform(*config.odd_span) if wide else rng.uniform(*config.span)
    pixel_mm = (bottom - top) / (share * config.rows)
    columns = round(config.rows * rng.uniform(*config.aspect))
    least, most = config.above
    above = rng.uniform(least, max(min(most, 0.95 - share), least + 0.01))
    if rng.random() < config.crop_probability:
        above = rng.uniform(-0.2, -0.02) if rng.random() < 0.5 else 1.02 - share + rng.uniform(0, 0.2)
    across = rng.uniform(0.3, 0.75) * columns
    return columns, pixel_mm, (spine.lumbar[..., 0].mean() - across * pixel_mm, top - above * config.rows * pixel_mm)


def _pixels(
    points_mm: Float[np.ndarray, "*body point xy=2"], pixel_mm: float, origin: tuple[float, float]
) -> Float[np.ndarray, "*body point rc=2"]:
    """Points on the film, (row, column) with pixel centres at whole numbers."""
    return ((points_mm - np.asarray(origin)) / pixel_mm - 0.5)[..., ::-1]


def exact_masks(corners: Float[np.ndarray, "vertebra corner=4 rc=2"], rows: int, columns: int) -> Masks:
    """Pixels whose centre lies within each convex quadrilateral; one within two is the upper body's.

    corners: as `true_corners` gives them.
    """
    return _masks([(body, _in_convex) for body in corners], rows, columns)


def outline_masks(outlines: Sequence[Points], rows: int, columns: int) -> Bool[np.ndarray, "body rows columns"]:
    """The same for any closed outlines, (point, rc=2), convex or not."""
    return _masks([(outline, _in_polygon) for outline in outlines], rows, columns)


def _masks(
    bodies: Sequence[tuple[Points, Callable[..., np.ndarray]]], rows: int, columns: int
) -> Bool[np.ndarray, "body rows columns"]:
    masks = np.zeros((len(bodies), rows, columns), bool)
    taken = np.zeros((rows, columns), bool)
    for mask, (body, within) in zip(masks, bodies, strict=True):
        top, left = np.clip(np.floor(body.min(0)).astype(int), 0, [rows, columns])
        bottom, right = np.clip(np.ceil(body.max(0)).astype(int) + 1, 0, [rows, columns])
        row, column = np.mgrid[top:bottom, left:right]
        box = np.s_[top:bottom, left:right]
        mask[box] = ~taken[box] & within(body, row, column)
        taken |= mask
    return masks


def _in_convex(body: Points, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    sides = zip(body, np.roll(body, -1, 0), strict=True)
    return np.all([(r1 - r0) * (column - c0) <= (c1 - c0) * (row - r0) for (r0, c0), (r1, c1) in sides], axis=0)


def _in_polygon(body: Points, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Whether a ray to the left crosses the outline an odd number of times."""
    inside = np.zeros(row.shape, bool)
    for (r0, c0), (r1, c1) in zip(body, np.roll(body, -1, 0), strict=True):
        if r0 != r1:
            inside ^= ((r0 > row) != (r1 > row)) & (column > c0 + (row - r0) * (c1 - c0) / (r1 - r0))
    return inside


@dataclass(frozen=True, eq=False)
class _Plan:
    """All that is settled before a film is painted. rng: what paints an ordinary film; sick_rng: the rest."""

    rng: np.random.Generator
    sick_rng: np.random.Generator
    degrees: Degrees
    spine: SpineShape
    columns: int
    pixel_mm: float
    origin: tuple[float, float]
    placement: Placement
    findings: tuple[Finding, ...]
    config: SimulateConfig

    def outlines(self) -> list[Points]:
        """Of `VERTEBRAE` on the film, (row, column)."""
        return [_pixels(outline, self.pixel_mm, self.origin) for outline in self.spine.outlines()]


def _plan(seed: int, index: int, config: SimulateConfig) -> _Plan:
    rng, sick_rng = np.random.default_rng([seed, index]), np.random.default_rng([seed, index, 1])
    degrees = draw_degrees(sick_rng, config.sick)
    spine, found = sample_spine(rng, shape_config(config.shape, degrees)), ()
    if degrees:
        spine, found = afflict(spine, degrees, sick_rng)
    if "long_film" in degrees:
        config = _long_film(spine, sick_rng, config)
        found = (*found, Finding("whole spine", where=(spine.column_names[0], "L5")))
    columns, pixel_mm, origin = _frame(spine, rng, config)
    placement = Placement.unchanged(config.rows, columns)
    if "tone" in degrees:
        found = (*found, *tone(degrees["tone"], sick_rng))
    if "placement" in degrees:
        placement, more = place(config.rows, columns, degrees["placement"], sick_rng)
        found = (*found, *more)
    return _Plan(rng, sick_rng, degrees, spine, columns, pixel_mm, origin, placement, found, config)


def simulate_case(seed: int, index: int, config: SimulateConfig = SimulateConfig(), atlas: Atlas | None = None) -> Case:
    """Film `index` of the series `seed`; the same two numbers give the same bytes.

    atlas: projected meshes to take the bones from (`build_atlas`); painted bones without it.
    image: whole numbers 0..4095; masks: the true outlines of the bodies, empty where a body is off the film.
    """
    plan = _plan(seed, index, config)
    image, outlines = _expose(plan, atlas), plan.outlines()
    mirrored = plan.rng.random() < config.face_right_probability
    if not plan.degrees:
        masks = exact_masks(np.stack(outlines), *image.shape)
        image, masks = (image[:, ::-1], masks[:, :, ::-1]) if mirrored else (image, masks)
    else:
        if mirrored:
            image, outlines = image[:, ::-1], [line * [1, -1] + [0, image.shape[1] - 1] for line in outlines]
        image = _present(plan, np.ascontiguousarray(image))
        masks = outline_masks([plan.placement.points(line) for line in outlines], *image.shape)
    film = Film(np.ascontiguousarray(np.round(image * MAXIMUM), dtype=np.float32), _spacing(plan))
    return Case(f"S{seed:03d}-{index:05d}", film, np.ascontiguousarray(masks), findings=plan.findings)


def _expose(plan: _Plan, atlas: Atlas | None) -> np.ndarray:
    """The exposed film, 0..1."""
    config = plan.config
    canvas = Canvas(np.zeros((config.rows, plan.columns), np.float32), plan.pixel_mm, plan.origin)
    if plan.degrees:
        size = child_scale(plan.findings)
        soft = tuple(size * amount for amount in config.anatomy.soft_per_mm)
        anatomy = replace(config.anatomy, soft_per_mm=soft, hardware_probability=0.0)
        paint_person(canvas, plan.spine, plan.rng, anatomy, atlas, plan.findings, plan.sick_rng)
    else:
        paint_person(canvas, plan.spine, plan.rng, config.anatomy, atlas)
    return expose(canvas.attenuation, plan.pixel_mm, plan.rng, config.exposure)


def _present(plan: _Plan, image: np.ndarray) -> np.ndarray:
    """The film as it is stored: its tone, and where it lies in its picture."""
    if "tone" in plan.degrees:
        names = [finding.name for finding in plan.findings if finding.name in TONES]
        image = retouch(image, plan.pixel_mm, names[0], plan.degrees["tone"], plan.sick_rng)
    picture = compose(image, plan.placement, plan.degrees.get("placement", 0.0), plan.sick_rng)
    return np.clip(picture, 0.0, 1.0)


def _spacing(plan: _Plan) -> Spacing | None:
    """None for a photograph. A child's is smaller: it is painted as large as an adult."""
    scale = plan.placement.scale
    if scale is None:
        return None
    pixel_mm = plan.pixel_mm * child_scale(plan.findings) / scale
    return Spacing(pixel_mm, pixel_mm, "detector")


def true_corners(
    seed: int, index: int, config: SimulateConfig = SimulateConfig()
) -> Float[np.ndarray, "vertebra corner=4 rc=2"]:
    """Where the bodies' corners lie on the film of `simulate_case`, before it is mirrored to face right.

    (row, column) with pixel centres at whole numbers, also of bodies that are off the film; cranial-anterior,
    cranial-posterior, caudal-posterior, caudal-anterior.
    """
    plan = _plan(seed, index, config)
    corners = _pixels(plan.spine.of(VERTEBRAE), plan.pixel_mm, plan.origin)
    return np.stack([plan.placement.points(body) for body in corners]) if plan.placement.names else corners


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
    progress: wraps an iterable, given its `total`. Raises NoMainGuard.
    """
    one = partial(_write_one, out=out, seed=seed, config=config, write=write, atlas=atlas)
    if processes == 1:
        deque(progress(map(one, range(count)), total=count), maxlen=0)
        return
    require_main_guard()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        deque(progress(pool.imap(one, range(count), chunksize=4), total=count), maxlen=0)
