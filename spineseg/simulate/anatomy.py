"""Paint one person: tissue, gas, ribs, spine, sacrum, pelvis, hardware. Every amount is drawn afresh for each film.

Amounts are attenuation summed along the lateral beam: about 0.02 per mm of soft tissue, bone's surplus about 0.045 per
mm of compact bone. A projection needs no third axis here: a body is its outline times a thickness profile, and what
differs between the left and the right half (rims, facets, hips, wings) is painted twice with an offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, Float32
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from spineseg.simulate.bones import Atlas, paint_bones
from spineseg.simulate.canvas import Canvas, Points, ellipse, smooth_closed, smooth_open
from spineseg.simulate.shape import Spine

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


def _arc(start: np.ndarray, end: np.ndarray, sag: float, count: int = 9) -> Points:
    """A parabola from start to end that leaves the chord by sag (mm) at its middle, to the left of the direction."""
    t = np.linspace(0, 1, count)[:, None]
    chord = end - start
    normal = np.array([chord[1], -chord[0]]) / (np.linalg.norm(chord) + 1e-9)
    return start + t * chord + 4 * t * (1 - t) * sag * normal


def endplate_rims(
    chord: Points,
    rise: Float[np.ndarray, "xy=2"],
    outward: Float[np.ndarray, "xy=2"],
    opening: tuple[float, float],
    power: float,
) -> tuple[Points, Points]:
    """Near and far rim of an endplate that is drawn as `chord` where the two lie over each other.

    rise (mm): how far the near rim's middle lies from the endplate's, the far one's as far to the other side. opening:
    the share of it that is left at the chord's start and end, where the outer of the two rims lies on the chord. The
    higher the power, the flatter the rims.
    """
    place = np.linspace(-1, 1, len(chord))[:, None]
    ends = opening[0] + (opening[1] - opening[0]) * (place + 1) / 2
    middle = chord - np.sign(rise @ outward) * ends * rise
    apart = (1 - (1 - ends) * np.abs(place) ** power) * rise
    return middle + apart, middle - apart


def _bent(line: Points, start: Float[np.ndarray, "xy=2"], end: Float[np.ndarray, "xy=2"]) -> Points:
    """A line moved so that it runs from start to end."""
    t = np.linspace(0, 1, len(line))[:, None]
    return line + (1 - t) * (start - line[0]) + t * (end - line[-1])


def rims_mm(bodies: Float[np.ndarray, "body corner=4 xy=2"], rng: Rng, config: AnatomyConfig) -> np.ndarray:
    """How far the near rim of every endplate rises above its middle on the film, (body, endplate=2).

    The far rim sinks as much, so that an endplate is seen as a lens. Two causes: rays that fan out from the tube, and a
    spine that leans or bends to one side.
    """
    height = bodies[..., 1].reshape(-1, 2, 2).mean(-1)
    depth = np.linalg.norm(bodies[:, 1] - bodies[:, 0], axis=1, keepdims=True)
    whole, bend, own = config.lean_deg
    lean = rng.normal(0, whole) + rng.normal(0, bend) * height / depth + rng.normal(0, own, height.shape)
    rays = (rng.normal(0, config.focus_height_mm) - height) / config.focus_mm
    return config.half_width * depth * (np.tan(np.deg2rad(lean)) + rays)


def body_outline(corners: Float[np.ndarray, "corner=4 xy=2"], rng: Rng) -> tuple[Points, Points, Points, Points]:
    """Upper endplate, posterior wall, lower endplate and anterior wall, with waist and hollows, as lines in turn."""
    ca, cp, lp, la = corners
    depth = float(np.linalg.norm(cp - ca))
    upper = _arc(ca, cp, -depth * rng.uniform(0.0, 0.05))
    lower = _arc(lp, la, -depth * rng.uniform(0.01, 0.08))
    back = _arc(cp, lp, -depth * rng.uniform(0.0, 0.05))
    front = _arc(la, ca, -depth * rng.uniform(0.02, 0.09))
    if rng.random() < 0.3:
        corners_out = rng.uniform(0.5, 6.0, 2)
        lip = (ca - cp) / depth
        upper[0] += lip * corners_out[0]
        lower[-1] += lip * corners_out[1]
        front[0], front[-1] = lower[-1], upper[0]
    return upper, back, lower, front


def _paint_half(canvas: Canvas, outline: Points, corners: np.ndarray, fill: float, bulge: float) -> None:
    """The left or the right half of a body, thin at its front and thick from the share `bulge` of its depth on."""
    found = canvas.coverage(outline, soft_mm=0.5)
    if found is None:
        return
    box, share = found
    across = corners[1] - corners[0]
    rows, columns = np.mgrid[box]
    x = (columns + 0.5) * canvas.pixel_mm + canvas.origin_mm[0] - corners[:, 0].mean()
    y = (rows + 0.5) * canvas.pixel_mm + canvas.origin_mm[1] - corners[:, 1].mean()
    t = np.clip((x * across[0] + y * across[1]) / (across @ across) + 0.5, 0, 1)
    thickness = np.sqrt(np.clip(1 - (1 - np.minimum(t / bulge, 1)) ** 2, 0, 1))
    canvas.attenuation[box] += (fill * thickness * share).astype(np.float32)


def _paint_body(
    canvas: Canvas, corners: np.ndarray, rims: np.ndarray, strength: np.ndarray, rng: Rng, config: AnatomyConfig
) -> None:
    """One vertebral body. rims: see `rims_mm`. strength: (fill, endplate, wall) common to the whole spine."""
    fill, endplate, wall = strength * np.exp(0.2 * rng.normal(size=3))
    upper, back, lower, front = body_outline(corners, rng)
    up = corners[:2].mean(0) - corners[2:].mean(0)
    up /= np.linalg.norm(up)
    power, bulge = rng.uniform(2.0, 3.5), rng.uniform(0.4, 0.7)
    opening = rng.uniform(*config.open_front), rng.uniform(*config.open_back)
    offset = rng.normal(0, 0.4 * config.oblique_mm, (2, 2))
    width = rng.uniform(0.9, 2.0)
    posterior, behind = _arc(corners[1], corners[2], -rng.uniform(0, 2)), rng.normal(0, config.oblique_mm)
    walls = (rng.uniform(0.8, 1.6), 1.0, np.zeros(2)), (1.0, 0.6, np.array([behind, 0.0]))
    halves = zip(
        endplate_rims(upper, rims[0] * up, up, opening, power),
        endplate_rims(lower, rims[1] * up, -up, (opening[1], opening[0]), power),
        strict=True,
    )
    for (above, below), side, (thick, share, shift) in zip(halves, (1, -1), walls, strict=True):
        outline = [above, _bent(back, above[-1], below[0]), below, _bent(front, below[-1], above[0])]
        _paint_half(canvas, np.concatenate([line[:-1] for line in outline]), corners, fill / 2, bulge)
        for line, moved in zip((above, below), side * offset, strict=True):
            canvas.line(line + moved, endplate * rng.uniform(0.3, 1.1), width_mm=width, soft_mm=0.5)
        canvas.line(_bent(posterior, above[-1], below[0]) + shift, wall * share, width_mm=thick)
    canvas.line(
        _arc(corners[3], corners[0], -rng.uniform(1, 4)), wall * rng.uniform(0.3, 1.1), width_mm=rng.uniform(0.7, 1.4)
    )
    for line in (upper, lower):
        if rng.random() < 0.2:
            canvas.line(line, rng.uniform(0.05, 0.3), width_mm=rng.uniform(2, 6), soft_mm=1.5)


def _paint_arch(canvas: Canvas, body: np.ndarray, below: np.ndarray, amount: float, rng: Rng, thoracic: bool) -> None:
    """Pedicles, facets, lamina, transverse and spinous process behind one body; below is the next body."""
    depth = float(np.linalg.norm(body[1] - body[0]))
    back = (body[1] - body[0]) / depth
    down = (body[3] - body[0] + body[2] - body[1]) / 2
    height = float(np.linalg.norm(down))
    down = down / height

    def at(behind: float, caudal: float) -> np.ndarray:
        """A point behind the posterior wall, in shares of depth and height from the cranial posterior corner."""
        return body[1] + back * behind * depth + down * caudal * height

    for _ in range(2):
        shift = rng.normal(0, 1.5, 2)
        pedicle = np.stack([at(-0.05, 0.05), at(0.3, 0.08), at(0.3, 0.5), at(-0.05, 0.55)]) + shift
        canvas.fill(smooth_closed(pedicle, 2), amount * rng.uniform(0.4, 1.0), soft_mm=0.8)
        facet = np.stack([at(0.25, -0.45), at(0.48, -0.3), at(0.55, 0.5), at(0.5, 1.25), at(0.32, 1.2), at(0.28, 0.4)])
        facet = smooth_closed(facet + rng.normal(0, 0.06 * depth, facet.shape), 2) + shift
        canvas.fill(facet, amount * rng.uniform(0.5, 1.3), soft_mm=0.8)
        canvas.line(facet, amount * rng.uniform(0.2, 1.2), width_mm=rng.uniform(0.8, 1.6), closed=True)
        process = ellipse(
            at(rng.uniform(0.3, 0.5), rng.uniform(0.8, 1.3)),
            (rng.uniform(3, 7), rng.uniform(6, 12)),
            rng.normal(-15, 20),
        )
        canvas.fill(process + shift, amount * rng.uniform(0, 1.2), soft_mm=1.0)
    foramen = ellipse(at(rng.uniform(0.1, 0.2), rng.uniform(0.8, 1.1)), (0.12 * depth, 0.2 * depth), rng.normal(0, 15))
    canvas.fill(foramen, -amount * rng.uniform(0.0, 0.9), soft_mm=1.2)
    drop = 0.55 if not thoracic else 1.2
    length = rng.uniform(1.15, 1.5)
    spinous = np.stack(
        [at(0.55, 0.35), at(length, 0.35 + drop * 0.6), at(length + 0.03, 0.9 + drop * 0.6), at(0.6, 1.0 + drop * 0.2)]
    )
    spinous = smooth_closed(spinous + rng.normal(0, 1.5, spinous.shape), 2)
    canvas.fill(spinous, amount * rng.uniform(0.2, 0.8), soft_mm=1.0)
    canvas.line(spinous, amount * rng.uniform(0.1, 0.6), width_mm=1.2, closed=True)
    if rng.random() < 0.5 and not thoracic:
        canvas.fill(ellipse(at(rng.uniform(-0.1, 0.25), 0.35), (5.0, 4.0)), amount * rng.uniform(0.1, 0.6))


def _strength(rng: Rng, config: AnatomyConfig) -> np.ndarray:
    """(fill, endplate, wall) common to a whole spine."""
    return np.array([rng.uniform(*config.body_fill), rng.uniform(*config.endplate), rng.uniform(*config.wall)])


def paint_spine(canvas: Canvas, spine: Spine, strength: np.ndarray, rng: Rng, config: AnatomyConfig) -> None:
    """Thoracic and lumbar bodies with their arches; S1's endplate and walls; the rest of the sacrum."""
    arch = rng.uniform(0.06, 0.6)
    bodies = [*spine.thoracic[::-1], *spine.lumbar]
    rims = rims_mm(np.stack(bodies), rng, config)
    # T12 must look as much like a lumbar body as it does on real films, or a network need not count from the sacrum.
    fade = rng.uniform(0.8, 1.05)
    for index, (body, below) in enumerate(pairwise(bodies)):
        thoracic = index < len(spine.thoracic)
        weight = fade ** ((len(spine.thoracic) - index) / 2) if thoracic else 1.0
        _paint_body(canvas, body, rims[index], strength * weight, rng, config)
        _paint_arch(canvas, body, below, arch * weight, rng, thoracic)
    _paint_sacrum(canvas, spine, rims[-1, 0], strength, arch, rng, config)


