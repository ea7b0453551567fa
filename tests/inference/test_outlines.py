"""outlines: bodies of known shape, with what no body has drawn onto them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spineseg.inference.outlines import coverage, shaped

SHAPE, LEVELS, LEFT, DEEP, TALL, STEP = (288, 128), 6, 40, 44, 30, 44


def spine(hollow_px: float = 0.0) -> np.ndarray:
    """Six bodies below one another, each a rectangle whose endplates are hollow."""
    across = np.linspace(0, 1, 40)
    channels = []
    for level in range(LEVELS):
        top, bottom = 16 + STEP * level, 16 + STEP * level + TALL
        sunk = 4 * across * (1 - across) * hollow_px
        upper = np.stack([top + sunk, LEFT + across * DEEP], 1)
        lower = np.stack([bottom - sunk, LEFT + across * DEEP], 1)[::-1]
        channels.append(coverage(np.concatenate([upper, lower]), SHAPE))
    return np.stack(channels)


def seen(channels: np.ndarray) -> np.ndarray:
    """As a network sees them, with soft edges."""
    return np.stack([cv2.GaussianBlur(channel, (0, 0), 1.0) for channel in channels])


def overlap(channel: np.ndarray, truth: np.ndarray) -> float:
    a, b = channel > 0.5, truth > 0.5
    return float((a & b).sum() / (a | b).sum())


def test_an_outline_covers_its_area() -> None:
    square = np.array([(10.25, 20.5), (10.25, 30.5), (18.25, 30.5), (18.25, 20.5)])
    drawn = coverage(square, (40, 40))
    assert drawn.sum() == pytest.approx(80, rel=0.03)
    assert drawn[14, 25] == 1 and drawn[10, 25] == pytest.approx(0.75, abs=0.13)
    assert coverage(square - [100, 0], (40, 40)).sum() == 0, "beyond the picture"


@pytest.mark.parametrize("hollow_px", [0.0, 2.0, 4.0])
def test_a_bump_and_a_notch_go_and_hollow_endplates_stay(hollow_px: float) -> None:
    truth = spine(hollow_px)
    drawn = truth.copy()
    drawn[2, 108:116, 32:40] = 0.7  # faint, in front of L3
    drawn[3, 160:168, 76:84] = 0.3  # into the back of L4
    before = seen(drawn)
    after = shaped(before, before.sum(0))
    for level in (2, 3):
        assert overlap(after[level], truth[level]) > max(0.97, overlap(before[level], truth[level]) + 0.02)
    for level in (0, 1, 4):
        assert overlap(after[level], truth[level]) > 0.97, "whole bodies stay"
    assert np.array_equal(after[5], before[5]), "S1 is not one of them"


def test_a_body_unlike_any_stays_and_nothing_is_drawn_over_another() -> None:
    channels = spine()
    rows, columns = np.indices(SHAPE)
    channels[1] = ((rows - 75) + np.abs(columns - 62) < 12) & (rows > 62)  # a triangle
    channels[3, :, 70:84] = 0
    channels[4, 150:176, 70:84] = 1  # where L4's back would be
    before = seen(channels)
    after = shaped(before, before.max(0))
    assert np.array_equal(after[1], before[1])
    assert not ((after > 0.5).sum(0) > (before > 0.5).sum(0).clip(1)).any()


def test_a_film_without_bodies_and_one_with_a_single_body_stay() -> None:
    for channels in (np.zeros((6, *SHAPE), np.float32), seen(spine()) * (np.arange(6) == 2)[:, None, None]):
        assert np.array_equal(shaped(channels.astype(np.float32), channels.sum(0)), channels)


def test_a_film_and_its_mirror_image_have_the_same_outlines() -> None:
    channels = seen(spine(3.0))
    channels[2, 106:116, 32:40] = 0.9
    mirrored = channels[:, :, ::-1].copy()
    apart = np.abs(shaped(mirrored, mirrored.sum(0))[:, :, ::-1] - shaped(channels, channels.sum(0)))
    assert (apart > 0.2).sum() < 20
