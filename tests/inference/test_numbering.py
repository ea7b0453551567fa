"""numbering: which other numbering is offered, on agreements that can be checked by eye."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from predictions import CERTAIN, predicted

from spineseg.inference.numbering import beyond, counted, loss, other_numbering

CLEAR = np.eye(6)
"""Of L1 to S1, each body's probability is all in its own channel."""
NO_SACRUM = CLEAR[:5]
TORN = 0.6 * np.eye(6)[:5] + 0.4 * np.eye(6)[1:]
"""Bodies of L1 to L5 whose channels hold 0.6, those of the next level 0.4."""
WHOLE = (False, False)


def test_bodies_beyond_the_names_are_counted_on() -> None:
    path = (-1, -1, 0, 1, -1, 2, 3, 4, 5, -1)  # the fifth body was passed over
    assert counted(path) == {0: -2, 1: -1, 2: 0, 3: 1, 5: 2, 6: 3, 7: 4, 8: 5, 9: 6}
    assert beyond(path) == {-2: 0, -1: 1, 6: 9}
    assert counted((-1, -1)) == beyond((0, 1)) == {}


def test_the_loss_is_the_mean_share_that_names_give_up() -> None:
    assert loss(CLEAR, (0, 1, 2, 3, 4, 5), 1) == 1
    assert loss(TORN, (0, 1, 2, 3, 4), 1) == pytest.approx(0.2)
    assert loss(TORN, (0, 1, 2, 3, 4), -1) == pytest.approx(0.6)
    named_after_all = np.vstack([[0.5, 0, 0, 0, 0, 0], NO_SACRUM])  # a body above L1 with half of L1's channel
    assert loss(named_after_all, (-1, 0, 1, 2, 3, 4), 1) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("agreement", "path", "cut", "shift", "sentence"),
    [
        (CLEAR, (0, 1, 2, 3, 4, 5), WHOLE, None, ""),
        (CLEAR[1:], (1, 2, 3, 4, 5), WHOLE, None, ""),  # without L1 names are still counted from the sacrum
        (CLEAR[:0], (), WHOLE, None, ""),
        (
            CLEAR,
            (0, 1, 2, 3, 4, 5),
            (False, True),
            -1,
            "S1 or L5: the lowest vertebra may be either, as the film ends there",
        ),
        (
            CLEAR,
            (0, 1, 2, 3, 4, 5),
            (True, False),
            1,
            "L1 or L2: the uppermost vertebra may be either, as the film ends there",
        ),
        (TORN, (0, 1, 2, 3, 4), WHOLE, 1, "L5 or S1: the lowest vertebra may be either, as the sacrum is not in view"),
        (
            np.vstack([0 * CLEAR[:1], CLEAR, 0 * CLEAR[:1]]),
            (-1, 0, 1, 2, 3, 4, 5, -1),
            WHOLE,
            -1,
            "S1 or L5: the lowest vertebra may be either, as there are more bodies than levels",
        ),
        (
            0.6 * CLEAR + 0.4 * np.roll(CLEAR, 1, 0),
            (0, 1, 2, 3, 4, 5),
            WHOLE,
            -1,
            "S1 or L5: the lowest vertebra may be either, as both numberings fit nearly as well",
        ),
        (CLEAR[5:], (5,), WHOLE, None, ""),
    ],
)
def test_what_is_offered(
    agreement: np.ndarray, path: tuple[int, ...], cut: tuple[bool, bool], shift: int | None, sentence: str
) -> None:
    other = other_numbering(agreement, path, cut=cut)
    assert (other and other.shift, other.sentence if other else "") == (shift, sentence)


def test_the_less_the_names_lose_the_likelier_is_the_other_numbering() -> None:
    shares = (1.0, 0.8, 0.6, 0.5)
    torn = [share * CLEAR[:5] + (1 - share) * CLEAR[1:] for share in shares]
    likely = [other.likelihood for each in torn if (other := other_numbering(each, (0, 1, 2, 3, 4), cut=WHOLE))]
    assert len(likely) == 4 and likely == sorted(likely) and likely[0] < 0.02 and likely[-1] > 0.8
    ends = other_numbering(CLEAR, (0, 1, 2, 3, 4, 5), cut=(False, True))
    assert ends and ends.likelihood > likely[0], "what is called S1 at the end of a film is often L5"


@pytest.mark.parametrize("shift", [-1, 1])
def test_masks_under_the_other_numbering_and_back(shift: int) -> None:
    masks = np.zeros((6, 64, 48), bool)
    for level, mask in enumerate(masks):
        mask[10 * level : 10 * level + 8] = True
    nameless = np.zeros((64, 48), bool)
    nameless[60:] = True
    before = predicted(masks, replace(CERTAIN, shift=shift))
    before = replace(before, beyond={-1 if shift > 0 else 6: nameless})
    after = before.other_masks
    assert after is not None and np.array_equal(np.roll(after, -shift, 0)[1:-1], masks[1:-1])
    assert np.array_equal(after[0 if shift > 0 else 5], nameless)
    assert np.array_equal(after[5 if shift > 0 else 0], masks[4 if shift > 0 else 1])
    assert predicted(masks).other_masks is None
