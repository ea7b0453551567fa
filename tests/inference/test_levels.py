"""levels: made-up probability maps whose right answer is known, and the path against trying every one."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest
from scipy import ndimage

from spineseg.evaluation.metrics import anatomy_faults, dice
from spineseg.film import VERTEBRAE
from spineseg.inference.grid import film_box, grid_fit, grid_to_film
from spineseg.inference.levels import (
    LevelConfig,
    best_path,
    certainty,
    decode_ordered,
    decode_raw,
    find_bodies,
    path_margin,
)
from spineseg.inference.masks import film_masks, one_piece, to_masks
from spineseg.model.config import GridConfig

L1, L2, L3, L4, L5, S1 = range(6)
ROWS, COLUMNS = 256, 192
CONFIG = LevelConfig()
FAINT = "the bones are hard to tell on this film"


def body(place: int) -> np.ndarray:
    """The place-th body from the top of a curved spine of seven: about 32 x 18 px."""
    turn_deg, column = (-12, -6, 0, 6, 14, 28, 38)[place], (92, 88, 86, 87, 91, 99, 112)[place]
    corners = cv2.boxPoints(((column, 24.0 + 34 * place), (32, 18), turn_deg))
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    cv2.fillPoly(mask, [corners.round().astype(np.int32)], (1,))
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)


def spine(first: int = 0, count: int = 6) -> np.ndarray:
    """One channel for each body from `first` on; channels beyond `count` are empty."""
    channels = np.zeros((6, ROWS, COLUMNS), np.float32)
    for k in range(count):
        channels[k] = 0.96 * body(first + k)
    return channels


def pieces(mask: np.ndarray, structure: np.ndarray | None = None) -> np.ndarray:
    """Connected pieces, numbered from 1."""
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


@pytest.mark.parametrize("bodies", [0, 1, 2, 3, 4, 5])
def test_the_best_path_and_its_margin_are_those_of_trying_every_one(bodies: int):
    paths = all_paths(bodies)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        agreement, weight = rng.random((bodies, 6)), rng.random(bodies)
        ranked = sorted(((total(agreement, weight, path, CONFIG), path) for path in paths), reverse=True)
        score, path = best_path(agreement, weight, CONFIG)
        assert path == ranked[0][1]
        assert score == pytest.approx(ranked[0][0])
        margin = ranked[0][0] - ranked[1][0] if bodies else 0
        assert path_margin(agreement, weight, CONFIG) == (path, pytest.approx(margin))


def test_more_bodies_than_levels_by_trying_every_one():
    config = LevelConfig(skipped_body=0.1, skipped_end=0.05, skipped_level=0.2)
    agreement, weight = np.random.default_rng(3).random((7, 6)) ** 3, np.ones(7)
    scores = sorted((total(agreement, weight, path, config) for path in all_paths(7)), reverse=True)
    path, margin = path_margin(agreement, weight, config)
    assert total(agreement, weight, path, config) == pytest.approx(scores[0])
    assert margin == pytest.approx(scores[0] - scores[1])


def test_a_forbidden_pair_is_not_used():
    agreement, weight = np.eye(6), np.ones(6)
    assert best_path(agreement, weight, CONFIG) == (6.0, (0, 1, 2, 3, 4, 5))
    assert best_path(agreement, weight, CONFIG, frozenset({(2, 2)}))[1][2] != 2


def test_a_body_between_others_is_not_passed_over():
    """T12 looks more like L1 than L1 does, but then the true L1 would have no name."""
    agreement = np.vstack([[0.9, 0, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0], np.eye(6)[1:]])
    assert best_path(agreement, np.ones(7), CONFIG)[1] == (-1, 0, 1, 2, 3, 4, 5)


def test_t12_above_l1_is_no_reason_to_be_unsure():
    """A body below S1 is."""
    channels = spine(first=1)
    channels[L1] += 0.96 * body(0)
    report = decode_ordered(channels, film_rows=(0.0, 300.0)).report
    assert (report.verdict, report.present) == ("sure", (True,) * 6)
    channels = spine()
    channels[S1] += 0.96 * body(6)
    report = decode_ordered(channels, film_rows=(0.0, 300.0)).report
    assert report.reasons == ("1 further vertebra-like shape without a level",)


def test_a_shape_beside_the_spine_gets_no_level():
    channels = spine()
    beside = np.roll(channels[L3], -70, axis=1)
    channels[L1] += beside
    decoded = decode_ordered(channels)
    assert not (decoded.channels[:, beside > 0.5]).any()
    assert dice(to_masks(decoded.channels, pieces=True), spine() > 0.5).min() > 0.98


def test_bodies_grown_together_are_parted_where_the_channel_changes():
    """L2 and L3 with the disc between them filled, L2 in its channel and L3 in its own."""
    channels = spine()
    bridge = np.zeros((ROWS, COLUMNS), np.float32)
    bridge[58:93, 72:102] = 0.9
    halves = np.arange(ROWS)[:, None] < 75
    channels[L2] = np.maximum(channels[L2], bridge * halves)
    channels[L3] = np.maximum(channels[L3], bridge * ~halves)
    assert pieces(channels.sum(0) > 0.5).max() == 5
    report = decode_ordered(channels).report
    assert report.present == (True,) * 6
    assert min(report.confidence) > 0.9


def test_six_clear_bodies_are_sure():
    channels = spine()
    decoded = decode_ordered(channels)
    report = decoded.report
    assert report.present == (True,) * 6
    assert min(report.confidence) > 0.95
    assert (report.verdict, report.reasons) == ("sure", ())
    masks = to_masks(decoded.channels, pieces=True)
    assert dice(masks, channels > 0.5).min() > 0.98
    assert anatomy_faults(masks, channels > 0.5).count == 0


def test_a_level_that_two_channels_share_is_kept():
    """L3's body is claimed by L4 a little more than by L3; its neighbours leave it no other name."""
    channels = spine()
    whole = channels[L3].copy()
    channels[L3], channels[L4] = 0.46 * whole, channels[L4] + 0.5 * whole
    assert decode_raw(channels).channels[L4][whole > 0.9].mean() > 0.4, "without a rule it goes to L4"
    decoded = decode_ordered(channels)
    masks = to_masks(decoded.channels, pieces=True)
    assert dice(masks, spine() > 0.5).min() > 0.95
    assert decoded.report.verdict == "unsure"
    assert decoded.report.reasons == (FAINT,)


