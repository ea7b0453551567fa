"""Outlines that leave the decoder: without spurs and notches, with their edges and corners."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spineseg.inference.masks import Channel, smoothed


def body(turn_deg: float = 0.0) -> Channel:
    """A rectangle of 44 x 32 grid pixels with soft edges."""
    corners = cv2.boxPoints(((50.0, 50.0), (44.0, 32.0), turn_deg))
    image = np.zeros((100, 100), np.float32)
    cv2.fillConvexPoly(image, np.rint(corners).astype(np.int32), 1.0)
    return cv2.GaussianBlur(image, (0, 0), 1.5)


def disagreement(one: Channel, other: Channel) -> float:
    """Pixels on another side of one half, as a share of the body."""
    return float(((one > 0.5) != (other > 0.5)).sum() / (other > 0.5).sum())


@pytest.mark.parametrize("turn_deg", [0, 15, 45, 70])
def test_a_body_without_faults_keeps_edges_and_corners(turn_deg: float):
    channel = body(turn_deg)
    assert disagreement(smoothed(channel), channel) < 0.01
    inner = channel > 0.9
    np.testing.assert_allclose(smoothed(channel)[inner], channel[inner], atol=0.1)


def test_a_spur_goes():
    spurred = body()
    spurred[48:52, 65:90] = 1.0
    assert disagreement(spurred, body()) > 0.04
    assert disagreement(smoothed(spurred), body()) < 0.025


def test_a_notch_is_filled():
    notched = body()
    notched[30:50, 47:52] = 0.0
    assert disagreement(notched, body()) > 0.04
    assert disagreement(smoothed(notched), body()) < 0.02


def test_nothing_is_drawn_to_the_border():
    low = np.zeros((60, 60), np.float32)
    low[5:58, 20:40] = 1.0
    assert not (smoothed(low) > 0.5)[58:].any()
    low[58:] = low[57]
    assert (smoothed(low) > 0.5)[59, 21:39].all(), "a body that is cut stays at the border"


def test_a_collapsed_body_stays():
    """A third as high as it is deep."""
    flat = np.zeros((100, 100), np.float32)
    flat[45:59, 30:72] = 1.0
    assert disagreement(smoothed(flat), flat) < 0.03


def test_a_wedge_keeps_its_thin_end():
    """A third as high in front as behind."""
    wedge = np.zeros((100, 100), np.float32)
    cv2.fillConvexPoly(wedge, np.array([[30, 35], [70, 45], [70, 55], [30, 65]], np.int32), 1.0)
    assert disagreement(smoothed(wedge), wedge) < 0.02


def test_smoothing_once_is_enough():
    spurred = body(20)
    spurred[47:53, 65:90] = 1.0
    once = smoothed(spurred)
    assert disagreement(smoothed(once), once) < 0.01


def test_what_is_too_small_to_judge_stays():
    speck = np.zeros((20, 20), np.float32)
    speck[5:9, 5:16] = 1.0
    assert np.array_equal(smoothed(speck), speck)
    assert not smoothed(np.zeros((20, 20), np.float32)).any()
