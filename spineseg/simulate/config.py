"""Amounts that anatomy is painted with, and how often films show what is not ordinary."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from spineseg.film import BadInput

Rng = np.random.Generator


@dataclass(frozen=True)
class AnatomyConfig:
    """How far the painted amounts range; pairs are (low, high) of a uniform draw."""

    soft_per_mm: tuple[float, float] = (0.016, 0.022)
    body_fill: tuple[float, float] = (0.02, 0.55)
    endplate: tuple[float, float] = (0.05, 0.7)
    wall: tuple[float, float] = (0.03, 0.45)
    oblique_mm: float = 1.8
    """Deviation of the offset between left and right rims."""
    half_width: float = 0.65
    """Half the width of a body from left to right over its depth."""
    open_front: tuple[float, float] = (0.0, 0.2)
    """Half the width of an endplate's front margin over `half_width`: how far a lens of two rims is open in front."""
    open_back: tuple[float, float] = (0.4, 1.0)
    """The same of its back margin, which is broad, for an endplate is shaped like a kidney or a D."""
    focus_mm: float = 1000.0
    """From the tube to the spine."""
    focus_height_mm: float = 40.0
    """Deviation of the tube's height about L3's."""
    lean_deg: tuple[float, float, float] = (3.0, 1.2, 1.5)
    """Deviations of a spine's lean to one side, of its further lean from body to body, and of each endplate's own."""
    pelvis_offset_mm: float = 7.0
    """Deviation of the offset between left and right hip bones."""
    hardware_probability: float = 0.06
    spur_probability: float = 0.12
    """Bone that bridges a disc in front, per disc."""
    vacuum_probability: float = 0.06
    """Gas in a disc, per disc."""
    lumbarised_probability: float = 0.3
    """Films on which S1 shows a back wall, a lower endplate and a disc below, as a lumbar body does."""
    gas_blobs: int = 60


@dataclass(frozen=True)
class SickConfig:
    """How many films show more than an ordinary spine, and how often each kind of it is on those."""

    share: float = 0.0
    """Films with at least one kind. The command `simulate`, which makes films to train on, has a default of its own."""
    fracture: float = 0.35
    cement: float = 0.12
    hardware: float = 0.30
    kyphosis: float = 0.15
    scoliosis: float = 0.15
    degeneration: float = 0.30
    slip: float = 0.15
    numbering: float = 0.12
    child: float = 0.06
    osteoporosis: float = 0.25
    overlay: float = 0.20
    tone: float = 0.20
    placement: float = 0.25
    long_film: float = 0.12
    degree: tuple[float, float] = (0.0, 1.0)
    """Of every kind, uniform; 0 is the mildest that is drawn, 1 the most severe."""

    def probabilities(self) -> dict[str, float]:
        """Of each kind on a film that shows at least one, in the order of `KINDS`."""
        return {kind: getattr(self, kind) for kind in KINDS}


KINDS = tuple(field.name for field in fields(SickConfig) if field.name not in ("share", "degree"))
"""What a film can show beside an ordinary spine."""


def only(kind: str, degree: float | None = None) -> SickConfig:
    """Films of one kind alone; degree: 0..1, None for any. Raises BadInput for a kind that there is not."""
    if kind not in KINDS:
        raise BadInput(f"the simulator draws no {kind}; take one of {', '.join(KINDS)}")
    chosen = {name: float(name == kind) for name in KINDS}
    return SickConfig(share=1.0, degree=(0.0, 1.0) if degree is None else (degree, degree), **chosen)


def lognormal(rng: Rng, median: float, spread: float) -> float:
    """A positive draw: median times exp(spread * normal)."""
    return float(median * np.exp(spread * rng.normal()))