def test_two_bodies_in_one_channel_become_two_levels():
    """Channel L2 shows L2 and L3, channel L3 nothing."""
    channels = spine()
    channels[L2] += channels[L3]
    channels[L3] = 0
    decoded = decode_ordered(channels)
    assert dice(to_masks(decoded.channels, pieces=True), spine() > 0.5).min() > 0.95
    assert decoded.report.confidence[L3] == 0
    assert decoded.report.verdict == "unsure"


def test_a_naming_one_level_too_high_with_a_body_left_over_is_unsure():
    """T12 called L1, ..., L5 called S1, and S1 claimed by no channel more than by S1."""
    channels = spine()
    channels[S1] += 0.96 * body(6)
    report = decode_ordered(channels).report
    assert report.present == (True,) * 6
    assert report.verdict == "unsure"
    assert "1 further vertebra-like shape without a level" in report.reasons


def test_a_film_cut_below_l1_has_no_l1():
    channels = spine()
    channels[L1] = 0
    decoded = decode_ordered(channels)
    assert decoded.report.present == (False, True, True, True, True, True)
    assert decoded.report.reasons == ("not found: L1",)
    assert (decoded.report.verdict, decoded.report.confidence[L1]) == ("unsure", 0)
    assert not decoded.channels[L1].any()
    assert dice(to_masks(decoded.channels, pieces=True), channels > 0.5)[1:].min() > 0.95


