"""How weights are changed: optimiser, learning rate from step to step, moving average, precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from spineseg.training.config import TrainConfig

MOMENTUM = 0.9


def make_optimiser(weights: Iterable[nn.Parameter], config: TrainConfig) -> Optimizer:
    """The optimiser that the configuration names."""
    rate, decay = cast(float, config.learning_rate), config.weight_decay
    if config.optimiser == "sgd":
        return torch.optim.SGD(weights, rate, momentum=MOMENTUM, weight_decay=decay)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(weights, rate, weight_decay=decay)


def rate_factor(config: TrainConfig, steps: int) -> Callable[[int], float]:
    """Share of the learning rate at each step: a linear warm-up, then half a cosine to zero, or a constant."""
    warmup = config.warmup_steps or 0

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(steps - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))

    return factor


def warmed_average(most: float) -> Callable[[Any, Any, Any], None]:
    """How `AveragedModel` takes a step in: the old value keeps (1 + n) / (10 + n) after n steps, at most `most`.

    With a constant share a short training would be judged by its random start: 0.998 keeps 57 % of it after 285 steps.
    Source: `tf.train.ExponentialMovingAverage`, num_updates.
    """

    def step(averaged: Any, current: Any, steps: Any) -> None:
        share = min(most, (1 + float(steps)) / (10 + float(steps)))
        get_ema_multi_avg_fn(share)(averaged, current, steps)

    return step


@torch.no_grad()
def mixed(network: nn.Module, start: nn.Module, share: float) -> nn.Module:
    """A copy of the network whose weights lie between its own and the start's, `share` of the way to the start.

    Source: Wortsman et al. 2022, arXiv 2109.01903 (WiSE-FT).
    """
    between = deepcopy(network)
    for own, old in zip(between.parameters(), start.parameters(), strict=True):
        own.lerp_(old, share)
    return between


def fastest_precision() -> str:
    """Of those that were measured: none for accelerators other than CUDA's, such as MPS."""
    if torch.accelerator.is_available():
        return "fp16" if torch.cuda.is_available() else "no"
    return "bf16" if _cpu_multiplies_bf16() else "no"


def _cpu_multiplies_bf16() -> bool:
    """Whether oneDNN does; builds of torch without it, such as for Apple silicon, lack the question too."""
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return torch.backends.mkldnn.is_available() and ask is not None and ask()
