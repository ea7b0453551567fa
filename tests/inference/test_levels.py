"""levels and masks: made-up probability maps whose right answer is known, and the path against trying every one."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from scipy import ndimage

from spineseg.evaluation.metrics import anatomy_faults, dice
from spineseg.inference.grid import film_box, grid_fit, grid_to_film
from spineseg.inference.levels import (
    LevelConfig,
    LevelReport,
    best_path,
    bone_confidence,
    decode_ordered,
    decode_raw,
    path_margin,
)
from spineseg.inference.masks import film_masks, largest_component, masks_beyond
from spineseg.inference.verdict import CHECK, NOT_LUMBAR, RELIABLE, Verdict
from spineseg.model.config import GridConfig

L1, L2, L3, L4, L5, S1 = range(6)
ROWS, COLUMNS = 256, 192
CONFIG = LevelConfig()
ALL = (True,) * 6
FAINT = "the bones are hard to tell on this film"


def body(place: int) -> np.ndarray:
    """The place-th body from the top of a curved spine of seven: about 32 x 18 px."""
    turn_deg, column = (-12, -6, 0, 6, 14, 28, 38)[place], (92, 88, 86, 87, 91, 99, 112)[place]
    corners = cv2.boxPoints(((column, 24.0 + 34 * place), (32, 18), turn_deg))
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    cv2.fillPoly(mask, [corners.round().astype(np.int32)], (1,))
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)


BODIES = np.stack([0.96 * body(place) for place in range(7)])


def spine(first: int = 0) -> np.ndarray:
    """One channel for each of six bodies from `first` on. In rows 12 to 208 of 256 for the first six."""
    return BODIES[first : first + 6].copy()


def grid_masks(channels: np.ndarray, *, one_component: bool = True) -> np.ndarray:
    """Masks on a film of the grid's own size."""
    rows, columns = channels.shape[1:]
    fit = grid_fit((rows, columns), GridConfig(rows=rows, columns=columns))
    return film_masks(channels, fit, one_component=one_component)


def components(mask: np.ndarray, structure: np.ndarray | None = None) -> np.ndarray:
    """Connected components, numbered from 1."""
    numbered = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, structure, output=numbered)
    return numbered


def all_paths(bodies: int) -> list[tuple[int, ...]]:
    """Every naming of the bodies, -1 for none, in which levels rise."""
    return [
        tuple(dict(zip(named, levels, strict=True)).get(k, -1) for k in range(bodies))
        for count in range(min(bodies, 6) + 1)
        for named in itertools.combinations(range(bodies), count)
        for levels in itertools.combinations(range(6), count)
    ]


def total(agreement: np.ndarray, weight: np.ndarray, path: tuple[int, ...], config: LevelConfig) -> float:
    named = [(k, level) for k, level in enumerate(path) if level >= 0]
    gaps = sum(b - a - 1 for (_, a), (_, b) in itertools.pairwise(named))
    first, last = (named[0][0], named[-1][0]) if named else (len(path), len(path))
    left_out = [k for k, level in enumerate(path) if level < 0]
    skipped = sum(weight[k] * (config.skipped_body if first < k < last else config.skipped_end) for k in left_out)
    return sum(agreement[k, level] for k, level in named) - skipped - config.skipped_level * gaps


@pytest.mark.parametrize("bodies", [0, 1, 2, 3, 4, 5, 7])
def test_the_best_path_and_its_margin_are_those_of_trying_every_one(bodies: int):
    paths = all_paths(bodies)
    for seed in range(12 if bodies < 6 else 2):
        rng = np.random.default_rng(seed)
        agreement, weight = rng.random((bodies, 6)), rng.random(bodies)
        ranked = sorted(((total(agreement, weight, path, CONFIG), path) for path in paths), reverse=True)
        margin = ranked[0][0] - ranked[1][0] if bodies else 0
        assert best_path(agreement, weight, CONFIG) == (pytest.approx(ranked[0][0]), ranked[0][1])
        assert path_margin(agreement, weight, CONFIG) == (ranked[0][1], pytest.approx(margin))