@pytest.mark.parametrize(
    ("film_rows", "reason"),
    [((0.0, 256.0), None), ((0.0, 214.0), "the film ends at S1"), ((10.0, 256.0), "the film ends at L1")],
)
def test_a_film_that_ends_at_the_last_body_is_remarked_on(film_rows: tuple[float, float], reason: str | None):
    """The six stand in rows 12 to 208 of 256; the film may be smaller than the grid."""
    rows = np.flatnonzero((spine() > 0.5).any((0, 2)))
    assert (rows[0], rows[-1]) == (12, 208)
    report = decode_ordered(spine(), film_rows=film_rows).report
    assert report.present == (True,) * 6
    assert [r.startswith(reason or "") for r in report.reasons] == [True] * (reason is not None)


def test_a_missing_body_in_the_middle_shifts_no_other():
    channels = spine()
    channels[L4] = 0
    decoded = decode_ordered(channels)
    assert decoded.report.present == (True, True, True, False, True, True)
    assert decoded.report.reasons == ("not found: L4",)


@pytest.mark.parametrize("width", [2, 4])
def test_bodies_joined_by_a_bridge_are_parted(width: int):
    """A bridge of little certainty across the disc, as between L5 and S1."""
    channels = spine()
    clean = channels > 0.5
    for upper in (L2, L5):
        bridge = np.s_[30 + 34 * upper : 52 + 34 * upper, 92 : 92 + width]
        channels[upper][bridge] += np.maximum(0.95 - channels.sum(0)[bridge], 0)
    assert pieces(channels.sum(0) > 0.5).max() == 4
    decoded = decode_ordered(channels)
    assert decoded.report.verdict == "sure"
    assert dice(to_masks(decoded.channels, pieces=True), clean).min() > 0.9


def test_bodies_that_touch_along_a_whole_edge_are_parted_by_their_channels():
    """L4's channel fills the disc below it as well."""
    channels = np.zeros((6, ROWS, COLUMNS), np.float32)
    for k in range(6):
        channels[k, 20 + 32 * k : 44 + 32 * k, 60:98] = 0.96
    apart = channels > 0.5
    channels[L4, 140:148, 60:98] = 0.96
    decoded = decode_ordered(channels)
    assert decoded.report.present == (True,) * 6
    assert dice(to_masks(decoded.channels, pieces=True), apart).min() > 0.85


def test_specks_belong_to_no_body():
    channels = spine()
    before = decode_ordered(channels)
    for seed in range(3):
        noisy = channels.copy()
        for row, column in np.random.default_rng(seed).integers(0, [ROWS - 4, 50], (30, 2)):
            noisy[seed, row : row + 3, column : column + 3] = 0.9
        noisy[L5, 100:104, 160:164] = 1
        decoded = decode_ordered(noisy)
        assert np.array_equal(decoded.channels, before.channels)
        assert decoded.report == before.report


def test_each_pixel_of_a_piece_goes_to_a_core_of_that_piece():
    """A body's corner may be nearer to the core of its neighbour than to its own, and still is its own."""
    bone = np.zeros((120, 120), np.float32)
    bone[10:50, 10:50] = 1
    bone[51:91, 31:71] = 1
    bodies, count = find_bodies(bone, np.zeros(bone.shape, int), LevelConfig(erode_share=0.3))
    assert count == 2
    for number in (1, 2):
        own = pieces(bodies == number)
        assert own.max() == 1
        assert np.count_nonzero(own) == 1600


def test_a_film_upside_down_is_unsure():
    report = decode_ordered(np.ascontiguousarray(spine()[:, ::-1])).report
    assert report.verdict == "unsure"
    assert sum(c > 0.5 for c in report.confidence) <= 1


def test_a_film_turned_left_to_right_is_the_same():
    flipped = decode_ordered(np.ascontiguousarray(spine()[:, :, ::-1]))
    assert flipped.report == decode_ordered(spine()).report


def test_an_empty_map_has_no_vertebra():
    decoded = decode_ordered(np.zeros((6, ROWS, COLUMNS), np.float32))
    assert not decoded.channels.any()
    assert decoded.report.present == (False,) * 6
    assert decoded.report.margin == 0
    assert decoded.report.verdict == "unsure"
    assert decoded.report.reasons == ("not found: L1, L2, L3, L4, L5, S1",)


