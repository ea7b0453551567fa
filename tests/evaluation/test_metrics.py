"""metrics: values to check by hand, laws, and agreement with MONAI."""

from __future__ import annotations

import math
from dataclasses import astuple

import cv2
import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import DiceMetric
from small import rectangles

from spineseg.evaluation.metrics import (
    anatomy_faults,
    bootstrap_interval,
    dice,
    dice_matrix,
    hausdorff95,
    iou,
    l3_depth_px,
    levels_right,
    response_matrix,
    wilson_interval,
)
from spineseg.film import VERTEBRAE, Masks

L1, L2, L3, L4, L5, S1 = range(6)


def empty() -> Masks:
    return np.zeros((6, 160, 100), dtype=bool)


def spine() -> Masks:
    """Six bodies, each 16 rows high and 30 columns deep, 8 rows apart."""
    return rectangles((160, 100), 10, 24, 16, 30, 30)


def irregular(seed: int) -> Masks:
    """Six random polygons, some beyond the border."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((6, 90, 70), dtype=np.uint8)
    for mask in masks:
        corners = generator.normal((30, 40), 18, size=(7, 2)).round().astype(np.int32)
        cv2.fillPoly(mask, [corners], (1,))
    return masks.astype(bool)


def pair(a: tuple[slice, slice], b: tuple[slice, slice]) -> tuple[Masks, Masks]:
    predicted, reference = empty(), empty()
    predicted[L1][a] = True
    reference[L1][b] = True
    return predicted, reference


def test_two_squares_that_share_half():
    predicted, reference = pair(np.s_[0:10, 0:10], np.s_[0:10, 5:15])
    assert dice(predicted, reference)[L1] == pytest.approx(2 * 50 / 200)
    assert iou(predicted, reference)[L1] == pytest.approx(50 / 150)


def test_missing_from_both_has_no_score_and_missing_from_one_has_the_worst():
    predicted, reference = spine(), spine()
    predicted[L1] = reference[L1] = predicted[L2] = reference[L3] = False
    for score in (dice(predicted, reference), iou(predicted, reference)):
        assert np.array_equal(score, [np.nan, 0, 0, 1, 1, 1], equal_nan=True)
    distance = hausdorff95(predicted, reference)
    assert np.array_equal(distance, [np.nan, np.inf, np.inf, 0, 0, 0], equal_nan=True)


def test_a_shifted_square_is_as_far_as_its_shift_and_a_row_counts_its_height():
    assert hausdorff95(*pair(np.s_[20:30, 20:30], np.s_[20:30, 50:60]))[L1] == pytest.approx(30)
    predicted, reference = pair(np.s_[20:30, 20:30], np.s_[60:70, 20:30])
    assert hausdorff95(predicted, reference)[L1] == pytest.approx(40)
    assert hausdorff95(predicted, reference, row_to_column=1.5)[L1] == pytest.approx(60)


def test_one_stray_pixel_in_a_hundred_is_forgiven_and_a_tenth_is_not():
    predicted, reference = pair(np.s_[20:46, 20:46], np.s_[20:46, 20:46])
    predicted[L1, 150, 90] = True
    assert hausdorff95(predicted, reference)[L1] == 0
    predicted[L1, 150, 80:95] = True
    assert hausdorff95(predicted, reference)[L1] > 100


@pytest.mark.parametrize("seed", range(4))
def test_scores_do_not_depend_on_the_order_or_on_the_place(seed: int):
    a, b = irregular(seed), irregular(seed + 100)
    shifted = [np.pad(masks, ((0, 0), (7, 3), (11, 2))) for masks in (a, b)]
    for score in (dice, iou):
        assert np.array_equal(score(a, b), score(b, a))
        assert np.array_equal(score(a, b), score(*shifted))
    assert np.allclose(hausdorff95(a, b, 1.25), hausdorff95(b, a, 1.25))
    padded = [np.pad(masks, ((0, 0), (1, 1), (1, 1))) for masks in (a, b)]
    assert np.allclose(hausdorff95(padded[0], padded[1]), hausdorff95(shifted[0], shifted[1]))


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")  # MONAI 1.6 warns of itself
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("row_to_column", [1.0, 1.4])
def test_agrees_with_monai(seed: int, row_to_column: float):
    a, b = irregular(seed), irregular(seed + 100)
    tensors = [torch.from_numpy(masks)[None].float() for masks in (a, b)]
    expected = DiceMetric(include_background=True, reduction="none")(*tensors)
    assert np.allclose(dice(a, b), np.asarray(expected)[0])
    expected = compute_hausdorff_distance(
        *tensors, include_background=True, percentile=95, spacing=None if row_to_column == 1 else [row_to_column, 1.0]
    )
    assert np.allclose(hausdorff95(a, b, row_to_column), expected[0].numpy(), atol=1e-4)


def test_dice_matrix_shows_a_spine_that_is_one_level_off():
    reference = spine()
    predicted = np.roll(reference, 1, axis=0)
    matrix = dice_matrix(predicted, reference)
    assert np.array_equal(matrix, np.roll(np.eye(6), 1, axis=0))
    assert np.array_equal(matrix.diagonal(), dice(predicted, reference))


def test_l3_is_as_deep_as_its_rectangle_with_or_without_neighbours():
    assert l3_depth_px(spine()) == l3_depth_px(spine(), row_to_column=1.5) == pytest.approx(30)
    alone = empty()
    assert math.isnan(l3_depth_px(alone))
    alone[L3] = spine()[L3]
    assert l3_depth_px(alone) == pytest.approx(30)


@pytest.mark.parametrize("angle_deg", [-30, -10, 20, 90])
def test_l3_depth_does_not_change_when_the_spine_is_turned(angle_deg: float):
    masks = np.zeros((6, 900, 900), dtype=np.uint8)
    turn = np.deg2rad(angle_deg)
    for k, mask in enumerate(masks):
        centre = 450 + (k - 2.5) * 120 * np.array([-np.sin(turn), np.cos(turn)])
        box = cv2.boxPoints((centre.tolist(), (130, 90), angle_deg))
        cv2.fillPoly(mask, [box.round().astype(np.int32)], (1,))
    assert l3_depth_px(masks.astype(bool)) == pytest.approx(131, rel=0.02)


def test_response_matrix_is_the_mean_over_each_vertebra():
    masks = spine()[:2]
    channels = np.zeros((3, *masks.shape[1:]), dtype=np.float32)
    channels[0][masks[0]] = 0.75
    channels[1] = 0.25
    channels[2, 34:50, 30:45] = 1
    assert np.allclose(response_matrix(channels, masks), [[0.75, 0], [0.25, 0.25], [0, 0.5]])
    masks[L2] = False
    assert np.array_equal(np.isnan(response_matrix(channels, masks)), [[False, True]] * 3)


def test_levels_are_right_when_each_lies_on_its_own():
    reference = spine()
    assert levels_right(np.roll(reference, 5, axis=2), reference)
    assert not levels_right(np.roll(reference, 1, axis=0), reference), "one level off"
    assert not levels_right(reference[[0, 2, 1, 3, 4, 5]], reference), "one swapped pair"
    shorter = spine()
    shorter[L1] = False
    assert levels_right(shorter, shorter)
    assert not levels_right(spine(), shorter), "one that the label lacks"
    assert not levels_right(shorter, spine())


def test_levels_are_wrong_when_a_neighbour_is_covered_better():
    reference = spine()
    reference[L2, :, 50:] = False
    predicted = spine()
    predicted[L2] = reference[L2] | reference[L3]
    assert dice_matrix(predicted, reference)[L2, L3] > dice(predicted, reference)[L2] > 0.5
    assert not levels_right(predicted, reference)


def test_a_whole_spine_has_no_faults():
    assert anatomy_faults(spine(), spine()).count == 0
    assert str(anatomy_faults(spine())) == ""
    assert anatomy_faults(empty()).count == 0


def test_a_curved_spine_that_ends_in_a_level_sacrum_is_in_order():
    masks = np.zeros((6, 300, 300), dtype=np.uint8)
    for k, mask in enumerate(masks):
        angle = np.deg2rad(18 * k)
        centre = (round(250 - 180 * np.cos(angle)), round(40 + 200 * np.sin(angle)))
        cv2.circle(mask, centre, 20, (1,), -1)
    for facing in (masks, masks[:, :, ::-1]):
        assert anatomy_faults(facing.astype(bool)).count == 0


def test_swapped_and_reversed_vertebrae_are_out_of_order():
    faults = anatomy_faults(spine()[[0, 2, 1, 3, 4, 5]])
    assert faults.out_of_order == ("L3",)
    assert (faults.duplicated, faults.in_pieces, faults.count) == ((), (), 1)
    assert anatomy_faults(spine()[::-1]).out_of_order == VERTEBRAE[1:]


def test_one_bone_under_two_names_is_a_duplicate():
    masks = spine()
    masks[L4] = np.roll(masks[L5], 4, axis=1)
    assert anatomy_faults(masks).duplicated == ("L4", "L5")


def test_one_bone_cut_in_two_names_is_a_duplicate_of_the_reference():
    masks = spine()
    masks[L4] = masks[L5]
    masks[L4, 114:] = False
    masks[L5, :114] = False
    assert anatomy_faults(masks).duplicated == ()
    assert anatomy_faults(masks, spine()).duplicated == ("L4", "L5")


def test_overlap_by_some_pixels_is_no_fault():
    masks = spine()
    masks[L5, 122:132, 30:60] = True
    assert (masks[L5] & masks[S1]).any()
    assert anatomy_faults(masks, spine()).count == 0


def test_pieces_are_counted_and_corners_connect():
    masks = spine()
    masks[L2, 34:50, 40] = False
    assert anatomy_faults(masks).in_pieces == ("L2",)
    assert str(anatomy_faults(masks)) == "in pieces: L2"
    masks[L2] = np.eye(160, 100, dtype=bool) & (np.arange(100) > 33) & (np.arange(100) < 50)
    assert anatomy_faults(masks).in_pieces == ()


def test_bootstrap_is_repeatable_covers_the_mean_and_leaves_out_nan():
    values = np.random.default_rng(0).normal(0.9, 0.05, 40)
    assert np.isnan(astuple(bootstrap_interval([0.9], seed=0))).all(), "one film says nothing"
    interval = bootstrap_interval(values, seed=1)
    assert interval == bootstrap_interval([*values, np.nan], seed=1)
    assert interval != bootstrap_interval(values, seed=2)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - error, abs=0.003)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.003)


@pytest.mark.parametrize(
    ("successes", "n", "expected"), [(10, 11, (0.62, 0.98)), (11, 11, (0.74, 1.0)), (0, 11, (0, 0.26)), (0, 0, (0, 1))]
)
def test_wilson_interval(successes: int, n: int, expected: tuple[float, float]):
    """Newcombe (1998) for the method; ten of eleven is known no better than this."""
    interval = wilson_interval(successes, n)
    assert (round(interval.low, 2), round(interval.high, 2)) == expected
