"""Checks the masks of one film: what no lateral film of a spine, head up, could show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from spineseg.data.findings import Finding
from spineseg.film import VERTEBRAE, Masks, down_the_spine

_LEANING_DEG, _ACROSS_DEG = 55.0, 60.0
"""Upright spines stay within 30 degrees of the vertical, but for a deformed one on a turned film: 58. So a spine beyond
the second angle lies across its film, and one beyond the first is looked at."""
_LEFT_OUT = 1.6
"""Centres of neighbours further apart than this many median steps have a body between them; 1.2 at most if right."""
_SIZE_ODD, _SIZE_ABSURD = (0.4, 2.2), (0.1, 5.0)
"""Area over the film's median area. Right labels, simulated and real, lie in 0.66 to 1.64."""
_SHARE_SMALL, _SHARE_ABSURD = 0.0005, 0.25
"""Share of the film that a body covers; 0.004 to 0.025 on right labels."""
_PIECE_ABSURD = 0.1
"""A second piece of this share of the mask is no slip of the brush."""
_APART = 1.0
"""Pieces whose centres are further apart than this many roots of the mask's area lie on two bones."""
MISPLACED = ("across", "upside down", "exchanged", "order")
"""Kinds of findings that a wrong orientation or a wrong order of channels gives."""


@dataclass(frozen=True)
class _Body:
    """A vertebra's mask in numbers: centre in pixels, pieces by falling size, whether it touches the film's border.

    parted_px: between the centres of the two largest pieces; 0 for one piece, and for pieces that all touch the border.
    """

    name: str
    area_px: int
    row: float
    column: float
    pieces_px: tuple[int, ...]
    box: tuple[slice, slice]
    cut: bool
    parted_px: float


def mask_findings(name: str, masks: Masks) -> list[Finding]:
    """What the masks say that no lateral film of a spine, head up, could be; laterality does not matter."""
    bodies = [body for k, mask in enumerate(masks) if (body := _body(VERTEBRAE[k], mask))]
    if not bodies:
        return [Finding(name, "error", "empty", "expected vertebrae, got none; mark them or leave the film out")]
    order = list(_order(name, bodies))
    findings = [*order, *_sizes(name, bodies, masks[0].size), *_pieces(name, bodies), *_overlaps(name, bodies, masks)]
    wrong = any(finding.severity == "error" for finding in order)
    return findings if wrong else [*findings, *_gaps(name, bodies, masks.shape[1:])]


def _body(name: str, mask: Bool[np.ndarray, "rows columns"]) -> _Body | None:
    """None for an empty mask."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return None
    box = (slice(top, top + height), slice(left, left + width))
    part = np.ascontiguousarray(mask[box]).view(np.uint8)
    _, _, stats, centres = cv2.connectedComponentsWithStats(part, connectivity=8)
    stats, centres = stats[1:], centres[1:]
    areas = stats[:, cv2.CC_STAT_AREA]
    column, row = areas @ centres / areas.sum()
    at_border = _at_border(stats[:, :4] + [left, top, 0, 0], mask.shape)
    order = np.argsort(-areas, kind="stable")
    parted_px = 0.0 if len(areas) < 2 or at_border.all() else math.dist(*centres[order[:2]])
    pieces = tuple(int(area) for area in areas[order])
    return _Body(name, int(areas.sum()), row + top, column + left, pieces, box, bool(at_border.any()), parted_px)


def _at_border(boxes: Int[np.ndarray, "piece 4"], shape: tuple[int, int]) -> Bool[np.ndarray, "piece"]:
    """Which pieces touch the film's border. boxes: left, top, width, height."""
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return (start == 0).any(1) | (end == [shape[1], shape[0]]).any(1)


def _centres(bodies: Sequence[_Body]) -> Float[np.ndarray, "body 2"]:
    return np.array([(body.row, body.column) for body in bodies])


def _order(name: str, bodies: Sequence[_Body]) -> Iterator[Finding]:
    """Centres must go down the film from the first vertebra to the last, along the line that fits them best."""
    if len(bodies) < 2:
        return
    centres, wanted = _centres(bodies), f"expected {VERTEBRAE[0]} to {VERTEBRAE[-1]} down the film"
    down = down_the_spine(centres)
    leaning_deg = math.degrees(math.acos(min(float(down[0]), 1.0)))
    if leaning_deg > _ACROSS_DEG:
        sentence = f"{wanted}, got them across it; transpose the label, or turn the film"
        yield Finding(name, "error", "across", sentence)
        return
    if leaning_deg > _LEANING_DEG:
        sentence = f"{wanted}, got them {leaning_deg:.0f} degrees off; a turned film, or a turned label"
        yield Finding(name, "warning", "leaning", sentence)
    places = np.argsort(centres @ down, kind="stable")
    if (places != np.arange(len(bodies))).any():
        yield _out_of_order(name, wanted, bodies, places)


