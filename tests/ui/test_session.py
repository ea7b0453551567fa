"""What a visitor has open: corrections of the names, scores against a reference, and how long it is kept."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from ui_fakes import FILM, bands

from spineseg.film import VERTEBRAE
from spineseg.inference.levels import LevelReport
from spineseg.inference.verdict import CHECK
from spineseg.ui.compare import compare
from spineseg.ui.correction import BadRequest, Correction, bits_to_masks, masks_to_bits
from spineseg.ui.session import MaskLayer, SessionState, SessionStore

BITS = masks_to_bits(bands())


def test_bit_k_is_vertebra_k_and_back() -> None:
    masks = np.zeros((len(VERTEBRAE), 2, 3), bool)
    masks[0, 0, 1] = masks[5, 1, 2] = masks[3, 1, 2] = True
    assert masks_to_bits(masks).tolist() == [[0, 1, 0], [0, 0, 8 + 32]]
    assert np.array_equal(bits_to_masks(masks_to_bits(masks)), masks)


@pytest.mark.parametrize("shift", [-5, -2, -1, 0, 1, 2, 5])
def test_names_move_down_the_spine_and_one_end_falls_off(shift: int) -> None:
    before, after = bands(), bits_to_masks(Correction(shift).applied(BITS))
    for k, name in enumerate(VERTEBRAE):
        source = k - shift
        expected = before[source] if 0 <= source < len(VERTEBRAE) else np.zeros_like(before[0])
        assert np.array_equal(after[k], expected), name


def test_moving_there_and_back_loses_nothing() -> None:
    correction = Correction().moved(1).moved(1).moved(-1).moved(-1)
    assert not correction
    assert np.array_equal(correction.applied(BITS), BITS)
    with pytest.raises(BadRequest, match="leave no vertebra"):
        Correction(len(VERTEBRAE) - 1).moved(1)


def test_a_vertebra_is_dropped_by_the_name_it_bears_now() -> None:
    correction = Correction().moved(1).without(VERTEBRAE.index("L3"))
    masks = bits_to_masks(correction.applied(BITS))
    assert [bool(mask.any()) for mask in masks] == [False, True, False, True, True, True]
    assert not (masks & bands()[1]).any(), "the model's L2 bore the name L3"
    assert (correction.source(2), correction.source(1)) == (None, 0)


@pytest.mark.parametrize(
    ("correction", "absent", "sentences"),
    [
        (Correction(), "", ""),
        (Correction(0, frozenset({2})), "", "left out: what the model called L3"),
        (Correction(1), "S1", "every name 1 level lower; now empty: L1"),
        (Correction(1), "", "every name 1 level lower; no name is left for what the model called S1; now empty: L1"),
        (
            Correction(-2),
            "",
            "every name 2 levels higher; no name is left for what the model called L1, L2; now empty: L5, S1",
        ),
    ],
)
def test_what_falls_off_and_what_becomes_empty_is_said(correction: Correction, absent: str, sentences: str) -> None:
    assert "; ".join(correction.sentences(tuple(name != absent for name in VERTEBRAE))) == sentences


UNSPACED = replace(FILM, spacing=None)


def test_scores_of_equal_masks_and_of_a_shifted_bar() -> None:
    same = compare("a", BITS, "b", BITS, UNSPACED)
    assert (same.dice, same.iou, same.hd95, same.unit) == ((1.0,) * 6, (1.0,) * 6, (0.0,) * 6, "px")
    assert (same.same_names, same.better_shift) == (True, 0)
    moved = compare("a", masks_to_bits(np.roll(bands(), 4, axis=2)), "b", BITS, FILM)
    assert moved.dice == pytest.approx((0.75,) * 6), "12 of 16 columns are shared"
    assert moved.iou == pytest.approx((0.6,) * 6)
    assert (moved.hd95, moved.unit) == (pytest.approx((2.0,) * 6), "mm"), "4 px of 0.5 mm"


@pytest.mark.parametrize("shift", [-1, 1])
def test_names_off_by_one_are_noticed(shift: int) -> None:
    found = compare("a", BITS, "b", Correction(shift).applied(BITS), UNSPACED)
    assert (found.same_names, found.better_shift) == (False, shift)
    assert math.isinf(max(found.hd95)), "one end has no partner"
    assert found.as_dict()["scores"]["L1" if shift > 0 else "S1"]["hd95_px"] is None


def test_nothing_in_both_has_no_score() -> None:
    masks = bands()
    masks[0] = False
    found = compare("a", masks_to_bits(masks), "b", masks_to_bits(masks), UNSPACED)
    assert math.isnan(found.dice[0])
    assert found.mean_dice == 1.0
    assert found.as_dict()["scores"]["L1"] == {"dice": None, "iou": None, "hd95_px": None}


def test_leaving_a_vertebra_out_makes_no_other_one_certain() -> None:
    levels = LevelReport((True,) * 6, (0.9, 0.9, 0.0, 0.9, 0.9, 0.9), 1.0, CHECK, ())
    one = SessionState(FILM, "token", layer=MaskLayer("bands", BITS, levels=levels))
    for correction in (Correction(), Correction().without(0)):
        measured = replace(one, correction=correction).measurements
        assert measured and "uncertain" in measured.left_out["L3"]
    moved = replace(one, correction=Correction().moved(1)).measurements
    assert moved and "uncertain" not in moved.left_out.get("L4", "")


# ---- the store ----


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return float(self.now)


def state(token: str = "token") -> SessionState:
    return SessionState(FILM, token, layer=MaskLayer("bands", BITS))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> SessionStore:
    return SessionStore(idle_s=600.0, closed_s=60.0, most=3, clock=clock)


def token(store: SessionStore) -> str | None:
    entry = store.get("me")
    return entry and entry.state and entry.state.token


def test_a_state_is_found_by_its_own_session_only(store: SessionStore) -> None:
    assert store.replace("me", store.get("me"), state())
    assert token(store) == "token"
    assert store.get("you") is None


def test_an_unused_state_is_forgotten_and_each_use_keeps_it(store: SessionStore, clock: Clock) -> None:
    store.replace("me", None, state())
    for clock.now in (500, 1000):
        assert store.get("me") is not None, "kept by the use before"
    clock.now = 1601
    store.drop_expired()
    assert len(store) == 0


def test_a_closed_tab_is_forgotten_after_a_minute(store: SessionStore, clock: Clock) -> None:
    store.replace("me", None, state())
    store.close_tab("me")
    for clock.now, left in ((59, 1), (61, 0)):
        store.drop_expired()
        assert len(store) == left


def test_the_old_film_stays_until_the_film_chosen_last_is_read(store: SessionStore) -> None:
    store.replace("me", None, state("old"))
    first, second = store.begin_opening("me"), store.begin_opening("me")
    assert not store.finish_opening("me", first, state("late")), "another film was chosen meanwhile"
    assert store.replace("me", store.get("me"), state("old, with masks")), "what was asked for it may still come"
    before = store.get("me")
    assert store.finish_opening("me", second, state("new"))
    assert not store.replace("me", before, state("late")), "masks of the film before"
    assert token(store) == "new"


def test_the_state_unused_longest_makes_room(store: SessionStore, clock: Clock) -> None:
    for session in "abcd":
        clock.now += 1
        store.replace(session, None, state())
    assert [store.get(session) is not None for session in "abcd"] == [False, True, True, True]


def test_a_store_forgets_by_itself() -> None:
    store = SessionStore(idle_s=0.05, closed_s=0.05)
    store.replace("me", None, state())
    assert store._timer and store._timer.daemon
    for _ in range(1000):
        if not len(store):
            break
        time.sleep(0.02)
    assert len(store) == 0
