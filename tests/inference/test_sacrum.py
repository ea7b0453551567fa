"""sacrum: S1 ends where bone ends, or its usual shape; its upper endplate stays."""

from __future__ import annotations

import numpy as np
import pytest

from spineseg.inference.outlines import coverage
from spineseg.inference.sacrum import completed

EVERYWHERE = np.ones((128, 96), bool)
LENGTH = 30.0
UPPER = np.array([[60.0, 30.0], [60.0, 30.0 + LENGTH]])
"""S1's upper endplate in a grid image of 128 x 96, anterior corner first."""
LOWER = UPPER.mean(0) + np.array([[0.83, 0.80], [0.885, -0.12]]) * LENGTH
"""Where both lower corners are in the mean of sacra, posterior one first."""


def sacrum(share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Channels of L5 and of an S1 of the usual shape, of which the upper share was seen; its whole."""
    whole = coverage(np.concatenate([UPPER, LOWER]), (128, 96))
    seen = coverage(np.concatenate([UPPER, UPPER[::-1] + share * (LOWER - UPPER[::-1])]), (128, 96))
    channels = np.zeros((6, 128, 96), np.float32)
    channels[4, 28:56, 30:60] = 1
    channels[5] = seen
    return channels, whole


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def without_evidence(channels: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Bone of which the film shows nothing where S1 was not seen."""
    bone = channels.sum(0)
    bone[(bone == 0) & (whole > 0)] = 0.5
    return bone


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_s1_that_ends_early_is_completed_to_its_usual_shape(mirrored: bool) -> None:
    channels, whole = sacrum(0.82)
    bone = without_evidence(channels, whole)
    if mirrored:
        channels, whole, bone = channels[..., ::-1], whole[:, ::-1], np.ascontiguousarray(bone[:, ::-1])
    assert overlap(channels[5], whole) < 0.85
    found = completed(channels, bone, EVERYWHERE)
    assert overlap(found, whole) > 0.92
    assert abs(float((found[61:63] - whole[61:63]).sum())) < 3, "the upper endplate stays"


def test_the_more_of_s1_is_seen_the_more_it_is_completed_and_without_a_jump() -> None:
    areas, seen = [], [sacrum(share)[0] for share in np.linspace(0.45, 1, 23)]
    whole = sacrum()[1]
    for channels in seen:
        areas.append(float(completed(channels, without_evidence(channels, whole), EVERYWHERE).sum() / whole.sum()))
    assert areas[0] == pytest.approx(float(seen[0][5].sum() / whole.sum())), "too little to tell a sacrum's shape by"
    assert max(np.abs(np.diff(areas))) < 0.1 and areas[-1] > 0.95


def test_a_whole_s1_stays() -> None:
    channels, whole = sacrum()
    assert overlap(completed(channels, channels.sum(0), EVERYWHERE), whole) > 0.93


def test_without_l5_or_with_another_shape_s1_stays_as_it_is() -> None:
    channels, _ = sacrum(0.6)
    for level in (4, 5):
        without = channels.copy()
        without[level] = 0
        assert np.array_equal(completed(without, channels.sum(0), EVERYWHERE), without[5])
    thin = channels.copy()
    thin[5] = 0
    thin[5, 60:100, 44:46] = 1
    assert np.array_equal(completed(thin, thin.sum(0), EVERYWHERE), thin[5])


def test_beyond_the_edge_of_the_film_the_shape_decides() -> None:
    channels, whole = sacrum()
    seen = EVERYWHERE.copy()
    seen[72:] = False
    cut = channels * seen
    assert overlap(cut[5], whole) < 0.55
    assert overlap(completed(cut, cut.sum(0), seen), whole) > 0.9
