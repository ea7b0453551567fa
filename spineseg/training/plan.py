"""What a training would do, before it does: films, steps, and time and memory of a few steps on films of noise."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import cast

import torch

from spineseg.model.losses import LOSSES
from spineseg.training.config import TrainConfig
from spineseg.training.fit import fit_to_folder, step_count, what_is_done
from spineseg.training.optimisation import make_optimiser
from spineseg.training.prepare import initial_network, make_accelerator, weights_to_change

_MEASURED_STEPS = 3
_VALIDATION_SHARE = 0.4
"""Time that scoring a film takes over that of training on it: a forward pass without the backward one."""


@dataclass(frozen=True)
class Plan:
    """A training that was not begun. step_s: seconds of one step. memory_gb: at most, on the device that trains."""

    config: TrainConfig
    trained_on: int
    held_back: tuple[str, ...]
    step_s: float
    memory_gb: float

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return step_count(self.trained_on, cast(int, self.config.batch), cast(int, self.config.repeats))

    @property
    def epoch_s(self) -> float:
        """Seconds of an epoch with the score that follows it."""
        film_s = self.step_s / cast(int, self.config.batch)
        return self.steps * self.step_s + len(self.held_back) * film_s * _VALIDATION_SHARE

    def __str__(self) -> str:
        epochs, config = cast(int, self.config.epochs), self.config
        return "\n".join(
            (
                what_is_done(config, self.trained_on, len(self.held_back)),
                f"held back: {', '.join(self.held_back)}",
                f"time: about {_duration(self.epoch_s)} an epoch, {_duration(self.epoch_s * epochs)} in all"
                f" ({self.step_s:.2f} s a step, measured; reading and scoring at full size are not counted)",
                f"memory: {self.memory_gb:.1f} GB",
                f"written to: {config.out}; films on the grid to: {config.cache}",
            )
        )


def make_plan(config: TrainConfig) -> Plan:
    """The plan for the folder. Reads names alone and writes nothing. Raises BadInput as `train` does."""
    config, parts = fit_to_folder(config)
    step_s, memory_gb = _measured(config)
    names = tuple(film.name for film in parts.files(parts.held_back))
    return Plan(config, len(parts.trained_on), names, step_s, memory_gb)


def _measured(config: TrainConfig) -> tuple[float, float]:
    """Seconds of a step, the first left out, and the most memory in GB, on films of noise."""
    accelerator, grid = make_accelerator(config), config.grid
    network = initial_network(config)
    network, optimiser = accelerator.prepare(network, make_optimiser(weights_to_change(network, config), config))
    batch, stride = cast(int, config.batch), config.network.patch
    images = torch.rand(batch, grid.channels, grid.rows, grid.columns, device=accelerator.device)
    targets = torch.zeros(
        batch, config.network.out_channels, grid.rows // stride, grid.columns // stride, device=accelerator.device
    )
    began = time.perf_counter()
    for number in range(1 + _MEASURED_STEPS):
        with accelerator.autocast():
            logits = network(images)
        accelerator.backward(LOSSES[config.loss](logits.float(), targets))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if number == 0:
            began = time.perf_counter()
    return (time.perf_counter() - began) / _MEASURED_STEPS, _memory_gb(accelerator.device)


def _memory_gb(device: torch.device) -> float:
    """The most that was held so far: on a GPU there, else by this process; 0 where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":
        return 0.0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e9 if sys.platform == "darwin" else 1e6)


def _duration(seconds: float) -> str:
    """As a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
