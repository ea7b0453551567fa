"""Losses on logits: binary cross-entropy, Dice, and their sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from spineseg.film import BadInput

Batch = Float[Tensor, "film channel rows columns"]
LossName = Literal["bce", "dice", "bce+dice"]


class BadTarget(BadInput):
    """A training target outside 0..1."""


def check_targets(targets: Batch) -> None:
    """Raise BadTarget unless every value lies in 0..1.

    Binary cross-entropy falls below zero for any other target and PyTorch does not look: 255 at logit +5 gives -1270.
    """
    low, high = targets.min().item(), targets.max().item()
    if not (low >= 0.0 and high <= 1.0):
        raise BadTarget(f"expected targets within 0..1, got {low:g} to {high:g}; store masks as 0 and 1")


def bce(logits: Batch, targets: Batch) -> Float[Tensor, ""]:
    """Binary cross-entropy, mean over every pixel of every channel."""
    return functional.binary_cross_entropy_with_logits(logits, targets)


def dice_loss(logits: Batch, targets: Batch) -> Float[Tensor, ""]:
    """1 - soft Dice (Milletari et al. 2016) of each film and vertebra, mean over those present in the target.

    Squared terms in the denominator, so that a perfect match of area fractions gives 0.
    """
    probability = torch.sigmoid(logits)
    overlap = (probability * targets).sum((2, 3))
    total = (probability.square() + targets.square()).sum((2, 3))
    present = (targets.sum((2, 3)) > 0).to(logits.dtype)
    loss = 1 - (2 * overlap + 1e-3) / (total + 1e-3)
    return (loss * present).sum() / present.sum().clamp(min=1)


def bce_and_dice(logits: Batch, targets: Batch) -> Float[Tensor, ""]:
    """Sum of both, equally weighted."""
    return bce(logits, targets) + dice_loss(logits, targets)


LOSSES: dict[LossName, Callable[[Batch, Batch], Tensor]] = {"bce": bce, "dice": dice_loss, "bce+dice": bce_and_dice}