def paint_variants(canvas: Canvas, spine: Spine, strength: np.ndarray, rng: Rng, config: AnatomyConfig) -> None:
    """What only some people have: bridges of bone over discs, gas in discs, a first sacral body that looks lumbar."""
    for upper, lower in pairwise(spine.lumbar):
        if rng.random() < config.vacuum_probability:
            _paint_vacuum(canvas, upper, lower, rng)
        if rng.random() < config.spur_probability:
            _paint_spur(canvas, upper, lower, strength[1], rng)
    if rng.random() < config.lumbarised_probability:
        _paint_lumbarised(canvas, spine.lumbar[5], spine.sacral[0], strength, rng, config)


def _paint_vacuum(canvas: Canvas, upper: np.ndarray, lower: np.ndarray, rng: Rng) -> None:
    """Gas over a part of one disc."""
    reach = np.sort(rng.uniform([0.0, 0.4], [0.5, 1.0]))[:, None]
    above, below = upper[3] + (upper[2] - upper[3]) * reach, lower[0] + (lower[1] - lower[0]) * reach
    inset = (below - above) * rng.uniform(0.05, 0.3)
    cleft = smooth_closed(np.concatenate([above + inset, (below - inset)[::-1]]), 2)
    canvas.fill(cleft, -rng.uniform(0.03, 0.35), soft_mm=0.6)