def test_a_forbidden_pair_is_not_used_and_a_body_between_others_not_passed_over():
    agreement = np.eye(6)
    assert best_path(agreement, np.ones(6), CONFIG) == (6.0, (0, 1, 2, 3, 4, 5))
    assert best_path(agreement, np.ones(6), CONFIG, frozenset({(2, 2)}))[1][2] != 2
    like_l1 = np.vstack([[0.9, 0, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0], agreement[1:]])  # T12 more so than L1
    assert best_path(like_l1, np.ones(7), CONFIG)[1] == (-1, 0, 1, 2, 3, 4, 5)


def put(channels: np.ndarray, level: int, value: np.ndarray) -> np.ndarray:
    channels[level] = value
    return channels


def blended(weights: np.ndarray) -> np.ndarray:
    """Each channel a mixture of the six clear ones."""
    return np.tensordot(weights, spine(), 1).astype(np.float32)


def merged() -> np.ndarray:
    """L2 and L3 with the disc between them filled, the upper half in L2's channel and the lower in L3's."""
    channels, bridge = spine(), np.zeros((ROWS, COLUMNS), np.float32)
    bridge[58:93, 72:102] = 0.9
    upper = np.arange(ROWS)[:, None] < 75
    channels[L2], channels[L3] = np.maximum(channels[L2], bridge * upper), np.maximum(channels[L3], bridge * ~upper)
    assert components(channels.sum(0) > 0.5).max() == 5
    return channels


def bridged(width: int) -> np.ndarray:
    """Bridges of little certainty across two discs."""
    channels = spine()
    for upper in (L2, L5):
        bridge = np.s_[30 + 34 * upper : 52 + 34 * upper, 92 : 92 + width]
        channels[upper][bridge] += np.maximum(0.95 - channels.sum(0)[bridge], 0)
    assert components(channels.sum(0) > 0.5).max() == 4
    return channels


FURTHER = "1 further vertebra-like shape without a level"
MORE = "S1 or L5: the lowest vertebra may be either, as there are more bodies than levels"
SHARED_L3 = np.eye(6, dtype=np.float32)
SHARED_L3[L3, L3], SHARED_L3[L4, L3] = 0.46, 0.5
"""L3's body has a little more of L4's channel than of L3's; its neighbours leave it no other name."""
L3_IN_L2 = np.eye(6, dtype=np.float32)
L3_IN_L2[L3, L3], L3_IN_L2[L2, L3] = 0, 1
"""Channel L2 shows L2 and L3, channel L3 nothing."""
CASES: dict[str, tuple[Callable[[], np.ndarray], tuple[bool, ...], tuple[str, ...] | None, float]] = {
    "six clear bodies": (spine, ALL, (), 0.98),
    "T12 above L1": (lambda: put(spine(1), L1, BODIES[0] + BODIES[1]), ALL, (), 0.0),
    "a body below S1": (lambda: put(spine(), S1, BODIES[5] + BODIES[6]), ALL, (MORE, FURTHER), 0.95),
    "bone of no name": (lambda: put(spine(), L1, BODIES[0] + BODIES[6]), ALL, None, 0.98),
    "a shape beside the spine": (lambda: put(spine(), L1, BODIES[0] + np.roll(BODIES[2], -70, 1)), ALL, None, 0.98),
    "merged bodies": (merged, ALL, None, 0.0),
    "a bridge of 2 px": (lambda: bridged(2), ALL, (), 0.9),
    "a bridge of 4 px": (lambda: bridged(4), ALL, (), 0.9),
    "a level that two channels share": (lambda: blended(SHARED_L3), ALL, (FAINT,), 0.95),
    "two bodies in one channel": (lambda: blended(L3_IN_L2), ALL, None, 0.95),
    "no L1": (lambda: put(spine(), L1, 0 * BODIES[0]), (False, *ALL[1:]), ("not found: L1",), 0.95),
    "no L4": (lambda: put(spine(), L4, 0 * BODIES[0]), (*ALL[:3], False, *ALL[4:]), ("not found: L4",), 0.95),
    "nothing": (lambda: 0 * spine(), (False,) * 6, (), 0.0),
    "faint": (lambda: blended(np.eye(6) * 0.6), ALL, (FAINT,), 0.0),
    "less faint": (lambda: blended(np.eye(6) * 0.8), ALL, (FAINT,), 0.9),
}


