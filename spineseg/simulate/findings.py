"""What a film shows beside an ordinary spine: drawn by kind and degree, shaped on the column, painted by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from spineseg.film import Finding
from spineseg.simulate import alignment, degeneration, fractures, implants, overlays, variants
from spineseg.simulate.canvas import Canvas
from spineseg.simulate.column import Column
from spineseg.simulate.config import Rng, SickConfig
from spineseg.simulate.shape import ShapeConfig, SpineShape

Degrees = Mapping[str, float]
"""Degree 0..1 of each kind that a film has; none for an ordinary film."""
Shaper = Callable[[Column, float, Rng], list[Finding]]
Painter = Callable[[Canvas, SpineShape, Finding, np.ndarray, Rng], None]

SHAPERS: dict[str, Shaper] = {
    "child": variants.shrink,
    "osteoporosis": variants.thin,
    "numbering": variants.renumber,
    "degeneration": degeneration.wear,
    "fracture": fractures.fracture,
    "kyphosis": alignment.kyphose,
    "slip": alignment.slip,
    "scoliosis": alignment.curve,
    "cement": fractures.cement,
    "hardware": implants.instrument,
    "overlay": overlays.overlay,
}
"""In the order in which they change a spine: what comes later builds on what is there."""
PAINTERS: dict[str, Painter] = {
    "wedge fracture": fractures.paint_fracture,
    "biconcave fracture": fractures.paint_fracture,
    "crush fracture": fractures.paint_fracture,
    "cement": fractures.paint_cement,
    "cement leak": fractures.paint_leak,
    "gas in a disc": degeneration.paint_gas_in_disc,
    "bridging osteophyte": degeneration.paint_bridge,
    "fused bodies": degeneration.paint_fused,
    "sacralised L5": variants.paint_sacralised,
    "lumbarised S1": variants.paint_lumbar_s1,
    "child": variants.paint_growth_plates,
    "osteoporosis": variants.paint_trabeculae,
    "pedicle screws": implants.paint_screws,
    "cross-link": implants.paint_link,
    "cage": implants.paint_cage,
    "anterior plate": implants.paint_plate,
    **dict.fromkeys(overlays.OVERLAYS, overlays.paint_overlay),
}
"""By the name of a finding; one that is not here shows in the shape of the spine alone."""


def draw_degrees(rng: Rng, config: SickConfig) -> Degrees:
    """Nothing for an ordinary film; else at least one kind."""
    if rng.random() >= config.share:
        return {}
    chances = config.probabilities()
    drawn = [kind for kind, chance in chances.items() if rng.random() < chance]
    weight = np.array(list(chances.values()))
    kinds = drawn or [str(rng.choice(list(chances), p=weight / weight.sum()))]
    return {kind: float(rng.uniform(*config.degree)) for kind in kinds}


def shape_config(config: ShapeConfig, degrees: Degrees) -> ShapeConfig:
    """T4 and all below it for a long film, and T8 where the chest matters."""
    return replace(config, thoracic=9) if degrees.keys() & {"long_film", "kyphosis"} else config


def afflict(spine: SpineShape, degrees: Degrees, rng: Rng) -> tuple[SpineShape, tuple[Finding, ...]]:
    """The spine with all kinds that change it, and what they are called."""
    column, found = Column.of(spine), []
    upright = column.leaning_deg()
    for kind, shaper in SHAPERS.items():
        if kind in degrees:
            found += shaper(column, degrees[kind], rng)
    column.separate()
    column.balance(rng.uniform(0.4, 1.0), upright)
    return column.spine(), tuple(found)


def paint_findings(
    canvas: Canvas, spine: SpineShape, findings: tuple[Finding, ...], strength: np.ndarray, rng: Rng
) -> None:
    """Those that are painted, in order. strength: (fill, endplate, wall) of the spine's bone."""
    for finding in findings:
        if finding.name in PAINTERS:
            PAINTERS[finding.name](canvas, spine, finding, strength, rng)
