"""Losses on logits: binary cross-entropy, Dice, and their sum; and what targets must be.

Each is a mean over films of what each film costs by itself, so that a batch costs the same in one piece or in several.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from spineseg.film import VERTEBRAE, BadInput
from spineseg.model.config import LossName

Batch = Float[Tensor, "film channel rows columns"]


class BadTarget(BadInput):
    """A training target outside 0..1."""


def check_targets(targets: Batch) -> None:
    """Raise BadTarget unless every value lies in 0..1 and no film's vertebrae run from caudal to cranial.

    Binary cross-entropy falls below zero for any other target and PyTorch does not look: 255 at logit +5 gives -1270.
    """
    low, high = targets.min().item(), targets.max().item()
    if not (low >= 0.0 and high <= 1.0):
        raise BadTarget(f"expected targets within 0..1, got {low:g} to {high:g}; store masks as 0 and 1")
    if _tail_first(targets).any():
        wanted = f"expected {VERTEBRAE[0]} above {VERTEBRAE[-1]} on every film"
        raise BadTarget(f"{wanted}, got one the other way round; turn the film, or exchange its channels")


def _tail_first(targets: Batch) -> Bool[Tensor, " film"]:
    """Films on which most pairs of vertebrae run up the film and the spine is more upright than across.

    Most and not all, for where seven channels are reversed the background comes first. On targets where they are, for
    a whole batch at once; `film.down_the_spine` takes the centres of one film and cannot tell a reversed one.
    """
    vertebrae = targets[:, : len(VERTEBRAE)].float()
    there = vertebrae.sum((2, 3)) > 1
    row, column = _middles(vertebrae.sum(3)), _middles(vertebrae.sum(2))
    pairs = (there[:, :, None] & there[:, None, :]).triu(1)
    above = pairs & (row[:, :, None] > row[:, None, :])
    return (above.sum((1, 2)) > 0.6 * pairs.sum((1, 2))) & (_spread(row, there) > _spread(column, there))


def _middles(profile: Float[Tensor, "film vertebra place"]) -> Float[Tensor, "film vertebra"]:
    places = torch.arange(profile.shape[2], device=profile.device, dtype=profile.dtype)
    return (profile * places).sum(2) / profile.sum(2).clamp(min=1e-6)


def _spread(places: Float[Tensor, "film vertebra"], there: Bool[Tensor, "film vertebra"]) -> Float[Tensor, " film"]:
    return places.masked_fill(~there, -torch.inf).amax(1) - places.masked_fill(~there, torch.inf).amin(1)


def bce(logits: Batch, targets: Batch) -> Float[Tensor, ""]:
    """Binary cross-entropy, mean over every pixel of every channel."""
    return functional.binary_cross_entropy_with_logits(logits, targets)


def dice_loss(logits: Batch, targets: Batch) -> Float[Tensor, ""]:
    """1 - soft Dice (Milletari et al. 2016), mean over each film's vertebrae that its target has, then over films.

    Squared terms in the denominator, so that a perfect match of area fractions gives 0. A film without any costs 0.
    """
    probability = torch.sigmoid(logits)
    overlap = (probability * targets).sum((2, 3))
    total = (probability.square() + targets.square()).sum((2, 3))
    present = (targets.sum((2, 3)) > 0).to(logits.dtype)
    loss = 1 - (2 * overlap + 1e-3) / (total + 1e-3)
    return ((loss * present).sum(1) / present.sum(1).clamp(min=1)).mean()


def bce_and_dice(logits: Batch, targets: Batch) -> Float[Tensor, ""]:
    """Sum of both, equally weighted."""
    return bce(logits, targets) + dice_loss(logits, targets)


LOSSES: dict[LossName, Callable[[Batch, Batch], Tensor]] = {"bce": bce, "dice": dice_loss, "bce+dice": bce_and_dice}