def verdict_of(name: str, reasons: tuple[str, ...]) -> str:
    return NOT_LUMBAR if name == "nothing" else CHECK if reasons else RELIABLE


@pytest.mark.parametrize("name", CASES)
def test_known_answers(name: str):
    """least_dice: of the masks with those of the six clear bodies that are present."""
    make, present, reasons, least_dice = CASES[name]
    decoded = decode_ordered(make(), visible_rows=(0.0, 300.0), most_traces=0.48)
    report = decoded.report
    assert report.present == present
    assert reasons is None or (report.reasons, report.verdict) == (reasons, verdict_of(name, reasons))
    assert (report.verdict == CHECK) == (report.reasons != ())
    masks, here = grid_masks(decoded.channels), np.array(present)
    assert not decoded.channels[~here].any() and not np.array(report.confidence)[~here].any()
    assert not here.any() or least_dice == 0 or dice(masks, spine() > 0.5)[here].min() > least_dice
    assert anatomy_faults(masks).count == 0


def test_confidence_and_margin_tell_how_clear_a_level_is():
    assert min(decode_ordered(spine()).report.confidence) > 0.95
    assert min(decode_ordered(merged()).report.confidence) > 0.9
    in_one = decode_ordered(blended(L3_IN_L2)).report
    assert (in_one.confidence[L3], in_one.verdict) == (0, CHECK)
    assert decode_ordered(0 * spine()).report.margin == 0
    raw = decode_raw(blended(SHARED_L3)).channels[L4]
    assert raw[BODIES[L3] > 0.9 * 0.96].mean() > 0.4, "without post-processing it goes to L4"


@pytest.mark.parametrize(
    ("visible_rows", "reason"),
    [
        ((0.0, 256.0), None),
        ((0.0, 214.0), "S1 or L5: the lowest vertebra may be either, as the film ends there"),
        ((10.0, 256.0), "L1 or L2: the uppermost vertebra may be either, as the film ends there"),
    ],
)
def test_a_film_that_ends_at_the_last_body_is_a_reason(visible_rows: tuple[float, float], reason: str | None):
    rows = np.flatnonzero((spine() > 0.5).any((0, 2)))
    assert (rows[0], rows[-1]) == (12, 208)
    report = decode_ordered(spine(), visible_rows=visible_rows).report
    assert report.present == ALL
    assert report.reasons == ((reason,) if reason else ())
    assert (report.verdict == CHECK, report.shift != 0) == (reason is not None, reason is not None)


def test_the_other_numbering_names_the_body_that_had_no_name():
    """Seven bodies of which the lowest six are in view as L1 to L5 and one above them: no sacrum."""
    channels = spine(1)
    channels[L1] += BODIES[0]
    channels[S1] = 0
    decoded = decode_ordered(channels, visible_rows=(0.0, 300.0))
    assert list(decoded.beyond) == [-1] and decoded.report.present == (*ALL[:5], False)
    assert decoded.report.shift in (-1, 1)
    assert decoded.report.reasons[0].endswith("may be either, as the sacrum is not in view")
    fit = grid_fit((ROWS, COLUMNS), GridConfig(rows=ROWS, columns=COLUMNS))
    masks = grid_masks(decoded.channels)
    apart = masks_beyond({**decoded.beyond, 6: decoded.channels[L5]}, fit, masks)
    assert list(apart) == [-1], "what has a name is not beyond the names"
    assert dice(apart[-1][None].repeat(6, 0), (BODIES[:1] > 0.5).repeat(6, 0)).min() > 0.95
    assert masks_beyond({}, fit, masks) == {}