def _paint_spur(canvas: Canvas, upper: np.ndarray, lower: np.ndarray, amount: float, rng: Rng) -> None:
    """A bridge of bone, whole or half, in front of one disc; no part of either body."""
    forward = (upper[0] - upper[1]) / np.linalg.norm(upper[0] - upper[1])
    bulge = (upper[3] + lower[0]) / 2 + forward * rng.uniform(2, 9)
    halves = (
        (upper[3] + (upper[0] - upper[3]) * rng.uniform(0.05, 0.3), upper[3], bulge),
        (lower[0] + (lower[3] - lower[0]) * rng.uniform(0.05, 0.3), lower[0], bulge),
    )
    kept = rng.random(2) < 0.7
    for half, here in zip(halves, kept, strict=True):
        if here:
            horn = smooth_closed(np.stack(half) + rng.normal(0, 0.8, (3, 2)), 2)
            canvas.fill(horn, amount * rng.uniform(0.2, 0.9), soft_mm=0.6)
            canvas.line(horn, amount * rng.uniform(0.1, 0.7), width_mm=1.0, closed=True)


def _paint_sacrum(
    canvas: Canvas, spine: Spine, rim: float, strength: np.ndarray, arch: float, rng: Rng, config: AnatomyConfig
) -> None:
    """The sacrum. rim: how far the near rim of S1's endplate rises, see `rims_mm`."""
    s1, rest = spine.lumbar[5], spine.sacral
    seen = rng.uniform(0.3, 1.8)
    front = np.concatenate([[s1[0], s1[3]], *([b[3]] for b in rest)])
    back = np.concatenate([[s1[1], s1[2]], *([b[2]] for b in rest)])
    whole = np.concatenate([front, back[::-1]])
    fill, endplate, wall = strength * seen * np.exp(0.2 * rng.normal(size=3))
    canvas.fill(whole, fill * rng.uniform(0.3, 0.8), soft_mm=1.0)
    depth = float(np.linalg.norm(s1[1] - s1[0]))
    upper = _arc(s1[0], s1[1], -depth * rng.uniform(-0.02, 0.06))
    rise = rim * np.array([s1[1, 1] - s1[0, 1], s1[0, 0] - s1[1, 0]]) / depth
    # Closed behind: drawn open, it made networks read the sacral slope of real films 3 degrees too steep.
    near, far = endplate_rims(upper, rise, s1[0] - s1[3], (0.0, 0.0), rng.uniform(2.0, 3.5))
    canvas.line(near, endplate * rng.uniform(0.5, 1.3), width_mm=rng.uniform(0.9, 2.2))
    canvas.line(far + rng.normal(0, 0.4 * config.oblique_mm, 2), endplate * rng.uniform(0.3, 0.9), width_mm=1.2)
    for line, faintest in ((smooth_open(front, 2), 0.4), (smooth_open(back, 2), 0.05)):
        canvas.line(line, wall * rng.uniform(faintest, 1.5), width_mm=rng.uniform(0.8, 2.0))
        canvas.line(line + rng.normal(0, 1.5, 2), wall * rng.uniform(faintest / 2, 0.8), width_mm=1.2)
    gap = rng.uniform(-0.2, 0.12)
    canvas.line(_arc(s1[3], s1[2], rng.normal(0, 1)), gap, width_mm=rng.uniform(1.5, 4), soft_mm=0.8)
    edge = abs(rng.normal(0, 0.5)) * endplate
    for body in (s1, *rest[:-1]):
        canvas.line(_arc(body[3], body[2], rng.normal(0, 1)), edge * rng.uniform(0.2, 1.0), width_mm=1.2)
    crest = np.stack([b[1] + (b[1] - b[0]) * rng.uniform(0.35, 0.8) for b in (s1, *rest[:3])])
    canvas.fill(np.concatenate([back[:5], crest[::-1]]), arch * rng.uniform(0.2, 0.9), soft_mm=1.0)
    canvas.line(smooth_open(crest), arch * rng.uniform(0.2, 1.0), width_mm=1.5)
    for _ in range(2):
        ala = np.stack([s1[0] + [-3, 2], s1[1] + [6, -6], rest[1][1] + [4, 0], rest[1][0] + [-2, 6], s1[3] + [-4, 8]])
        ala = smooth_closed(ala + rng.normal(0, 4, ala.shape), 2)
        canvas.fill(ala, rng.uniform(0, 0.15), soft_mm=1.5)
        canvas.line(ala, rng.uniform(0, 0.15), width_mm=1.5, closed=True)


