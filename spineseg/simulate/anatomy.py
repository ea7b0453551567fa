"""Paint one person: tissue, gas, ribs, spine, sacrum, pelvis, hardware. Every amount is drawn afresh for each film.

Amounts are attenuation summed along the lateral beam: about 0.02 per mm of soft tissue, bone's surplus about 0.045 per
mm of compact bone. A projection needs no third axis here: a body is its outline times a thickness profile, and what
differs between the left and the right half (rims, facets, hips, wings) is painted twice with an offset.
"""

from __future__ import annotations

import numpy as np

from spineseg.film import Finding
from spineseg.simulate.atlas import Atlas
from spineseg.simulate.bodies import bone_strength, paint_spine, paint_variants
from spineseg.simulate.bones import paint_bones
from spineseg.simulate.canvas import Canvas
from spineseg.simulate.config import AnatomyConfig, Rng
from spineseg.simulate.findings import paint_findings
from spineseg.simulate.hardware import paint_hardware
from spineseg.simulate.pelvis import paint_pelvis
from spineseg.simulate.shape import SpineShape
from spineseg.simulate.soft_tissue import paint_gas, paint_lung, paint_ribs, paint_texture, paint_torso


def paint_person(
    canvas: Canvas,
    spine: SpineShape,
    rng: Rng,
    config: AnatomyConfig,
    atlas: Atlas | None = None,
    findings: tuple[Finding, ...] = (),
    findings_rng: Rng | None = None,
) -> None:
    """Everything that the beam meets, summed into the canvas; never below zero.

    atlas: projected meshes to take vertebrae, sacrum and hip bones from; without it they are painted. findings_rng:
    draws how findings look, so that the rest of the person looks the same without them.
    """
    tissue = paint_torso(canvas, spine, rng, config)
    paint_lung(canvas, spine, tissue, rng)
    paint_texture(canvas, tissue, rng)
    paint_gas(canvas, spine, rng, config)
    paint_ribs(canvas, spine, rng)
    paint_pelvis(canvas, spine, rng, config, hip_bones=atlas is None)
    strength = bone_strength(rng, config)
    if atlas is None:
        paint_spine(canvas, spine, strength, rng, config)
    else:
        strength *= rng.uniform(0.1, 0.7)
        paint_bones(canvas, spine, atlas, rng)
    paint_variants(canvas, spine, strength, rng, config)
    inside = tissue > 0
    np.maximum(canvas.attenuation, 0.0, out=canvas.attenuation)
    canvas.attenuation *= inside
    paint_hardware(canvas, spine, rng, config)
    if findings_rng is not None:
        paint_findings(canvas, spine, findings, strength, findings_rng)
        np.maximum(canvas.attenuation, 0.0, out=canvas.attenuation)
