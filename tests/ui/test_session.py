"""What a visitor has open: corrections of the names, and how long it is kept."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from ui_fakes import FILM, bands

from spineseg.film import VERTEBRAE
from spineseg.inference.levels import LevelReport
from spineseg.inference.verdict import CHECK
from spineseg.ui.correction import bits_to_masks, changes, masks_to_bits, runs_of, shifted
from spineseg.ui.session import MaskLayer, SessionState, SessionStore

BITS = masks_to_bits(bands())


def test_bit_k_is_vertebra_k_and_back() -> None:
    masks = np.zeros((len(VERTEBRAE), 2, 3), bool)
    masks[0, 0, 1] = masks[5, 1, 2] = masks[3, 1, 2] = True
    assert masks_to_bits(masks).tolist() == [[0, 1, 0], [0, 0, 8 + 32]]
    assert np.array_equal(bits_to_masks(masks_to_bits(masks)), masks)


@pytest.mark.parametrize("shift", [-5, -2, -1, 0, 1, 2, 5])
def test_names_move_down_the_spine_and_one_end_falls_off(shift: int) -> None:
    before, after = bands(), bits_to_masks(shifted(BITS, shift))
    for k, name in enumerate(VERTEBRAE):
        source = k - shift
        expected = before[source] if 0 <= source < len(VERTEBRAE) else np.zeros_like(before[0])
        assert np.array_equal(after[k], expected), name


def without(bits: np.ndarray, *names: str) -> np.ndarray:
    masks = bits_to_masks(bits)
    masks[[VERTEBRAE.index(name) for name in names]] = False
    return masks_to_bits(masks)


def exchanged(first: str, second: str) -> np.ndarray:
    masks, pair = bands(), [VERTEBRAE.index(first), VERTEBRAE.index(second)]
    masks[pair] = masks[pair[::-1]]
    return masks_to_bits(masks)


def smaller(name: str) -> np.ndarray:
    masks = bands()
    masks[VERTEBRAE.index(name), :, 10:] = False
    return masks_to_bits(masks)


def elsewhere(name: str) -> np.ndarray:
    masks = bands()
    masks[VERTEBRAE.index(name)] = np.roll(masks[VERTEBRAE.index(name)], 18, axis=1)
    return masks_to_bits(masks)


@pytest.mark.parametrize(
    ("model", "corrected", "sentences"),
    [
        (BITS, BITS, ""),
        (BITS, without(BITS, "L3"), "left out: L3"),
        (without(BITS, "S1"), shifted(without(BITS, "S1"), 1), "every name 1 level lower; now empty: L1"),
        (
            BITS,
            shifted(BITS, 1),
            "every name 1 level lower; no name is left for what the model called S1; now empty: L1",
        ),
        (
            BITS,
            shifted(BITS, -2),
            "every name 2 levels higher; no name is left for what the model called L1, L2; now empty: L5, S1",
        ),
        (BITS, exchanged("L4", "L5"), "renamed: L4 (was L5), L5 (was L4)"),
        (BITS, smaller("L2"), "contour changed: L2"),
        (BITS, elsewhere("L2"), "drawn by hand: L2; left out: L2"),
        (without(BITS, "L1"), BITS, "drawn by hand: L1"),
    ],
)
def test_what_a_person_changed_is_found_by_comparing_and_said(
    model: np.ndarray, corrected: np.ndarray, sentences: str
) -> None:
    assert (
        "; ".join(changes(model, corrected).sentences).replace("left out: what the model called", "left out:")
        == sentences
    )


def test_sources_and_what_is_drawn_by_hand() -> None:
    found = changes(BITS, smaller("L2"))
    assert found.sources == (0, 1, 2, 3, 4, 5)
    assert (found.drawn, found.settled, found.left_out) == (("L2",), ("L2",), ())
    moved = changes(BITS, shifted(BITS, 1))
    assert moved.sources == (None, 0, 1, 2, 3, 4)
    assert (moved.drawn, moved.settled, moved.left_out) == ((), VERTEBRAE[1:], ("S1",))


def test_a_body_that_had_no_name_keeps_its_outline_and_says_so() -> None:
    """The model's names are one too low: L1 had none, S1 was left over."""
    model, beyond = shifted(BITS, -1), {-1: runs_of(bands()[0])}
    assert beyond[-1][:3] == [2 * 40 + 5, 16, 24] and sum(beyond[-1]) == 70 * 40
    found = changes(shifted(model, 1), BITS, {-1: runs_of(bands()[0])})
    assert (found.sources, found.drawn) == ((-1, 1, 2, 3, 4, 5), ())
    assert found.sentences == ("renamed: L1 (was without a name)",)
    found = changes(model, BITS, beyond)
    assert (found.sources, found.drawn, found.left_out) == ((-1, 0, 1, 2, 3, 4), (), ())
    assert (found.sentences, found.settled) == (("every name 1 level lower",), VERTEBRAE)
    assert found.as_dict()["vertebrae"]["L1"] == {"model's name": "without a name", "outline": "model"}
    assert changes(model, model, beyond).sources == (0, 1, 2, 3, 4, None)
    assert changes(model, elsewhere("L1"), beyond).drawn == ("L1",)


def test_what_a_person_names_or_draws_is_sure_and_nothing_else_becomes_so() -> None:
    levels = LevelReport((True,) * 6, (0.9, 0.9, 0.0, 0.9, 0.9, 0.9), 1.0, CHECK, ())
    one = SessionState(FILM, "token", layer=MaskLayer("bands", BITS, levels=levels))
    for corrected in (None, without(BITS, "L1"), smaller("L2")):
        measured = replace(one, corrected=corrected).measurements
        assert measured and "uncertain" in measured.left_out["L3"]
    for corrected, name in ((shifted(BITS, 1), "L4"), (smaller("L3"), "L3")):
        measured = replace(one, corrected=corrected).measurements
        assert measured and "uncertain" not in measured.left_out.get(name, "")


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