def _paint_lumbarised(
    canvas: Canvas, s1: np.ndarray, s2: np.ndarray, strength: np.ndarray, rng: Rng, config: AnatomyConfig
) -> None:
    """S1 as a body of its own over a disc that is thin or shorter than the body, and S2's upper endplate."""
    rims = rng.normal(0, config.oblique_mm, 2)
    _paint_body(canvas, s1, rims, strength * rng.uniform(0.4, 1.1), rng, config)
    reach = np.sort(rng.uniform([0.0, 0.55], [0.35, 1.0]))
    along, down = s1[2] - s1[3], (s1[3] + s1[2] - s1[0] - s1[1]) / 2
    thick = rng.uniform(0.02, 0.16)
    above = _arc(s1[3] + along * reach[0], s1[3] + along * reach[1], rng.normal(0, 1))
    below = above + down * thick
    dark = strength[0] * rng.uniform(0.0, 0.9)
    canvas.fill(np.concatenate([above, below[::-1]]), -dark, soft_mm=0.8)
    for line in (above, below):
        canvas.line(line, strength[1] * rng.uniform(0.3, 1.1), width_mm=rng.uniform(0.9, 1.8))
        canvas.line(line + rng.normal(0, config.oblique_mm, 2), strength[1] * rng.uniform(0, 0.6), width_mm=1.0)
    canvas.line(np.stack([s2[0], s2[3]]), strength[2] * rng.uniform(0, 1.0), width_mm=1.4)


_HIP_BONE_MM = np.array(
    [(-75, -85), (-52, -125), (-8, -150), (42, -147), (82, -118), (97, -82), (82, -60), (46, -52), (36, -20), (42, 10)]
    + [(32, 62), (2, 84), (-40, 70), (-74, 46), (-60, 20), (-28, -5), (-46, -45)],
    dtype=np.float64,
)
"""Outline of one hip bone seen from the side, about the centre of the femoral head; x to posterior, y to caudal."""


