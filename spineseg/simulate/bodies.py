"""Vertebral bodies with their arches, the sacrum, and what only some people have of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from spineseg.simulate.canvas import Canvas, Points, ellipse, smooth_closed, smooth_open
from spineseg.simulate.config import AnatomyConfig, Rng
from spineseg.simulate.shape import SpineShape, bowed


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


def rims_mm(
    bodies: Float[np.ndarray, "body corner=4 xy=2"],
    rng: Rng,
    config: AnatomyConfig,
    lean_deg: Float[np.ndarray, "body"] | float = 0.0,
) -> np.ndarray:
    """How far the near rim of every endplate rises above its middle on the film, (body, endplate=2).

    The far rim sinks as much, so that an endplate is seen as a lens. Two causes: rays that fan out from the tube, and a
    spine that leans or bends to one side, by lean_deg more than is drawn here.
    """
    height = bodies[..., 1].reshape(-1, 2, 2).mean(-1)
    depth = np.linalg.norm(bodies[:, 1] - bodies[:, 0], axis=1, keepdims=True)
    whole, bend, own = config.lean_deg
    lean = rng.normal(0, whole) + rng.normal(0, bend) * height / depth + rng.normal(0, own, height.shape)
    lean = lean + np.reshape(lean_deg, (-1, 1))
    rays = (rng.normal(0, config.focus_height_mm) - height) / config.focus_mm
    return config.half_width * depth * (np.tan(np.deg2rad(lean)) + rays)


def body_outline(
    corners: Float[np.ndarray, "corner=4 xy=2"], rng: Rng, bow_mm: Float[np.ndarray, "side=4"] | None = None
) -> tuple[Points, Points, Points, Points]:
    """Upper endplate, posterior wall, lower endplate and anterior wall, with waist and hollows, as lines in turn.

    bow_mm: see `shape.BodyLook`, in the order of the lines.
    """
    bow = np.zeros(4) if bow_mm is None else bow_mm
    ca, cp, lp, la = corners
    depth = float(np.linalg.norm(cp - ca))
    upper = bowed(ca, cp, bow[0] - depth * rng.uniform(0.0, 0.05))
    lower = bowed(lp, la, bow[2] - depth * rng.uniform(0.01, 0.08))
    back = bowed(cp, lp, bow[1] - depth * rng.uniform(0.0, 0.05))
    front = bowed(la, ca, bow[3] - depth * rng.uniform(0.02, 0.09))
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


@dataclass(frozen=True)
class _Extra:
    """Of one body, see `shape.BodyLook`; apart_mm: how far its left and right half lie before and behind its middle."""

    bow_mm: np.ndarray = field(default_factory=lambda: np.zeros(4))
    density: float = 1.0
    endplate: tuple[float, float] = (1.0, 1.0)
    apart_mm: float = 0.0

    @classmethod
    def of(cls, spine: SpineShape, index: int, config: AnatomyConfig) -> _Extra:
        look, body = spine.look, spine.column[index]
        apart = config.half_width * np.linalg.norm(body[1] - body[0]) * np.sin(np.deg2rad(look.spin_deg[index])) / 2
        upper, lower = look.endplate[index]
        return cls(look.bow_mm[index], float(look.density[index]), (float(upper), float(lower)), float(apart))


def _paint_body(
    canvas: Canvas,
    corners: np.ndarray,
    rims: np.ndarray,
    strength: np.ndarray,
    rng: Rng,
    config: AnatomyConfig,
    extra: _Extra = _Extra(),
) -> None:
    """One vertebral body. rims: see `rims_mm`. strength: (fill, endplate, wall) common to the whole spine."""
    fill, endplate, wall = strength * np.exp(0.2 * rng.normal(size=3))
    fill *= extra.density
    apart = extra.apart_mm * (corners[1] - corners[0]) / np.linalg.norm(corners[1] - corners[0])
    upper, back, lower, front = body_outline(corners, rng, extra.bow_mm)
    up = corners[:2].mean(0) - corners[2:].mean(0)
    up /= np.linalg.norm(up)
    power, bulge = rng.uniform(2.0, 3.5), rng.uniform(0.4, 0.7)
    opening = rng.uniform(*config.open_front), rng.uniform(*config.open_back)
    offset = rng.normal(0, 0.4 * config.oblique_mm, (2, 2))
    width = rng.uniform(0.9, 2.0)
    posterior, behind = (
        bowed(corners[1], corners[2], extra.bow_mm[1] - rng.uniform(0, 2)),
        rng.normal(0, config.oblique_mm),
    )
    walls = (rng.uniform(0.8, 1.6), 1.0, np.zeros(2)), (1.0, 0.6, np.array([behind, 0.0]))
    halves = zip(
        endplate_rims(upper, rims[0] * up, up, opening, power),
        endplate_rims(lower, rims[1] * up, -up, (opening[1], opening[0]), power),
        strict=True,
    )
    for (above, below), side, (thick, share, shift) in zip(halves, (1, -1), walls, strict=True):
        outline = [above, _bent(back, above[-1], below[0]), below, _bent(front, below[-1], above[0])]
        aside = side * apart
        _paint_half(canvas, np.concatenate([line[:-1] for line in outline]) + aside, corners, fill / 2, bulge)
        for line, moved, here in zip((above, below), side * offset, extra.endplate, strict=True):
            canvas.line(line + moved + aside, endplate * here * rng.uniform(0.3, 1.1), width_mm=width, soft_mm=0.5)
        canvas.line(_bent(posterior, above[-1], below[0]) + shift + aside, wall * share, width_mm=thick)
    canvas.line(
        bowed(corners[3], corners[0], extra.bow_mm[3] - rng.uniform(1, 4)),
        wall * rng.uniform(0.3, 1.1),
        width_mm=rng.uniform(0.7, 1.4),
    )
    for line in (upper, lower):
        if rng.random() < 0.2:
            canvas.line(line, rng.uniform(0.05, 0.3), width_mm=rng.uniform(2, 6), soft_mm=1.5)


def _paint_arch(
    canvas: Canvas, body: np.ndarray, amount: float, rng: Rng, thoracic: bool, apart_mm: float = 0.0
) -> None:
    """Pedicles, facets, lamina, transverse and spinous process behind one body; see `_Extra` for apart_mm."""
    depth = float(np.linalg.norm(body[1] - body[0]))
    back = (body[1] - body[0]) / depth
    down = (body[3] - body[0] + body[2] - body[1]) / 2
    height = float(np.linalg.norm(down))
    down = down / height

    def at(behind: float, caudal: float) -> np.ndarray:
        """A point behind the posterior wall, in shares of depth and height from the cranial posterior corner."""
        return body[1] + back * behind * depth + down * caudal * height

    for side in (1, -1):
        shift = rng.normal(0, 1.5, 2) + 2 * side * apart_mm * back
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


def bone_strength(rng: Rng, config: AnatomyConfig) -> np.ndarray:
    """(fill, endplate, wall) common to a whole spine."""
    return np.array([rng.uniform(*config.body_fill), rng.uniform(*config.endplate), rng.uniform(*config.wall)])


def paint_spine(canvas: Canvas, spine: SpineShape, strength: np.ndarray, rng: Rng, config: AnatomyConfig) -> None:
    """Thoracic and lumbar bodies with their arches; S1's endplate and walls; the rest of the sacrum."""
    arch = rng.uniform(0.06, 0.6)
    bodies = spine.column
    rims = rims_mm(bodies, rng, config, spine.look.lean_deg)
    # T12 must look as much like a lumbar body as it does on real films, or a network need not count from the sacrum.
    fade = rng.uniform(0.8, 1.05)
    for index, body in enumerate(bodies[:-1]):
        above = len(spine.thoracic) - index
        weight = fade ** (above / 2) if above > 0 else 1.0
        extra = _Extra.of(spine, index, config)
        _paint_body(canvas, body, rims[index], strength * weight, rng, config, extra)
        thoracic = above > spine.look.lumbar_like
        _paint_arch(canvas, spine.look.intact[index], arch * weight, rng, thoracic, extra.apart_mm)
    _paint_sacrum(canvas, spine, rims[-1, 0], strength, arch, rng, config)