def _out_of_order(name: str, wanted: str, bodies: Sequence[_Body], places: Int[np.ndarray, "body"]) -> Finding:
    """What it means that the bodies lie along the spine as `places` says.

    Of right names the chain from body to next body is the shorter one, also where L5 slipped in front of S1 and lies
    below it. Of exchanged names it is longer than the chain of the places.
    """
    names, found = [body.name for body in bodies], [bodies[k].name for k in places]
    moved = [name for name, other in zip(names, found, strict=True) if name != other]
    centres = _centres(bodies)
    if len(bodies) > 2 and _chain_px(centres) <= (1 + 1e-9) * _chain_px(centres[places]):
        if list(places).index(0) > list(places).index(len(bodies) - 1):
            sentence = f"{wanted}, got them going up; turn film and label, or reverse the channels"
            return Finding(name, "error", "upside down", sentence)
        sentence = f"{wanted}, got {' '.join(found)}, each next to its neighbour; a slip of high grade, or wrong names"
        return Finding(name, "warning", "slip", sentence)
    if len(moved) == 2:
        sentence = f"{wanted}, got {moved[0]} and {moved[1]} exchanged; exchange their channels"
        return Finding(name, "error", "exchanged", sentence)
    return Finding(name, "error", "order", f"{wanted}, got {' '.join(found)}; put the channels in order")


def _chain_px(centres: Float[np.ndarray, "body 2"]) -> float:
    """Length of the line through the centres in this order."""
    return float(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum())


def _gaps(name: str, bodies: Sequence[_Body], shape: tuple[int, ...]) -> Iterator[Finding]:
    """Vertebrae that the label lacks though the film shows their place; for bodies in order."""
    places = [VERTEBRAE.index(body.name) for body in bodies]
    for k in sorted(set(range(places[0], places[-1])) - set(places)):
        sentence = f"expected {VERTEBRAE[k]} between its neighbours, got an empty mask; mark it or leave the film out"
        yield Finding(name, "error", "empty", sentence)
    if len(bodies) < 2:
        return
    centres = _centres(bodies)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.diff(places)
    times = steps / np.median(steps)
    for k in map(int, np.flatnonzero((times > _LEFT_OUT) & (np.diff(places) == 1))):
        upper, lower = bodies[k].name, bodies[k + 1].name
        sentence = f"expected {lower} next to {upper}, got {times[k]:.1f} times the usual distance; is a body left out?"
        yield Finding(name, "warning", "gap", sentence)
    beyond = {places[0] - 1: 2 * centres[0] - centres[1], places[-1] + 1: 2 * centres[-1] - centres[-2]}
    for k in {0, len(VERTEBRAE) - 1} & beyond.keys():
        if all(np.median(steps) <= at <= side - np.median(steps) for at, side in zip(beyond[k], shape, strict=True)):
            sentence = f"expected {VERTEBRAE[k]}, got an empty mask where the film has room for it; mark it if it shows"
            yield Finding(name, "warning", "empty", sentence)


def _sizes(name: str, bodies: Sequence[_Body], film_px: int) -> Iterator[Finding]:
    """Areas that no body of this film could have. A body that the film's border cuts may be small."""
    whole = [body.area_px for body in bodies if not body.cut] or [body.area_px for body in bodies]
    usual = float(np.median(whole))
    for body in bodies:
        ratio, share = body.area_px / usual, body.area_px / film_px
        if share > _SHARE_ABSURD:
            sentence = f"expected {body.name} to cover some 1 % of the film, got {share:.0%}; mark the body alone"
            yield Finding(name, "error", "size", sentence)
        elif ratio > _SIZE_ODD[1] or (ratio < _SIZE_ODD[0] and not body.cut):
            absurd = not _SIZE_ABSURD[0] <= ratio <= _SIZE_ABSURD[1]
            sentence = f"expected {body.name} as large as the other bodies, got {ratio:.2g} times their median"
            yield Finding(name, "error" if absurd else "warning", "size", f"{sentence}; look at it")
    if usual / film_px < _SHARE_SMALL:
        sentence = f"expected bodies of some 1 % of the film, got {usual / film_px:.2%}; mark areas, not points"
        yield Finding(name, "warning", "size", sentence)


def _pieces(name: str, bodies: Sequence[_Body]) -> Iterator[Finding]:
    for body in bodies:
        if len(body.pieces_px) > 1:
            large = body.pieces_px[1] >= _PIECE_ABSURD * body.area_px
            absurd = large and body.parted_px > _APART * math.sqrt(body.area_px)
            sizes = f"{body.pieces_px[0]} px and {len(body.pieces_px) - 1} more of at most {body.pieces_px[1]} px"
            sentence = f"expected {body.name} in one piece, got {sizes}; remove what is not the body"
            if large and not absurd:
                sentence += ", unless it is a fracture, or a body at the border"
            yield Finding(name, "error" if absurd else "warning", "pieces", sentence)


def _overlaps(name: str, bodies: Sequence[_Body], masks: Masks) -> Iterator[Finding]:
    for one, other in combinations(bodies, 2):
        shared = _shared_px(one, other, masks)
        if 2 * shared > min(one.area_px, other.area_px):
            sentence = f"expected {one.name} and {other.name} apart, got both on the same bone; mark each its own"
            yield Finding(name, "error", "same bone", sentence)
        elif shared:
            sentence = f"expected {one.name} and {other.name} apart, got {shared} pixels in both; they are kept in each"
            yield Finding(name, "warning", "overlap", sentence)


def _shared_px(one: _Body, other: _Body, masks: Masks) -> int:
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one.box, other.box, strict=True))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return 0
    first, second = (masks[VERTEBRAE.index(body.name)][rows, columns] for body in (one, other))
    return int(np.count_nonzero(first & second))
