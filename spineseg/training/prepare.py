"""What a run is prepared with: films, network, optimiser, schedule and average, on the devices where they are used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from spineseg.data.augment import Transform
from spineseg.data.cache import GridCache, build_cache
from spineseg.data.dataset import FilmDataset
from spineseg.film import BadInput
from spineseg.model.architectures import build_network
from spineseg.model.checkpoint import load_checkpoint
from spineseg.model.unet import UNet
from spineseg.training.config import SCRATCH, TrainConfig
from spineseg.training.fit import Parts
from spineseg.training.optimisation import fastest_precision, make_optimiser, mixed, rate_factor, warmed_average
from spineseg.training.state import leave_ctrl_c_alone


def make_accelerator(config: TrainConfig) -> Accelerator:
    """For one run. The order of the films follows from the seed and the epoch alone.

    Raises BadInput if several processes were started that are not connected: each would write the same files.
    """
    loading = DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True, data_seed=config.seed)
    precision = fastest_precision() if config.precision == "auto" else config.precision
    # Unless told that they run on the CPU, Accelerate does not connect CPU processes.
    cpu = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, dataloader_config=loading)
    if accelerator.num_processes < (started := int(os.environ.get("WORLD_SIZE", "1"))):
        raise BadInput(
            f"expected {started} processes to train together, got each alone; start one, or use accelerate launch --cpu"
        )
    return accelerator


@dataclass(frozen=True, eq=False)
class Run:
    """State of one training run; made by `prepare`. start: what it began with, where that is mixed in again."""

    config: TrainConfig
    accelerator: Accelerator
    films: FilmDataset
    batches: DataLoader
    validation_batches: DataLoader
    network: nn.Module
    optimiser: Any
    schedule: torch.optim.lr_scheduler.LambdaLR
    average: AveragedModel
    start: nn.Module | None

    @property
    def quiet(self) -> bool:
        """Whether another process of this machine shows progress."""
        return not self.accelerator.is_local_main_process

    @property
    def held_back(self) -> FilmDataset:
        """The films that nothing is learnt from."""
        return cast(FilmDataset, self.validation_batches.dataset)

    def network_to_save(self) -> nn.Module:
        """The network that is validated and saved: averaged over steps, mixed with the start, as asked."""
        trained = self.average.module if self.config.average else self.accelerator.unwrap_model(self.network)
        return trained if self.start is None else mixed(trained, self.start, self.config.keep)


def prepare(config: TrainConfig, parts: Parts, accelerator: Accelerator, transform: Transform | None) -> Run:
    """Films, network, optimiser, schedule and average, on the devices where they will be used.

    config: with nothing left open. Raises BadInput if the processes cannot share a batch, and what reading raises.
    """
    batch = cast(int, config.batch)
    if batch % (processes := accelerator.num_processes):
        raise BadInput(f"expected films per step that {processes} processes share evenly, got {batch}; set --batch")
    films, held_back = _datasets(config, parts, accelerator, transform)
    # Workers start anew each epoch, because they hold a copy of the dataset and its epoch decides the changes.
    batches = DataLoader(
        films,
        batch,
        shuffle=True,
        num_workers=config.workers,
        drop_last=True,
        worker_init_fn=leave_ctrl_c_alone if config.workers else None,
    )
    validation_batches = DataLoader(held_back, batch)
    network = initial_network(config)
    start = deepcopy(network).to(accelerator.device) if config.keep and config.start != SCRATCH else None
    optimiser = make_optimiser(weights_to_change(network, config), config)
    network, optimiser, batches, validation_batches = accelerator.prepare(
        network, optimiser, batches, validation_batches
    )
    factor = rate_factor(config, len(batches) * cast(int, config.epochs))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    average = AveragedModel(accelerator.unwrap_model(network), multi_avg_fn=warmed_average(config.average))
    accelerator.register_for_checkpointing(schedule, average)
    return Run(config, accelerator, films, batches, validation_batches, network, optimiser, schedule, average, start)


def _datasets(
    config: TrainConfig, parts: Parts, accelerator: Accelerator, transform: Transform | None
) -> tuple[FilmDataset, FilmDataset]:
    """To train on, with random changes; held back, without."""
    progress = partial(tqdm, desc="reading films", unit="film", disable=not accelerator.is_local_main_process)
    folder = cast(Path, config.cache)
    with accelerator.local_main_process_first():
        cache = build_cache(parts.labelled, config.grid, folder, processes=config.workers, progress=progress)
    dataset = partial(dataset_of, cache, config)
    return dataset(parts.trained_on, changed=True, transform=transform), dataset(parts.held_back, changed=False)


def dataset_of(
    cache: GridCache,
    config: TrainConfig,
    indices: Sequence[int],
    *,
    changed: bool,
    transform: Transform | None = None,
) -> FilmDataset:
    """Films of the cache as the configuration wants them, with its random changes or without."""
    return FilmDataset(
        cache,
        indices,
        config.grid,
        augmentation=config.augment if changed else None,
        out_channels=config.network.out_channels,
        transform=transform,
        stride=config.network.patch,
        seed=config.seed,
        repeats=(config.repeats or 1) if changed else 1,
    )


def weights_to_change(network: nn.Module, config: TrainConfig) -> list[nn.Parameter]:
    """The weights that the configuration has changed; the others are frozen. Of another architecture it is all."""
    if config.start != SCRATCH and config.tune == "decoder" and isinstance(network, UNet):
        network.down.requires_grad_(False)
    return [weight for weight in network.parameters() if weight.requires_grad]


def initial_network(config: TrainConfig) -> nn.Module:
    """The checkpoint's, or with random weights."""
    if config.start == SCRATCH:
        return build_network(config.architecture, config.network)
    return load_checkpoint(config.start, config.architecture)[0]