def paint_variants(canvas: Canvas, spine: SpineShape, strength: np.ndarray, rng: Rng, config: AnatomyConfig) -> None:
    """What only some people have: bridges of bone over discs, gas in discs, a first sacral body that looks lumbar."""
    for upper, lower in pairwise(spine.lumbar):
        if rng.random() < config.vacuum_probability:
            paint_vacuum(canvas, upper, lower, rng)
        if rng.random() < config.spur_probability:
            paint_spur(canvas, upper, lower, strength[1], rng)
    if rng.random() < config.lumbarised_probability:
        paint_lumbarised(canvas, spine.s1, spine.sacral[0], strength, rng, config)


def paint_vacuum(canvas: Canvas, upper: np.ndarray, lower: np.ndarray, rng: Rng) -> None:
    """Gas over a part of one disc."""
    reach = np.sort(rng.uniform([0.0, 0.4], [0.5, 1.0]))[:, None]
    above, below = upper[3] + (upper[2] - upper[3]) * reach, lower[0] + (lower[1] - lower[0]) * reach
    inset = (below - above) * rng.uniform(0.05, 0.3)
    cleft = smooth_closed(np.concatenate([above + inset, (below - inset)[::-1]]), 2)
    canvas.fill(cleft, -rng.uniform(0.03, 0.35), soft_mm=0.6)