def _paint_notch(canvas: Canvas, spine: Spine, rng: Rng, edge: float) -> None:
    """Left and right brim of the pelvis: from above the hip up to somewhere on S1, and down behind the sciatic notch.

    Where they cross S1 they are often the brightest line on it, and are no border of the body.
    """
    s1, hip = spine.lumbar[5], spine.hip_mm
    u, v = rng.uniform(0.1, 1.1), rng.uniform(-0.1, 0.95)
    for _ in range(2):
        apex = s1[0] + (s1[1] - s1[0]) * u + (s1[3] - s1[0]) * v + rng.normal(0, 4, 2)
        foot = hip + rng.normal([-18, -28], [10, 8])
        tail = spine.sacral[int(rng.integers(1, 4))].mean(0) + rng.normal(0, 8, 2)
        bow = (foot + apex) / 2 + rng.normal([6, 4], 6, 2)
        brim = smooth_open(np.stack([foot, bow, apex]), 3)
        behind = smooth_open(np.stack([apex, (apex + tail) / 2 + rng.normal([4, -6], 6, 2), tail]), 3)
        width = rng.uniform(1.5, 7)
        canvas.line(brim, edge * rng.uniform(0.3, 1.6), width_mm=width, soft_mm=rng.uniform(0.6, 2))
        canvas.line(behind, edge * rng.uniform(0.0, 1.2), width_mm=rng.uniform(1.2, 4), soft_mm=1.0)
        notch = smooth_closed(np.stack([apex, (apex + foot) / 2 + [8, 6], foot + [30, 8], tail]), 3)
        canvas.fill(notch, -rng.uniform(0, 0.25), soft_mm=2.0)
        if rng.random() < 0.6:
            wing = np.stack([apex, foot, foot + [-25, -40], s1[0] + [-25, -25], s1[1] + [0, -18]])
            canvas.fill(smooth_closed(wing + rng.normal(0, 6, wing.shape), 2), rng.uniform(0, 0.3), soft_mm=1.5)