def test_a_picture_that_is_no_lumbar_film_offers_no_numbering():
    report = decode_ordered(spine(), visible_rows=(0.0, 214.0), most_traces=0.0).report
    assert (report.verdict, report.reasons, report.shift) == (NOT_LUMBAR, (), 0)


def test_bodies_that_touch_along_a_whole_edge_are_split_by_their_channels():
    """L4's channel fills the disc below it as well."""
    channels = np.zeros((6, ROWS, COLUMNS), np.float32)
    for k in range(6):
        channels[k, 20 + 32 * k : 44 + 32 * k, 60:98] = 0.96
    apart = channels > 0.5
    channels[L4, 140:148, 60:98] = 0.96
    decoded = decode_ordered(channels)
    assert decoded.report.present == ALL
    assert dice(grid_masks(decoded.channels), apart).min() > 0.85


@pytest.mark.parametrize("seed", range(3))
def test_specks_belong_to_no_body(seed: int):
    before, noisy = decode_ordered(spine()), spine()
    for row, column in np.random.default_rng(seed).integers(0, [ROWS - 4, 50], (30, 2)):
        noisy[seed, row : row + 3, column : column + 3] = 0.9
    noisy[L5, 100:104, 160:164] = 1
    decoded = decode_ordered(noisy)
    assert np.array_equal(decoded.channels, before.channels) and decoded.report == before.report


def test_a_film_turned_left_to_right_is_the_same_and_one_upside_down_is_to_be_checked():
    assert decode_ordered(np.ascontiguousarray(spine()[:, :, ::-1])).report == decode_ordered(spine()).report
    upside_down = decode_ordered(np.ascontiguousarray(spine()[:, ::-1])).report
    assert upside_down.verdict == CHECK
    assert sum(c > 0.5 for c in upside_down.confidence) <= 1


@pytest.mark.parametrize(
    ("channels", "confidence"),
    [
        *((np.repeat(height * spine().max(0, keepdims=True), 6, 0), 1 / 6) for height in (0.19, 0.5, 0.95)),
        ((spine() + spine()[::-1]) / 2, 0.5),  # channels c and 5 - c show the same two vertebrae
        (np.ones((6, ROWS, COLUMNS)), 1 / 6),
    ],
)
def test_collapsed_networks_are_not_relied_on(channels: np.ndarray, confidence: float):
    """However bright equal channels are, they name nothing."""
    report = decode_ordered(channels.astype(np.float32)).report
    assert report.verdict != RELIABLE
    assert max(report.confidence) == pytest.approx(confidence, abs=1e-3)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_the_channels_hold_the_masks_are_a_spine(seed: int):
    """Random mixtures of six bodies, blurred noise around them."""
    rng = np.random.default_rng(seed)
    channels = blended(rng.dirichlet(np.full(6, 0.4), 6).T)
    noise = cv2.GaussianBlur(rng.standard_normal((ROWS, COLUMNS)), (0, 0), 4)
    channels = channels + 0.02 * rng.random((6, 1, 1)) * noise / noise.std() + 0.4 * (noise > 2.2 * noise.std()) / 6
    decoded = decode_ordered(channels.clip(0, 1).astype(np.float32))
    masks = grid_masks(decoded.channels)
    faults = anatomy_faults(masks)
    assert (faults.duplicated, faults.in_pieces) == ((), ())
    assert masks.sum(0).max() <= 1
    heights = [np.nonzero(mask)[0].mean() for mask in masks if mask.any()]
    assert heights == sorted(heights)
    assert not faults.out_of_order or decoded.report.verdict != RELIABLE, "a false body beside the spine has a name"
    assert tuple(mask.any() for mask in masks) == decoded.report.present
    assert (decoded.report.verdict == CHECK) == (decoded.report.reasons != ())
    assert all(0 <= c <= 1 for c in decoded.report.confidence)


