"""What a visitor has open: corrections of the names, scores against a reference, and how long it is kept."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from ui_fakes import FILM, bands

from spineseg.film import VERTEBRAE, Spacing
from spineseg.inference.levels import LevelReport
from spineseg.ui.compare import compare
from spineseg.ui.correction import Correction, NothingChosen, pack, unpack
from spineseg.ui.session import Answer, Desk, Shelf


def test_bit_k_is_vertebra_k_and_back() -> None:
    masks = np.zeros((6, 2, 3), bool)
    masks[0, 0, 1] = masks[5, 1, 2] = masks[3, 1, 2] = True
    assert pack(masks).tolist() == [[0, 1, 0], [0, 0, 8 + 32]]
    assert np.array_equal(unpack(pack(masks)), masks)


@pytest.mark.parametrize("shift", [-5, -2, -1, 0, 1, 2, 5])
def test_names_move_down_the_spine_and_one_end_falls_off(shift: int) -> None:
    before, after = bands(), unpack(Correction(shift).applied(pack(bands())))
    for k in range(6):
        source = k - shift
        expected = before[source] if 0 <= source < 6 else np.zeros_like(before[0])
        assert np.array_equal(after[k], expected), VERTEBRAE[k]


def test_moving_there_and_back_loses_nothing() -> None:
    correction = Correction().moved(1).moved(1).moved(-1).moved(-1)
    assert not correction
    assert np.array_equal(correction.applied(pack(bands())), pack(bands()))


def test_a_vertebra_is_dropped_by_the_name_it_bears_now() -> None:
    correction = Correction().moved(1).without(VERTEBRAE.index("L3"))
    masks = unpack(correction.applied(pack(bands())))
    assert [bool(mask.any()) for mask in masks] == [False, True, False, True, True, True]
    assert not (masks & bands()[1]).any(), "the model's L2 bore the name L3"
    assert correction.source(2) is None
    assert correction.source(1) == 0


def test_what_falls_off_and_what_becomes_empty_is_said() -> None:
    here = (True,) * 6
    assert Correction().said(here) == ()
    assert Correction(1).said(here) == (
        "every name 1 level lower",
        "no name is left for what the model called S1",
        "now empty: L1",
    )
    assert Correction(-2).said(here)[0] == "every name 2 levels higher"
    assert Correction(-2).said(here)[1:] == ("no name is left for what the model called L1, L2", "now empty: L5, S1")
    assert Correction(0, frozenset({2})).said(here) == ("left out: what the model called L3",)
    assert Correction(1).said((True, True, True, True, True, False))[1] == "now empty: L1", "no S1, so none is lost"


def test_six_levels_are_refused() -> None:
    with pytest.raises(NothingChosen, match="leave no vertebra"):
        Correction(5).moved(1)


def test_scores_of_equal_masks_and_of_a_shifted_bar() -> None:
    same = compare("a", pack(bands()), "b", pack(bands()), None)
    assert (same.dice, same.iou, same.hd95, same.unit) == ((1.0,) * 6, (1.0,) * 6, (0.0,) * 6, "px")
    assert same.same_names
    assert same.better_shift == 0
    moved = compare("a", pack(np.roll(bands(), 4, axis=2)), "b", pack(bands()), Spacing(0.5, 0.5, "detector"))
    assert moved.dice == pytest.approx((0.75,) * 6), "12 of 16 columns are shared"
    assert moved.iou == pytest.approx((0.6,) * 6)
    assert moved.hd95 == pytest.approx((2.0,) * 6), "4 px of 0.5 mm"
    assert moved.unit == "mm"


@pytest.mark.parametrize("shift", [-1, 1])
def test_names_off_by_one_are_noticed(shift: int) -> None:
    theirs = Correction(shift).applied(pack(bands()))
    found = compare("a", pack(bands()), "b", theirs, None)
    assert not found.same_names
    assert found.better_shift == shift
    assert math.isinf(max(found.hd95)), "one end has no partner"
    written = found.as_dict()["scores"]["L1" if shift > 0 else "S1"]
    assert written["hd95_px"] is None


def test_nothing_in_both_has_no_score() -> None:
    masks = bands()
    masks[0] = False
    found = compare("a", pack(masks), "b", pack(masks), None)
    assert math.isnan(found.dice[0])
    assert found.mean_dice == 1.0
    assert found.as_dict()["scores"]["L1"] == {"dice": None, "iou": None, "hd95_px": None}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return float(self.now)


def desk(token: str = "token") -> Desk:
    return Desk(FILM, token, found=Answer("bands", pack(bands())))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf(clock: Clock) -> Shelf:
    return Shelf(keep_s=600.0, leave_s=60.0, most=3, clock=clock)


def test_a_desk_is_found_by_its_own_session_only(shelf: Shelf) -> None:
    mine = desk()
    assert shelf.put("me", shelf.get("me"), mine)
    place = shelf.get("me")
    assert place and place.desk is mine
    assert shelf.get("you") is None


def test_a_desk_left_alone_is_forgotten_and_a_press_keeps_it(shelf: Shelf, clock: Clock) -> None:
    shelf.put("me", None, desk())
    clock.now = 500
    assert shelf.get("me") is not None
    clock.now = 1000
    assert shelf.get("me") is not None, "kept by the press at 500"
    clock.now = 1601
    shelf.sweep()
    assert len(shelf) == 0


def test_a_closed_tab_is_forgotten_after_a_minute(shelf: Shelf, clock: Clock) -> None:
    shelf.put("me", None, desk())
    shelf.leave("me")
    clock.now = 59
    shelf.sweep()
    assert len(shelf) == 1
    clock.now = 61
    shelf.sweep()
    assert len(shelf) == 0


def test_what_comes_late_finds_no_room(shelf: Shelf) -> None:
    first = shelf.begin("me")
    second = shelf.begin("me")  # another film was chosen while the first was still being read
    assert not shelf.finish("me", first, desk("late"))
    old = shelf.get("me")
    assert shelf.finish("me", second, desk("new"))
    assert not shelf.put("me", old, desk("late")), "masks of the film before"
    place = shelf.get("me")
    assert place and place.desk and place.desk.token == "new"


def test_the_old_film_stays_until_the_new_one_is_read(shelf: Shelf) -> None:
    shelf.put("me", None, desk("old"))
    reading = shelf.begin("me")
    place = shelf.get("me")
    assert place and place.desk and place.desk.token == "old"
    assert shelf.put("me", place, desk("old, with masks")), "what was asked for it may still come"
    assert shelf.finish("me", reading, desk("new"))


def test_the_one_left_alone_longest_makes_room(shelf: Shelf, clock: Clock) -> None:
    for session in "abcd":
        clock.now += 1
        shelf.put(session, None, desk())
    assert [shelf.get(session) is not None for session in "abcd"] == [False, True, True, True]


def test_a_shelf_forgets_by_itself() -> None:
    shelf = Shelf(keep_s=0.05, leave_s=0.05)
    shelf.put("me", None, desk())
    timer = shelf._timer
    assert timer is not None
    assert timer.daemon
    for _ in range(1000):
        if not len(shelf):
            break
        time.sleep(0.02)
    assert len(shelf) == 0


def test_leaving_a_vertebra_out_makes_no_other_one_sure() -> None:
    levels = LevelReport((True,) * 6, (0.9, 0.9, 0.0, 0.9, 0.9, 0.9), 1.0, "unsure", ())
    one = replace(desk(), found=Answer("bands", pack(bands()), levels=levels))
    for correction in (Correction(), Correction().without(0)):
        measured = replace(one, correction=correction).measurements
        assert measured and "unsure" in measured.left_out["L3"]
    moved = replace(one, correction=Correction().moved(1)).measurements
    assert moved and "unsure" not in moved.left_out.get("L4", "")
