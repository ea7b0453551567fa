"""Amounts that anatomy is painted with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def lognormal(rng: Rng, median: float, spread: float) -> float:
    """A positive draw: median times exp(spread * normal)."""
    return float(median * np.exp(spread * rng.normal()))
