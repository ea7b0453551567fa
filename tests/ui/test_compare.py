"""Any two sets of masks over one film: scores, the same bodies or others, moved names; refused references."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ui_fakes import FILM, Bands, FakeCard, bands, handlers, opened, runs_of, segmented, simulated

from spineseg.film import VERTEBRAE, Masks
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.io.labels import Label, read_label
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui import panels, texts
from spineseg.ui.compare import LEAST_FIT, NOTHING, REFERENCES, SHOWN, compare, fit
from spineseg.ui.correction import masks_to_bits, shifted
from spineseg.ui.handlers import Handlers
from spineseg.ui.session import SessionState
from spineseg.ui.viewer import update

BITS = masks_to_bits(bands())
UNSPACED = replace(FILM, spacing=None)
ONE, TWO = REFERENCES


def without(masks: Masks, *names: str) -> Masks:
    masks = masks.copy()
    masks[[VERTEBRAE.index(name) for name in names]] = False
    return masks


# ---- values ----


def test_scores_of_equal_masks_and_of_a_shifted_bar() -> None:
    same = compare("a", BITS, "b", BITS, UNSPACED)
    assert (same.dice, same.iou, same.hd95, same.unit) == ((1.0,) * 6, (1.0,) * 6, (0.0,) * 6, "px")
    assert (same.same_names, same.shift, same.fit, same.apart) == (True, 0, 1.0, False)
    moved = compare("a", masks_to_bits(np.roll(bands(), 4, axis=2)), "b", BITS, FILM)
    assert moved.dice == pytest.approx((0.75,) * 6), "12 of 16 columns are shared"
    assert moved.iou == pytest.approx((0.6,) * 6)
    assert (moved.hd95, moved.unit) == (pytest.approx((2.0,) * 6), "mm"), "4 px of 0.5 mm"
    assert moved.mean_dice == moved.fit == pytest.approx(0.75)


def test_the_same_scores_wherever_the_masks_lie_and_for_both_orders() -> None:
    a, b = bands(), np.roll(without(bands(), "L1"), 3, axis=2)
    there = compare("a", masks_to_bits(a), "b", masks_to_bits(b), FILM)
    back = compare("b", masks_to_bits(b), "a", masks_to_bits(a), FILM)
    assert (there.dice, there.iou, there.hd95, there.fit) == (back.dice, back.iou, back.hd95, back.fit)
    assert (there.only_here, there.only_there) == (back.only_there, back.only_here) == (("L1",), ())
    wide = np.pad(np.stack([a, b]), ((0, 0), (0, 0), (30, 9), (11, 40)))
    again = compare("a", masks_to_bits(wide[0]), "b", masks_to_bits(wide[1]), FILM)
    assert (again.dice, again.hd95) == (there.dice, there.hd95)


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_the_same_bodies_under_moved_names_are_told(shift: int) -> None:
    found = compare("a", BITS, "b", shifted(BITS, shift), UNSPACED)
    assert (found.same_names, found.shift, found.fit) == (False, shift, 1.0)
    assert math.isinf(max(found.hd95)), "one end has no partner"
    assert found.as_dict()["scores"]["L1" if shift > 0 else "S1"]["hd95_px"] is None
    assert compare("b", shifted(BITS, shift), "a", BITS, UNSPACED).shift == -shift


def test_two_exchanged_names_and_a_missing_one_are_no_shift() -> None:
    masks = bands()
    masks[[3, 4]] = masks[[4, 3]]
    for other in (masks, without(bands(), "S1")):
        found = compare("a", BITS, "b", masks_to_bits(other), UNSPACED)
        assert (found.same_names, found.shift, found.apart) == (False, 0, False)


def test_nothing_in_both_has_no_score_and_nothing_at_all_no_fit() -> None:
    bits = masks_to_bits(without(bands(), "L1"))
    found = compare("a", bits, "b", bits, UNSPACED)
    assert math.isnan(found.dice[0])
    assert found.mean_dice == 1.0
    assert found.as_dict()["scores"]["L1"] == {"dice": None, "iou": None, "hd95_px": None}
    assert math.isnan(fit(BITS, np.zeros_like(BITS)))
    assert not compare("a", BITS, "b", np.zeros_like(BITS), FILM).apart


def test_the_fit_is_that_of_the_side_with_fewer_bodies_whatever_their_names() -> None:
    one = without(bands(), "L1", "L2", "L3", "L4", "S1")
    assert fit(masks_to_bits(one), BITS) == 1.0
    assert fit(BITS, masks_to_bits(np.roll(one, 4, axis=2))) == pytest.approx(0.75)
    assert fit(shifted(masks_to_bits(one), -3), BITS) == 1.0


def test_masks_of_another_film_are_told_from_shifted_ones() -> None:
    """All pairs of twelve simulated films of one size: the masks of one over the film of another, and moved names."""
    films = [simulate_case(7, number, SimulateConfig(rows=512)).masks for number in range(12)]
    size = np.max([masks.shape for masks in films], axis=0)
    all_bits = [masks_to_bits(np.pad(m, [(0, most - n) for most, n in zip(size, m.shape, strict=True)])) for m in films]
    fits = [fit(a, b) for k, a in enumerate(all_bits) for b in all_bits[:k]]
    assert np.mean(np.array(fits) < LEAST_FIT) > 0.97
    for bits in all_bits:
        for shift in (-1, 1):
            found = compare("a", bits, "b", shifted(bits, shift), UNSPACED)
            assert (found.shift, found.apart) == (shift, False)


# ---- what is chosen on either side ----


def sides(page: Handlers, state: SessionState, a: str, b: str) -> SessionState:
    compared = page.compare(state, b, a)
    assert compared
    return compared


def sent(masks: Masks) -> dict[str, Any]:
    return {"film": "token", "masks": runs_of(masks)}


def refer(
    page: Handlers, state: SessionState | None, upload: dict, label: Label | None = None, choice: str = ONE
) -> Any:
    path = Path(upload["path"])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"label")
    if label is not None:
        page = replace(page, read_label=lambda path, shape: label)
    after = page.open_reference(state, upload, choice)
    assert not path.exists()
    return after


def test_every_pair_of_the_list_is_scored(upload: dict) -> None:
    page = handlers(Bands(), Bands(shift=4), Bands(shift=8))
    state = page.segment(opened(), "bands", False)
    state = page.correct(state, sent(np.roll(bands(), 2, axis=2)))
    state = refer(page, state, upload, Label(np.roll(bands(), 1, axis=2), 0, 0))
    state = refer(page, state, upload, Label(np.roll(bands(), 6, axis=2), 0, 0), TWO)
    moved = {SHOWN: 2, "bands": 0, "other": 4, "third": 8, ONE: 1, TWO: 6}
    for a, left in moved.items():
        for b, right in moved.items():
            found = sides(page, state, a, b).comparison
            if a == b:
                assert found is None
            else:
                assert found and found.dice == pytest.approx((1 - abs(left - right) / 16,) * 6), (a, b)


def test_a_choice_asks_each_model_once_and_keeps_what_is_compared() -> None:
    models = Bands(), Bands(), Bands()
    page = handlers(*models)
    state = sides(page, segmented(page), "other", "third")
    assert [len(model.seen) for model in models] == [1, 1, 1]
    assert sides(page, state, "other", "third") is state
    state = sides(page, state, "third", "bands")
    assert [len(model.seen) for model in models] == [1, 1, 1] and set(state.others) == {"third", "bands"}
    early = sides(page, opened(), SHOWN, "other")
    assert early.comparison is None and len(models[1].seen) == 1, "a film without masks waits for its own"
    assert page.compare(None, "other") is None
    assert sides(page, state, SHOWN, NOTHING).comparison is None


def test_scores_follow_while_a_person_mends() -> None:
    page = handlers(Bands(), Bands(shift=4))
    state = page.segment(opened(), "bands", False, "other")
    assert state.comparison and state.comparison.mean_dice == pytest.approx(0.75)
    mended = page.correct(state, sent(np.roll(bands(), 4, axis=2)))
    assert mended.comparison and mended.comparison.mean_dice == 1.0
    assert mended.comparison.title == "bands, corrected"
    assert "bands, corrected" in panels.comparison(mended) and "1.000" in panels.comparison(mended)
    own = sides(page, mended, SHOWN, "bands").comparison
    assert own and own.mean_dice == pytest.approx(0.75), "mended against the model's own"


def test_the_viewer_is_sent_the_sides_that_changed() -> None:
    page = handlers(Bands(), Bands(shift=4))
    state = segmented(page)
    assert "sides" not in (update(None, state) or {}), "the film's own against nothing is where a viewer begins"
    compared = sides(page, state, SHOWN, "other")
    payload = update(state, compared) or {}
    assert set(payload) == {"film", "sides"} and list(payload["sides"]) == ["B"]
    assert payload["sides"]["B"]["title"] == "other"
    turned = sides(page, compared, "other", SHOWN)
    assert (update(compared, turned) or {})["sides"]["B"] == SHOWN
    assert (update(turned, sides(page, turned, SHOWN, NOTHING)) or {})["sides"] == {"A": SHOWN, "B": None}
    assert (update(compared, sides(page, compared, SHOWN, SHOWN)) or {})["sides"] == {"A": None, "B": None}


class Elsewhere(Bands):
    """Takes no picture for a lateral lumbar radiograph."""

    def __call__(self, film: Any, /) -> Prediction:
        made = super().__call__(film)
        return replace(made, levels=replace(made.levels, verdict=NOT_LUMBAR))


def test_masks_that_are_held_back_are_compared_once_they_are_asked_for(upload: dict) -> None:
    page = handlers(Bands(), Elsewhere())
    state = page.segment(opened(), "bands", False, "other")
    assert state.comparison is None and "sides" not in (update(None, state) or {})
    assert replace(state, shown_anyway=True).comparison
    page = handlers(Elsewhere())
    state = refer(page, page.segment(opened(), "bands", False), upload)
    state = refer(page, state, upload, choice=TWO)
    assert state.comparison is None
    assert sides(page, state, ONE, TWO).comparison, "what a visitor uploads is shown"


def test_a_model_without_masks_is_said_to_have_none() -> None:
    silent = Bands(answer=np.zeros_like(bands()), card=FakeCard(name="silent", decoder="none"))
    html = panels.comparison(segmented(handlers(Bands(), silent), "other"))
    assert "none of its channels comes above 0.5" in html
    assert "<table" not in html and "name" not in html


def test_menus_say_what_fails_on_purpose() -> None:
    class Broken(dict):
        def __getitem__(self, name: str) -> Bands:
            if name == "broken":
                raise OSError("no file at its path")
            return super().__getitem__(name)

    models = Broken(good=Bands(), bad=Bands(card=FakeCard(fails_on_purpose=True)), broken=Bands())
    page = Handlers(models, lambda path: FILM, read_label, lambda name, film: models[name](film))
    assert page.menu() == [("good", "good"), ("bad (fails on purpose)", "bad"), ("broken", "broken")]


# ---- references ----


def test_reference_is_read_gone_scored_and_its_remarks_are_said(upload: dict) -> None:
    page = handlers()
    state = refer(page, segmented(page), upload)
    assert state.sides == (SHOWN, ONE)
    assert state.comparison and state.comparison.dice == (1.0,) * 6
    assert "3 pixels in more than one vertebra" in panels.comparison(state)
    for kept in (page.compare(state, TWO), page.segment(state, "bands", False, ONE), page.invert(state, True)):
        assert kept and kept.references == state.references
    assert "Choose a file for reference 2." in panels.comparison(page.compare(state, TWO))
    assert refer(page, sides(page, state, ONE, SHOWN), upload).sides == (ONE, SHOWN), "it is on a side already"


def test_a_refused_reference_leaves_no_scores_and_says_why(upload: dict) -> None:
    page = handlers()
    before = refer(page, segmented(page), upload)
    refused = refer(replace(page, read_label=read_label), before, upload)
    assert refused.comparison is None and refused.references == {}
    html = panels.comparison(refused)
    assert html.startswith('<p class="disagree">Reference 1 was refused. ') and "<table" not in html
    assert (update(before, refused) or {})["sides"] == {"B": None}
    assert refused.layer is before.layer, "the film's own masks stay"
    again = refer(page, refused, upload)
    assert again.comparison and "refused" not in panels.comparison(again)
    second = refer(replace(page, read_label=read_label), before, upload, choice=TWO)
    assert second.comparison and "Reference 2 was refused" in panels.comparison(second), "the first one stays"


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        (
            np.zeros((71, 40, 7), np.uint8),
            "This reference does not belong to this film: the film has 70 x 40 rows x columns, the label 71 x 40 x 7",
        ),
        (np.zeros((70, 40, 7), np.uint8), "Expected vertebrae, got none"),
        (bands()[::-1].transpose(1, 2, 0).astype(np.uint8), "going up; turn film and label"),
        (np.full((70, 40, 7), "Doe"), "other values than numbers"),
    ],
)
def test_a_reference_whose_scores_would_mean_nothing_is_refused(upload: dict, masks: np.ndarray, sentence: str) -> None:
    np.save(stream := io.BytesIO(), masks)
    Path(upload["path"]).write_bytes(stream.getvalue())
    state = replace(handlers(), read_label=read_label).open_reference(segmented(), upload)
    assert sentence in panels.comparison(state) and "Doe" not in panels.comparison(state)


def test_a_reference_in_pieces_is_compared_and_remarked_on(upload: dict) -> None:
    masks = bands()
    masks[1, :, :2] |= masks[1].any(axis=1)[:, None]
    state = refer(handlers(), segmented(), upload, Label(masks, 0, 0))
    assert "expected L2 in one piece" in state.references[ONE].remarks[0]


def test_a_reference_of_another_film_is_told_from_moved_names(upload: dict) -> None:
    film, model = simulated()
    page = handlers(model)
    state = page.segment(SessionState(film, "token"), "bands", False)
    stranger = np.roll(model.answer, 70, axis=2)
    shown = panels.comparison(refer(page, state, upload, Label(stranger, 0, 0)))
    assert texts.STRANGER in shown and "their mean Dice is 0." in shown and "name" not in shown
    for shift, way in ((1, "lower"), (-1, "higher")):
        moved = np.stack([shifted(masks_to_bits(model.answer), shift) >> k & 1 for k in range(6)]).astype(bool)
        found = refer(page, state, upload, Label(moved, 0, 0))
        shown = panels.comparison(found)
        assert f"The same bodies, named one level {way} in B." in shown and texts.STRANGER not in shown
        assert f'data-correct="{way}"' in shown, "the film's names move to those of the reference"
        other_way = panels.comparison(sides(page, found, ONE, SHOWN))
        assert f"named one level {'higher' if way == 'lower' else 'lower'} in B" in other_way
        assert f'data-correct="{way}"' in other_way, "the film's names move, on whichever side they are"


def test_a_reference_that_one_model_misses_is_no_stranger(upload: dict) -> None:
    """The reference fits the model on the film, not the one that it is compared with."""
    page = handlers(Bands(), Bands(shift=18))
    state = refer(page, segmented(page), upload)
    found = sides(page, state, "other", ONE)
    assert found.comparison and found.comparison.apart and found.comparison.strangers == ()
    assert "hardly a body in common" in panels.comparison(found)


def test_references_are_compared_with_each_other_and_the_stranger_is_named(upload: dict) -> None:
    page = handlers()
    state = refer(page, segmented(page), upload)
    state = refer(page, state, upload, Label(np.roll(bands(), 18, axis=2), 0, 0), TWO)
    found = sides(page, state, ONE, TWO).comparison
    assert found and found.strangers == ("reference 2",)
    bare = replace(state, layer=None, sides=(ONE, TWO))
    assert bare.comparison and bare.comparison.apart and bare.comparison.strangers == (), "no model was asked"