def test_a_map_of_bone_everywhere_is_unsure():
    assert decode_ordered(np.ones((6, ROWS, COLUMNS), np.float32)).report.verdict == "unsure"


@pytest.mark.parametrize("height", [0.19, 0.5, 0.95])
def test_channels_that_all_show_the_whole_spine_are_unsure(height: float):
    """The collapse of the report: however bright the six equal channels are, they name nothing."""
    collapsed = np.repeat(height * spine().max(0, keepdims=True), 6, axis=0)
    report = decode_ordered(collapsed).report
    assert report.verdict == "unsure"
    assert max(report.confidence) == pytest.approx(1 / 6, abs=1e-3)


def test_mirrored_pairs_are_unsure():
    """The other collapse: channels c and 5 - c show the same two vertebrae."""
    channels = spine()
    report = decode_ordered(((channels + channels[::-1]) / 2).astype(np.float32)).report
    assert max(report.confidence) == pytest.approx(0.5, abs=1e-3)
    assert report.verdict == "unsure"


@pytest.mark.parametrize("seed", range(25))
def test_whatever_the_channels_claim_the_masks_are_a_spine(seed: int):
    """Random claims on six bodies, blurred noise around them."""
    rng = np.random.default_rng(seed)
    claims = rng.dirichlet(np.full(6, 0.4), 6).T
    channels = np.tensordot(claims, spine(), 1)
    noise = cv2.GaussianBlur(rng.standard_normal((ROWS, COLUMNS)), (0, 0), 4)
    channels += 0.02 * rng.random((6, 1, 1)) * noise / noise.std() + 0.4 * (noise > 2.2 * noise.std()) / 6
    decoded = decode_ordered(channels.clip(0, 1).astype(np.float32))
    masks = to_masks(decoded.channels, pieces=True)
    faults = anatomy_faults(masks)
    assert (faults.duplicated, faults.in_pieces) == ((), ())
    assert masks.sum(0).max() <= 1
    heights = [np.nonzero(mask)[0].mean() for mask in masks if mask.any()]
    assert heights == sorted(heights)
    assert not faults.out_of_order or decoded.report.verdict == "unsure", "a false body beside the spine has a name"
    assert tuple(mask.any() for mask in masks) == decoded.report.present
    assert (decoded.report.verdict == "sure") == (decoded.report.reasons == ())
    assert all(0 <= c <= 1 for c in decoded.report.confidence)


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_pieces_take_less_than_a_second(seed: int):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((512, 384)), (0, 0), 3)
    channels = ((noise > noise.std()) * rng.random((6, 1, 1))).astype(np.float32)
    assert pieces(channels.sum(0) > 0.5).max() > 150
    began = time.process_time()
    decoded = decode_ordered(channels)
    assert time.process_time() - began < 1
    assert decoded.report.verdict == "unsure"
    assert find_bodies(np.minimum(channels.sum(0), 1), channels.argmax(0), CONFIG)[1] <= CONFIG.most_bodies


def test_the_largest_bodies_are_kept():
    bone = np.zeros((100, 100), np.float32)
    for k, side in enumerate((14, 10, 16, 12)):
        bone[25 * k : 25 * k + side, 10 : 10 + side] = 1
    bodies, count = find_bodies(bone, np.zeros(bone.shape, int), LevelConfig(most_bodies=2))
    assert count == 2
    assert [np.count_nonzero(bodies == k) for k in (1, 2)] == [14**2, 16**2]


def test_without_a_rule_each_pixel_goes_to_its_strongest_channel():
    channels = np.random.default_rng(0).random((6, 20, 15), dtype=np.float32)
    decoded = decode_raw(channels)
    assert np.array_equal(decoded.channels.sum(0), channels.max(0))
    assert np.array_equal(decoded.channels.argmax(0), channels.argmax(0))
    assert decoded.report.verdict == "unsure"
    assert decode_raw(np.zeros_like(channels)).report.present == (False,) * len(VERTEBRAE)


