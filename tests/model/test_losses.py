"""losses: values worked out by hand, and agreement with PyTorch and MONAI."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses.dice import DiceLoss
from torch import Tensor
from torch.nn import BCEWithLogitsLoss

from spineseg.model.losses import LOSSES, BadTarget, bce, bce_and_dice, check_targets, dice_loss

LOGIT_OF_0 = -40.0
LOGIT_OF_1 = 40.0


def one_pixel(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), float(value))


def masks(*shape: int, seed: int = 0, share: float = 0.3) -> Tensor:
    """Random masks with at least one pixel in each channel."""
    targets = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share).float()
    targets[..., 0, 0] = 1
    return targets


def random_logits(*shape: int, seed: int = 1) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SURE = math.log1p(math.exp(-5))


@pytest.mark.parametrize(
    ("logit", "target", "cost"),
    [
        *((0, target, math.log(2)) for target in (0.0, 0.3, 1.0)),  # undecided
        (5, 1, SURE),
        (5, 0, 5 + SURE),
        (5, 255, -1269.99),  # below zero for a target that is none: the negative losses of the report
        (-5, -1, -4.99),
    ],
)
def test_cross_entropy_by_hand(logit: float, target: float, cost: float):
    assert bce(one_pixel(logit), one_pixel(target)).item() == pytest.approx(cost, abs=0.01 if cost < 0 else 1e-6)


def test_bce_agrees_with_torch_and_the_sum_is_the_sum():
    logits, targets = random_logits(2, 6, 8, 7), masks(2, 6, 8, 7)
    assert bce(logits, targets).item() == BCEWithLogitsLoss()(logits, targets).item()
    total = bce(logits, targets).item() + dice_loss(logits, targets).item()
    assert bce_and_dice(logits, targets).item() == pytest.approx(total)
    assert list(LOSSES.values()) == [bce, dice_loss, bce_and_dice]


def test_dice_of_an_undecided_network_by_hand():
    """Probability 1/2 on four pixels of which one is bone: 2 * 0.5 over (4 * 0.25 + 1)."""
    targets = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert dice_loss(torch.zeros_like(targets), targets).item() == pytest.approx(0.5, abs=1e-3)


def test_dice_of_two_rectangles_that_share_half():
    logits, targets = torch.full((1, 1, 4, 8), LOGIT_OF_0), torch.zeros(1, 1, 4, 8)
    logits[..., 0:4] = LOGIT_OF_1
    targets[..., 2:6] = 1
    assert dice_loss(logits, targets).item() == pytest.approx(1 - 2 * 8 / 32, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_dice_agrees_with_monai_where_every_vertebra_is_there(seed: int):
    logits, targets = random_logits(3, 6, 9, 8, seed=seed), masks(3, 6, 9, 8, seed=seed)
    reference = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1e-3, smooth_dr=1e-3)
    assert dice_loss(logits, targets).item() == pytest.approx(reference(logits, targets).item(), abs=1e-6)


def test_a_perfect_answer_costs_nothing():
    targets = masks(2, 6, 8, 7)
    logits = torch.where(targets > 0, LOGIT_OF_1, LOGIT_OF_0)
    for loss in LOSSES.values():
        assert loss(logits, targets).item() == pytest.approx(0, abs=1e-6)


def test_a_perfect_match_of_area_fractions_has_no_dice_loss():
    """Without the squares 2 * sum(p t) / (sum(p) + sum(t)) would punish every half-covered pixel."""
    targets = torch.rand((1, 6, 8, 7), generator=torch.Generator().manual_seed(0)).clamp(0.01, 0.99)
    assert dice_loss(torch.logit(targets), targets).item() == pytest.approx(0, abs=1e-5)
    unsquared = 1 - 2 * (targets * targets).sum() / (2 * targets.sum())
    assert unsquared > 0.2


def test_dice_counts_each_film_and_vertebra_alike():
    """Three right and one missed are a loss of a quarter, however large the missed one is."""
    targets = torch.zeros(2, 2, 8, 8)
    targets[:, 0, :2, :2] = targets[:, 1] = 1
    logits = torch.where(targets > 0, LOGIT_OF_1, LOGIT_OF_0)
    for film in range(2):
        for vertebra in range(2):
            missed = logits.clone()
            missed[film, vertebra] = LOGIT_OF_0
            assert dice_loss(missed, targets).item() == pytest.approx(1 / 4, abs=1e-3)


def test_a_batch_costs_the_mean_of_its_films():
    """However many vertebrae each shows: then it costs the same in pieces, or spread over processes."""
    logits, targets = random_logits(4, 6, 8, 7), masks(4, 6, 8, 7)
    targets[0, 1:] = targets[2, 4:] = targets[3] = 0
    for loss in LOSSES.values():
        films = [loss(logits[k : k + 1], targets[k : k + 1]).item() for k in range(4)]
        assert loss(logits, targets).item() == pytest.approx(sum(films) / 4, abs=1e-6)


def test_an_absent_vertebra_neither_helps_nor_hurts():
    targets = masks(1, 6, 8, 7)
    logits = random_logits(1, 6, 8, 7)
    without = dice_loss(logits[:, 1:], targets[:, 1:])
    targets[:, 0] = 0
    logits.requires_grad_()
    loss = dice_loss(logits, targets)
    loss.backward()
    assert loss.item() == pytest.approx(without.item())
    assert logits.grad is not None
    assert not logits.grad[:, 0].any()
    assert logits.grad[:, 1:].any()


def test_a_film_without_any_vertebra_has_no_dice_loss_and_a_bce():
    logits, targets = random_logits(1, 6, 8, 7).requires_grad_(), torch.zeros(1, 6, 8, 7)
    loss = dice_loss(logits, targets)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert bce(logits, targets).item() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_stay_finite_at_extreme_logits(name: str):
    logits = torch.tensor([-1e4, -100, 100, 1e4]).reshape(1, 1, 2, 2).requires_grad_()
    LOSSES[name](logits, torch.tensor([1.0, 0, 1, 0]).reshape(1, 1, 2, 2)).backward()  # type: ignore[index]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def spine(films: int = 2, tilt: int = 0, channels: int = 7) -> Tensor:
    """L1 to S1 below each other, each `tilt` columns further; then the background."""
    targets = torch.zeros(films, channels, 40, 40)
    for k in range(6):
        targets[:, k, 2 + 6 * k : 6 + 6 * k, 1 + tilt * k : 5 + tilt * k] = 1
    if channels > 6:
        targets[:, 6] = 1 - targets[:, :6].sum(1)
    return targets


@pytest.mark.parametrize("tilt", [0, 5])
@pytest.mark.parametrize("channels", [6, 7])
def test_films_with_the_spine_reversed_are_refused(tilt: int, channels: int):
    targets = spine(tilt=tilt, channels=channels)
    for right in (targets, targets.flip(3)):
        check_targets(right)
    for axis in (1, 2):  # channels reversed, or rows
        wrong = targets.clone()
        wrong[1] = targets.flip(axis)[1]
        with pytest.raises(BadTarget, match=r"^expected L1 above S1 on every film, got one the other way round;"):
            check_targets(wrong)


def test_a_film_that_shows_little_or_lies_on_its_side_is_let_through():
    targets = spine()
    check_targets(targets.transpose(2, 3))
    check_targets(targets.transpose(2, 3).flip(1))
    targets[0, 1:6] = targets[1, :6] = 0
    check_targets(targets.flip(2))


@pytest.mark.parametrize(
    ("wrong", "seen"), [(255.0, "0 to 255"), (-1.0, "-1 to 1"), (1.001, "0 to 1.001"), (math.nan, "nan to nan")]
)
def test_one_wrong_target_is_refused_in_one_sentence(wrong: float, seen: str):
    targets = masks(2, 6, 4, 4)
    for right in (masks(1, 6, 4, 4), torch.full_like(targets, 0.5), torch.zeros_like(targets)):
        check_targets(right)
    targets[1, 3, 2, 2] = wrong
    with pytest.raises(BadTarget) as caught:
        check_targets(targets)
    assert str(caught.value) == f"expected targets within 0..1, got {seen}; store masks as 0 and 1"