def _turned(points: np.ndarray, angle_deg: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return points @ np.array([[c, s], [-s, c]])


def paint_pelvis(canvas: Canvas, spine: Spine, rng: Rng, config: AnatomyConfig, *, hip_bones: bool = True) -> None:
    """Both hip bones (if not painted elsewhere) and femora, the second shifted and magnified against the first."""
    s1_depth = float(np.linalg.norm(spine.lumbar[5, 1] - spine.lumbar[5, 0]))
    scale = s1_depth / 41.0 * rng.normal(1.05, 0.05)
    outline = (_HIP_BONE_MM * scale) * rng.normal(1, 0.05, 2) + rng.normal(0, 5, _HIP_BONE_MM.shape)
    turn, thigh = -spine.pelvic_turn_deg + rng.normal(0, 4), rng.normal(0, 14)
    seen, edge, femur = rng.uniform(0.02, 0.28), rng.uniform(0.03, 0.4), rng.uniform(0.03, 0.35)
    between = rng.normal(0, config.pelvis_offset_mm, 2)
    if hip_bones and rng.random() < 0.75:
        _paint_notch(canvas, spine, rng, rng.uniform(0.05, 0.6))
    for side in (-0.5, 0.5):
        hip, magnified = spine.hip_mm + between * side, 1 + side * rng.uniform(0, 0.1)
        if hip_bones:
            _paint_hip_bone(canvas, hip, outline * magnified, turn, scale * magnified, (seen, edge), rng)
        _paint_femur(canvas, hip, scale * magnified, thigh, (femur, edge), rng)


def _paint_hip_bone(
    canvas: Canvas,
    hip: np.ndarray,
    outline: Points,
    turn_deg: float,
    scale: float,
    amounts: tuple[float, float],
    rng: Rng,
) -> None:
    """One hip bone about its femoral head. amounts: its inside, its edges."""
    seen, edge = amounts
    bone = smooth_closed(_turned(outline, turn_deg), 3) + hip
    canvas.fill(bone, seen * rng.uniform(0.6, 1.3), soft_mm=1.0)
    canvas.line(bone, edge * rng.uniform(0.5, 1.3), width_mm=rng.uniform(1.2, 3.0), soft_mm=0.8, closed=True)
    arcuate = _turned(np.array([(70, -75), (30, -50), (-5, -30), (-45, -5), (-70, 25)]) * scale, turn_deg)
    brim = smooth_open(arcuate + rng.normal(0, 4, (5, 2))) + hip
    canvas.line(brim, edge * rng.uniform(0.2, 1.2), width_mm=2.0, soft_mm=0.8)
    if rng.random() < 0.8:
        hole = ellipse(hip + _turned(np.array([-14.0, 54.0]) * scale, turn_deg), (13 * scale, 18 * scale), 25.0)
        canvas.fill(hole, -seen * 0.8, soft_mm=1.0)


def _paint_femur(
    canvas: Canvas, hip: np.ndarray, scale: float, thigh_deg: float, amounts: tuple[float, float], rng: Rng
) -> None:
    """Roof of the socket, femoral head and shaft. amounts: the inside, the edges."""
    femur, edge = amounts
    radius = 25.0 * scale * rng.normal(1, 0.05)
    roof = ellipse(hip, (radius + 2.5, radius + 2.5))
    canvas.line(roof, edge * rng.uniform(0.3, 1.5), width_mm=rng.uniform(1.2, 3.0), closed=True)
    head = ellipse(hip, (radius, radius))
    canvas.fill(head, femur * rng.uniform(0.8, 1.2), soft_mm=0.8)
    canvas.line(head, edge * rng.uniform(0.2, 0.8), width_mm=1.2, closed=True)
    shaft = np.array([(-14, 5), (16, 0), (24, 45), (19, 110), (17, 300), (-15, 300), (-16, 110), (-18, 45)]) * scale
    shaft = smooth_closed(_turned(shaft + rng.normal(0, 2, shaft.shape), thigh_deg + rng.normal(0, 4)), 2) + hip
    canvas.fill(shaft, femur * rng.uniform(0.7, 1.1), soft_mm=1.0)
    canvas.line(shaft, edge * rng.uniform(0.3, 1.4), width_mm=rng.uniform(2, 4), closed=True)


@dataclass(frozen=True, eq=False)
class Torso:
    """Skin in front and behind for every row (mm), and attenuation of the tissue between."""

    front_mm: Float[np.ndarray, "rows"]
    back_mm: Float[np.ndarray, "rows"]
    tissue: Float32[np.ndarray, "rows columns"]


def paint_torso(canvas: Canvas, spine: Spine, rng: Rng, config: AnatomyConfig) -> Torso:
    """Elliptical sections whose skin lines follow the spine, the belly and the buttock."""
    rows, columns = canvas.attenuation.shape
    y = (np.arange(rows) + 0.5) * canvas.pixel_mm + canvas.origin_mm[1]
    x = (np.arange(columns) + 0.5) * canvas.pixel_mm + canvas.origin_mm[0]
    lumbar, hip = spine.lumbar.mean(1), spine.hip_mm
    top, girth = spine.thoracic[-1].mean(0), lognormal(rng, 1.0, 0.14)
    level = np.array([top[1] - 120, top[1], lumbar[0, 1], lumbar[3, 1], spine.sacral[0, 2, 1], hip[1], hip[1] + 120])
    level = np.maximum.accumulate(level + np.arange(7))
    centre = np.array([top[0], top[0], lumbar[0, 0], lumbar[3, 0], spine.sacral[0, 2, 0], hip[0], hip[0]])
    behind = np.array([84, 84, 80, 82, 66, 118, 100]) * rng.normal(1, 0.10, 7) * np.sqrt(girth)
    ahead = np.array([170, 165, 160, 165, 175, 120, 95]) * rng.normal(1, 0.10, 7) * girth
    width = np.array([290, 285, 280, 285, 335, 355, 320]) * rng.normal(1, 0.07, 7) * np.sqrt(girth)
    back, front, wide = (
        gaussian_filter1d(PchipInterpolator(level, along)(np.clip(y, level[0], level[-1])), 30 / canvas.pixel_mm)
        for along in (centre + behind, centre - ahead, width)
    )
    middle, half = (back + front)[:, None] / 2, np.maximum((back - front)[:, None] / 2, 20.0)
    inside = np.clip(1 - ((x - middle) / half) ** 2, 0, 1)
    section = inside ** rng.uniform(0.4, 0.9)
    tissue = (wide[:, None] * section * rng.uniform(*config.soft_per_mm)).astype(np.float32)
    canvas.attenuation += tissue
    return Torso(front, back, tissue)


def paint_lung(canvas: Canvas, spine: Spine, torso: Torso, rng: Rng) -> None:
    """Air above one dome for each half of the diaphragm, down to a recess behind; at no fixed level of the spine."""
    level = spine.lumbar[0, :, 1].mean() + rng.normal(-40, 50)
    for _ in range(rng.choice([0, 1, 2, 2, 2, 2, 2])):
        y = level + rng.normal(0, 20)
        x = spine.lumbar[0, :, 0].mean()
        dome = [
            (x - 190, y + rng.normal(10, 25)),
            (x - 110, y - rng.uniform(10, 60)),
            (x - 30, y - rng.uniform(0, 45)),
            (x + 25, y + rng.normal(15, 12)),
            (x + rng.uniform(45, 70), y + rng.uniform(20, 75)),
        ]
        lung = np.array([*dome, (x + 75, y - 80), (x + 75, y - 500), (x - 190, y - 500)])
        lung[:5] = lung[:5] + rng.normal(0, 5, (5, 2))
        outline = np.concatenate([smooth_open(lung[:5], 3), lung[5:]])
        found = canvas.coverage(outline, soft_mm=rng.uniform(0.6, 3.0))
        if found is not None:
            box, share = found
            canvas.attenuation[box] -= share * torso.tissue[box] * rng.uniform(0.15, 0.42)
        canvas.line(smooth_open(lung[:5], 3), rng.uniform(0, 0.15), width_mm=1.5)


def paint_ribs(canvas: Canvas, spine: Spine, rng: Rng) -> None:
    """Pairs of bands from the thoracic bodies downwards and forwards; T12's is short or missing."""
    amount = rng.uniform(0.0, 0.3)
    shift = rng.choice([0, 0, 0, 0, 1])  # the lowest rib may be T11's, as with six bodies that look lumbar
    for index, body in enumerate(spine.thoracic):
        for _ in range(2):
            reach = rng.uniform(-60, 90) if index <= shift else rng.uniform(60, 190)
            if reach < 20:
                continue
            start = body[1] + rng.normal(0, 4, 2)
            slope = np.deg2rad(rng.normal(50, 12))
            bow = start + [rng.uniform(15, 40), rng.uniform(10, 30)]
            along = np.array([-np.cos(slope), np.sin(slope)])
            line = np.stack([start, bow, bow + along * reach * 0.4 + [8, 8], bow + along * reach])
            line = smooth_open(line, 3)
            width = rng.uniform(6, 11)
            canvas.line(line, amount * rng.uniform(0.3, 0.8), width_mm=width, soft_mm=1.0)
            for side in (-0.5, 0.5):
                canvas.line(line + [0, side * width], amount * rng.uniform(0.3, 1.0), width_mm=1.2)


def paint_gas(canvas: Canvas, spine: Spine, torso: Torso, rng: Rng, config: AnatomyConfig) -> None:
    """Bowel gas and stool in the belly, a stomach bubble, gas in front of the sacrum."""
    lumbar = spine.lumbar.mean(1)
    strength = rng.uniform(0.05, 0.8)
    for _ in range(rng.integers(0, config.gas_blobs)):
        centre = np.array([lumbar[2, 0] - rng.uniform(5, 150), rng.uniform(lumbar[0, 1] - 40, spine.hip_mm[1])])
        radius = rng.uniform(3, 16)
        shape = smooth_closed(
            ellipse(centre, (radius, radius * rng.uniform(0.5, 1)), rng.uniform(0, 180))[::5]
            + rng.normal(0, radius * 0.25, (8, 2)),
            2,
        )
        canvas.fill(shape, -strength * rng.uniform(0.1, 0.7), soft_mm=rng.uniform(0.5, 3))
        if rng.random() < 0.4:
            canvas.line(shape, rng.uniform(0, 0.12), width_mm=1.5, closed=True)
    if rng.random() < 0.5:
        _paint_stool(canvas, lumbar, rng)
    if rng.random() < 0.6:
        centre = spine.sacral[2].mean(0) + [rng.normal(-45, 12), rng.normal(5, 20)]
        for _ in range(rng.integers(1, 4)):
            blob = ellipse(
                centre + rng.normal(0, 10, 2), (rng.uniform(8, 22), rng.uniform(10, 30)), rng.uniform(-40, 40)
            )
            canvas.fill(blob, -rng.uniform(0.1, 0.7), soft_mm=rng.uniform(0.8, 4))
    if rng.random() < 0.5:
        centre = lumbar[0] + [rng.uniform(-110, -30), rng.uniform(-60, 20)]
        canvas.fill(
            ellipse(centre, (rng.uniform(15, 45), rng.uniform(8, 25)), rng.uniform(-30, 30)),
            -rng.uniform(0.1, 0.8),
            soft_mm=2.0,
        )
    if rng.random() < 0.25:
        for _ in range(rng.integers(2, 12)):
            start = lumbar[rng.integers(1, 4)] + [rng.uniform(-45, -28), rng.uniform(-20, 20)]
            canvas.line(
                np.stack([start, start + rng.normal(0, [1.5, 8])]), rng.uniform(0.05, 0.5), width_mm=rng.uniform(0.8, 2)
            )


def _paint_stool(canvas: Canvas, lumbar: np.ndarray, rng: Rng) -> None:
    """Clusters of small bubbles with bright rims in front of the spine."""
    strength = rng.uniform(0.1, 0.5)
    for _ in range(rng.integers(1, 4)):
        middle = np.array([lumbar[2, 0] - rng.uniform(25, 130), rng.uniform(lumbar[0, 1], lumbar[5, 1] + 40)])
        for _ in range(rng.integers(8, 45)):
            radius = rng.uniform(1.5, 7)
            bubble = ellipse(
                middle + rng.normal(0, [18, 28]), (radius, radius * rng.uniform(0.6, 1)), rng.uniform(0, 180)
            )[::4]
            bubble = smooth_closed(bubble + rng.normal(0, radius * 0.2, bubble.shape), 1)
            canvas.fill(bubble, -strength * rng.uniform(0.2, 1), soft_mm=rng.uniform(0.4, 1.5))
            canvas.line(bubble, strength * rng.uniform(0, 0.6), width_mm=1.2, closed=True)


def paint_hardware(canvas: Canvas, spine: Spine, rng: Rng, config: AnatomyConfig) -> None:
    """Screws with a rod, a cage, cement, or clips; opaque."""
    if rng.random() < config.hardware_probability:
        first = int(rng.integers(1, 4))
        heads = []
        for body in spine.lumbar[first : first + int(rng.integers(2, 4))]:
            back = (body[1] - body[0]) / np.linalg.norm(body[1] - body[0])
            head = body[1] + back * rng.uniform(18, 26) + (body[2] - body[1]) * 0.2
            tip = body[0] + (body[1] - body[0]) * rng.uniform(0.15, 0.4) + (body[3] - body[0]) * rng.uniform(0.25, 0.5)
            canvas.line(np.stack([head, tip]), rng.uniform(1.5, 4), width_mm=rng.uniform(4.5, 6.5))
            heads.append(head)
            canvas.fill(ellipse(head, (6.0, 6.0)), 3.0)
        canvas.line(np.stack(heads), 3.0, width_mm=6.0)
    if rng.random() < config.hardware_probability / 2:
        level = int(rng.integers(2, 5))
        upper, lower = spine.lumbar[level], spine.lumbar[level + 1]
        cage = np.stack(
            [
                upper[3] * 0.75 + upper[2] * 0.25,
                upper[3] * 0.3 + upper[2] * 0.7,
                lower[0] * 0.3 + lower[1] * 0.7,
                lower[0] * 0.75 + lower[1] * 0.25,
            ]
        )
        canvas.fill(cage, rng.uniform(0.3, 2.0), soft_mm=0.4)
    if rng.random() < config.hardware_probability / 2:
        body = spine.lumbar[int(rng.integers(0, 5))]
        cement = ellipse(body.mean(0), (rng.uniform(6, 14), rng.uniform(5, 9)), rng.uniform(0, 180))[::4]
        canvas.fill(smooth_closed(cement + rng.normal(0, 2, cement.shape), 2), rng.uniform(0.5, 2.5))
    if rng.random() < 0.15:
        for _ in range(rng.integers(1, 6)):
            start = spine.lumbar[rng.integers(0, 6)].mean(0) + rng.normal(0, 45, 2)
            canvas.line(
                np.stack([start, start + rng.normal(0, 4, 2)]), rng.uniform(0.5, 3), width_mm=rng.uniform(0.8, 2)
            )


def paint_texture(canvas: Canvas, torso: Torso, rng: Rng) -> None:
    """Unevenness of tissue from a hand's breadth down to a millimetre, in proportion to the tissue."""
    rows, columns = canvas.attenuation.shape
    total = np.zeros((rows, columns), np.float32)
    for scale_mm, share in ((60, 0.03), (20, 0.02), (7, 0.014), (2.5, 0.010), (1.2, 0.006)):
        step = max(scale_mm / canvas.pixel_mm, 1.0)
        coarse = rng.standard_normal((int(rows / step) + 3, int(columns / step) + 3)).astype(np.float32)
        total += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC) * share * rng.uniform(0.0, 1.6)
    canvas.attenuation += total * torso.tissue
    _paint_strands(canvas, rng)
    for _ in range(rng.integers(0, 4)):
        fold = np.stack([[-300, rng.uniform(-200, 250)], [0, rng.uniform(-200, 250)], [200, rng.uniform(-200, 250)]])
        canvas.line(
            smooth_open(fold + rng.normal(0, 20, (3, 2))),
            rng.normal(0, 0.12),
            width_mm=rng.uniform(1, 12),
            soft_mm=rng.uniform(0.5, 3),
        )


