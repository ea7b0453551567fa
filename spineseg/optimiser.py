"""How weights are changed: the optimiser, and its learning rate from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from spineseg.recipe import TrainConfig

MOMENTUM = 0.9


def make_optimiser(weights: Iterable[nn.Parameter], config: TrainConfig) -> Optimizer:
    """The optimiser that the configuration names."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimiser == "sgd":
        return torch.optim.SGD(weights, rate, momentum=MOMENTUM, weight_decay=decay)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(weights, rate, weight_decay=decay)


def rate_factor(config: TrainConfig, steps: int) -> Callable[[int], float]:
    """Share of the learning rate at each step: a linear warm-up, then half a cosine to zero, or a constant."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "constant":
            return 1.0
        done = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))

    return factor