def test_one_piece_is_the_largest_with_its_holes_filled():
    mask = np.zeros((60, 60), bool)
    mask[5:25, 5:25] = True
    expected = mask.copy()
    mask[12:15, 12:15] = False
    mask[40:50, 40:50] = True
    assert np.array_equal(one_piece(mask), expected)
    assert not one_piece(np.zeros((5, 5), bool)).any()


@pytest.mark.parametrize("seed", range(5))
def test_one_piece_agrees_with_scipy(seed: int):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((80, 90)), (0, 0), 5)
    mask = noise > 0.5 * noise.std()
    numbered = pieces(mask, np.ones((3, 3)))
    filled = [np.asarray(ndimage.binary_fill_holes(numbered == k)) for k in range(1, numbered.max() + 1)]
    assert np.array_equal(one_piece(mask), max(filled, key=lambda piece: piece.sum()))


def test_masks_of_crossing_channels_are_disjoint_and_whole():
    """The lower body loses what the upper has taken, and then its smaller half."""
    channels = np.zeros((6, 60, 60), np.float32)
    channels[L1, 20:40, 5:55] = 1
    channels[L2, 5:58, 20:40] = 1
    masks = to_masks(channels, pieces=True)
    assert not (masks[L1] & masks[L2]).any()
    assert anatomy_faults(masks).in_pieces == ()
    assert np.count_nonzero(masks[L2]) == 18 * 20
    assert np.count_nonzero(to_masks(channels, pieces=False)[L2]) == 33 * 20


def test_certainty_is_the_mean_over_what_is_taken_for_bone() -> None:
    channels = np.zeros((6, 4, 4), np.float32)
    channels[L1, 0], channels[L2, 0], channels[L1, 1] = 0.6, 0.2, 0.4  # the second row is no bone
    assert certainty(channels) == pytest.approx((0.8, 0.6))
    assert certainty(np.zeros((6, 4, 4), np.float32)) == (1.0, 1.0)


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_film_on_which_bone_is_only_guessed_is_called_unsure(share: float) -> None:
    report = decode_ordered((share * spine()).astype(np.float32)).report
    assert (report.verdict, report.reasons, report.present) == ("unsure", (FAINT,), (True,) * 6)
    assert decode_ordered(spine()).report.verdict == "sure"


# At the film's size


@pytest.mark.parametrize("shape", [(300, 200), (64, 64), (40, 90)])
@pytest.mark.parametrize("pieces", [True, False])
def test_masks_of_a_film_need_only_the_boxes_of_their_bodies(
    rng: np.random.Generator, shape: tuple[int, int], pieces: bool
) -> None:
    fit = grid_fit(shape, GridConfig(rows=64, columns=64))
    channels = np.zeros((6, 64, 64), np.float32)
    for k, channel in enumerate(channels[:5]):  # S1 is nowhere; the others touch, and L1 the edge
        channel[10 * k : 10 * k + 12, 3 * k : 3 * k + 30] = rng.uniform(0.2, 1, (12, 30))
    whole = grid_to_film(channels, fit)
    for channel, values in zip(channels, whole, strict=True):
        outside = values.copy()
        outside[film_box(channel, fit)] = 0
        assert not outside.any()
    wrong = film_masks(channels, fit, pieces=pieces) != to_masks(whole, pieces=pieces)
    assert wrong.sum() <= 2, "only where a value is within rounding of one half"


def test_the_masks_end_where_the_network_s_own_bone_does():
    """Not half a grid pixel further in, in steps, as if each pixel below one half were 0."""
    channels, fit = spine(), grid_fit((8 * ROWS, 8 * COLUMNS), GridConfig(rows=ROWS, columns=COLUMNS))
    masks = film_masks(decode_ordered(channels).channels, fit, pieces=True)
    np.testing.assert_array_equal(masks.any(0), grid_to_film(channels.sum(0)[None], fit)[0] > 0.5)


def test_bone_that_bears_no_name_lends_its_neighbour_nothing():
    channels = spine()
    channels[L1] += 0.96 * body(6)  # S2, named as nothing
    named = decode_ordered(channels).channels
    assert not named[:, body(6) > 0.5].any()