def _paint_strands(canvas: Canvas, rng: Rng) -> None:
    """Faint curved lines and edges anywhere: bowel walls, vessels, muscle borders, clothing."""
    strength = rng.uniform(0.0, 0.16)
    for _ in range(rng.integers(0, 40)):
        start = rng.uniform([-170, -200], [110, 260])
        turn = rng.uniform(0, 2 * np.pi)
        steps = np.cumsum(rng.normal(turn, 0.5, 4))
        path = start + np.cumsum(np.stack([np.cos(steps), np.sin(steps)], 1) * rng.uniform(6, 30), 0)
        canvas.line(
            smooth_open(path, 2), rng.normal(0, strength), width_mm=rng.uniform(0.8, 5), soft_mm=rng.uniform(0.4, 1.5)
        )


def paint_person(canvas: Canvas, spine: Spine, rng: Rng, config: AnatomyConfig, atlas: Atlas | None = None) -> None:
    """Everything that the beam meets, summed into the canvas; never below zero.

    atlas: projected meshes to take vertebrae, sacrum and hip bones from; without it they are painted.
    """
    torso = paint_torso(canvas, spine, rng, config)
    paint_lung(canvas, spine, torso, rng)
    paint_texture(canvas, torso, rng)
    paint_gas(canvas, spine, torso, rng, config)
    paint_ribs(canvas, spine, rng)
    paint_pelvis(canvas, spine, rng, config, hip_bones=atlas is None)
    strength = _strength(rng, config)
    if atlas is None:
        paint_spine(canvas, spine, strength, rng, config)
    else:
        strength *= rng.uniform(0.1, 0.7)
        paint_bones(canvas, spine, atlas, rng)
    paint_variants(canvas, spine, strength, rng, config)
    inside = torso.tissue > 0
    np.maximum(canvas.attenuation, 0.0, out=canvas.attenuation)
    canvas.attenuation *= inside
    paint_hardware(canvas, spine, rng, config)