def paint_spur(canvas: Canvas, upper: np.ndarray, lower: np.ndarray, amount: float, rng: Rng) -> None:
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
    canvas: Canvas, spine: SpineShape, rim: float, strength: np.ndarray, arch: float, rng: Rng, config: AnatomyConfig
) -> None:
    """The sacrum. rim: how far the near rim of S1's endplate rises, see `rims_mm`."""
    s1, rest = spine.s1, spine.sacral
    seen = rng.uniform(0.3, 1.8)
    front = np.concatenate([[s1[0], s1[3]], *([b[3]] for b in rest)])
    back = np.concatenate([[s1[1], s1[2]], *([b[2]] for b in rest)])
    whole = np.concatenate([front, back[::-1]])
    fill, endplate, wall = strength * seen * np.exp(0.2 * rng.normal(size=3))
    endplate *= spine.look.endplate[-1, 0]
    canvas.fill(whole, fill * rng.uniform(0.3, 0.8), soft_mm=1.0)
    depth = float(np.linalg.norm(s1[1] - s1[0]))
    upper = bowed(s1[0], s1[1], spine.look.bow_mm[-1, 0] - depth * rng.uniform(-0.02, 0.06))
    rise = rim * np.array([s1[1, 1] - s1[0, 1], s1[0, 0] - s1[1, 0]]) / depth
    # Closed behind: drawn open, it made networks read the sacral slope of real films 3 degrees too steep.
    near, far = endplate_rims(upper, rise, s1[0] - s1[3], (0.0, 0.0), rng.uniform(2.0, 3.5))
    canvas.line(near, endplate * rng.uniform(0.5, 1.3), width_mm=rng.uniform(0.9, 2.2))
    canvas.line(far + rng.normal(0, 0.4 * config.oblique_mm, 2), endplate * rng.uniform(0.3, 0.9), width_mm=1.2)
    for line, faintest in ((smooth_open(front, 2), 0.4), (smooth_open(back, 2), 0.05)):
        canvas.line(line, wall * rng.uniform(faintest, 1.5), width_mm=rng.uniform(0.8, 2.0))
        canvas.line(line + rng.normal(0, 1.5, 2), wall * rng.uniform(faintest / 2, 0.8), width_mm=1.2)
    gap = rng.uniform(-0.2, 0.12)
    canvas.line(bowed(s1[3], s1[2], rng.normal(0, 1)), gap, width_mm=rng.uniform(1.5, 4), soft_mm=0.8)
    edge = abs(rng.normal(0, 0.5)) * endplate
    for body in (s1, *rest[:-1]):
        canvas.line(bowed(body[3], body[2], rng.normal(0, 1)), edge * rng.uniform(0.2, 1.0), width_mm=1.2)
    crest = np.stack([b[1] + (b[1] - b[0]) * rng.uniform(0.35, 0.8) for b in (s1, *rest[:3])])
    canvas.fill(np.concatenate([back[:5], crest[::-1]]), arch * rng.uniform(0.2, 0.9), soft_mm=1.0)
    canvas.line(smooth_open(crest), arch * rng.uniform(0.2, 1.0), width_mm=1.5)
    for _ in range(2):
        ala = np.stack([s1[0] + [-3, 2], s1[1] + [6, -6], rest[1][1] + [4, 0], rest[1][0] + [-2, 6], s1[3] + [-4, 8]])
        ala = smooth_closed(ala + rng.normal(0, 4, ala.shape), 2)
        canvas.fill(ala, rng.uniform(0, 0.15), soft_mm=1.5)
        canvas.line(ala, rng.uniform(0, 0.15), width_mm=1.5, closed=True)


def paint_lumbarised(
    canvas: Canvas,
    s1: np.ndarray,
    s2: np.ndarray,
    strength: np.ndarray,
    rng: Rng,
    config: AnatomyConfig,
    disc: tuple[float, float] = (0.02, 0.16),
) -> None:
    """S1 as a body of its own over a disc that is thin or shorter than the body, and S2's upper endplate.

    disc: range of the disc's height over S1's.
    """
    rims = rng.normal(0, config.oblique_mm, 2)
    _paint_body(canvas, s1, rims, strength * rng.uniform(0.4, 1.1), rng, config)
    reach = np.sort(rng.uniform([0.0, 0.55], [0.35, 1.0]))
    along, down = s1[2] - s1[3], (s1[3] + s1[2] - s1[0] - s1[1]) / 2
    thick = rng.uniform(*disc)
    above = bowed(s1[3] + along * reach[0], s1[3] + along * reach[1], rng.normal(0, 1))
    below = above + down * thick
    dark = strength[0] * rng.uniform(0.0, 0.9)
    canvas.fill(np.concatenate([above, below[::-1]]), -dark, soft_mm=0.8)
    for line in (above, below):
        canvas.line(line, strength[1] * rng.uniform(0.3, 1.1), width_mm=rng.uniform(0.9, 1.8))
        canvas.line(line + rng.normal(0, config.oblique_mm, 2), strength[1] * rng.uniform(0, 0.6), width_mm=1.0)
    canvas.line(np.stack([s2[0], s2[3]]), strength[2] * rng.uniform(0, 1.0), width_mm=1.4)