def test_bone_confidence_is_the_mean_over_bone() -> None:
    channels = np.zeros((6, 4, 4), np.float32)
    channels[L1, 0], channels[L2, 0], channels[L1, 1] = 0.6, 0.2, 0.4  # the second row is no bone
    assert bone_confidence(channels) == pytest.approx((0.8, 0.6))
    assert bone_confidence(np.zeros((6, 4, 4), np.float32)) == (1.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_component_agrees_with_scipy(seed: int):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((80, 90)), (0, 0), 5)
    mask = noise > 0.5 * noise.std()
    numbered = components(mask, np.ones((3, 3)))
    filled = [np.asarray(ndimage.binary_fill_holes(numbered == k)) for k in range(1, numbered.max() + 1)]
    assert np.array_equal(largest_component(mask), max(filled, key=lambda component: component.sum()))
    assert not largest_component(np.zeros((5, 5), bool)).any()


def test_masks_of_crossing_channels_are_disjoint_and_whole():
    """The lower body loses what the upper has taken, then its smaller half, and two corners; holes are filled."""
    channels = np.zeros((6, 60, 60), np.float32)
    channels[L1, 20:40, 5:55] = channels[L2, 5:58, 20:40] = 1
    channels[L2, 45:48, 25:28] = 0
    masks = grid_masks(channels)
    assert not (masks[L1] & masks[L2]).any()
    assert np.count_nonzero(components(masks[L2])) == 18 * 20 - 2 and components(masks[L2]).max() == 1
    assert np.count_nonzero(grid_masks(channels, one_component=False)[L2]) == 33 * 20 - 9


@pytest.mark.parametrize("shape", [(300, 200), (64, 64), (40, 90)])
def test_masks_of_a_film_need_only_the_boxes_of_their_bodies(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    fit = grid_fit(shape, GridConfig(rows=64, columns=64))
    channels = np.zeros((6, 64, 64), np.float32)
    for k, channel in enumerate(channels[:5]):  # S1 is nowhere; the others touch, and L1 the edge
        channel[10 * k : 10 * k + 12, 3 * k : 3 * k + 30] = rng.uniform(0.2, 1, (12, 30))
    whole = grid_to_film(channels, fit)
    for channel, values in zip(channels, whole, strict=True):
        outside = values.copy()
        outside[film_box(channel, fit)] = 0
        assert not outside.any()
    first = (whole > 0.5) & (np.cumsum(whole > 0.5, 0) == 1)
    wrong = film_masks(channels, fit, one_component=False) != first
    assert wrong.sum() <= 2, "only where a value is within rounding of one half"


def test_the_masks_end_where_the_network_s_own_bone_does():
    """Not half a grid pixel further in, in steps, as if each pixel below one half were 0."""
    channels, fit = spine(), grid_fit((8 * ROWS, 8 * COLUMNS), GridConfig(rows=ROWS, columns=COLUMNS))
    masks = film_masks(decode_ordered(channels).channels, fit, one_component=True)
    bone = grid_to_film(channels.sum(0)[None], fit)[0] > 0.5
    assert (masks.any(0) != bone).sum() < 0.01 * bone.sum(), "corners alone"


def test_films_to_check_come_first_then_those_of_less_confidence() -> None:
    in_order: list[tuple[Verdict, float]] = [(CHECK, 0.0), (CHECK, 1.0), (RELIABLE, 0.0), (RELIABLE, 1.0)]
    in_order.append((NOT_LUMBAR, 0.0))
    reports = [LevelReport((True,) * 6, (1.0, least, 1.0), 1.0, verdict, ()) for verdict, least in in_order]
    assert sorted(reversed(reports), key=lambda each: each.review_order) == reports
