"""Train a checkpoint on with two more maps as targets and S1's lower edge hidden at random; the maps are then left out.

Usage: python -m experiments.auxiliary_maps --data DIR --out FILE --from CHECKPOINT [--epochs 4] [--keep 0.2]

Borders of bodies and the discs between them are what separates neighbours. The published weights were trained so
(LOG.md, 2026-11-28). keep: share of the start's weights in the result.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from experiments.auxiliary_maps.changes import hidden_and_mapped
from spineseg.allocator import disable_mmap_and_trim
from spineseg.data.cache import build_cache
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
from spineseg.model.losses import bce_and_dice
from spineseg.model.unet import UNet
from spineseg.training.config import TrainConfig
from spineseg.training.fit import fit_to_folder
from spineseg.training.optimisation import make_optimiser, mixed, rate_factor, warmed_average
from spineseg.training.prepare import dataset_of, make_accelerator

MAPS = 2


def with_maps(network: UNet) -> UNet:
    """A copy with `MAPS` more channels, which begin as improbable everywhere."""
    weight, bias = network.head.weight, cast(torch.Tensor, network.head.bias)
    more = torch.zeros(MAPS, *weight.shape[1:])
    return _with_head(network, torch.cat([weight, more]), torch.cat([bias, torch.full((MAPS,), -3.0)]))


def without_maps(network: UNet) -> UNet:
    """A copy without them."""
    return _with_head(network, network.head.weight[:-MAPS], cast(torch.Tensor, network.head.bias)[:-MAPS])


@torch.no_grad()
def _with_head(network: UNet, weight: torch.Tensor, bias: torch.Tensor) -> UNet:
    changed = deepcopy(network)
    changed.head = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    changed.head.weight.copy_(weight)
    cast(torch.Tensor, changed.head.bias).copy_(bias)
    return changed


def train(config: TrainConfig) -> None:
    """Write the checkpoint `config.out`, whose card is that of `config.start`."""
    config, parts = fit_to_folder(config)
    torch.manual_seed(config.seed)
    start, card = load_checkpoint(cast(Path, config.start))
    accelerator, network = make_accelerator(config), with_maps(cast(UNet, start))
    cache = build_cache(parts.labelled, config.grid, cast(Path, config.cache), processes=config.workers, progress=tqdm)
    films = dataset_of(cache, config, parts.trained_on, changed=True, transform=hidden_and_mapped)
    batches = DataLoader(films, config.batch, shuffle=True, num_workers=config.workers, drop_last=True)
    optimiser, epochs = make_optimiser(network.parameters(), config), cast(int, config.epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_factor(config, len(batches) * epochs))
    average = AveragedModel(network, multi_avg_fn=warmed_average(config.average))
    for epoch in range(epochs):
        films.epoch = epoch
        for images, targets in tqdm(batches, desc=f"epoch {epoch + 1} of {epochs}"):
            with accelerator.autocast():
                loss = bce_and_dice(network(images), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            average.update_parameters(network)
        save_checkpoint(config.out, mixed(without_maps(cast(UNet, average.module)), start, config.keep), card)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, train."""
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m experiments.auxiliary_maps", description=description)
    for name in ("--data", "--out", "--from"):
        parser.add_argument(name, type=Path, required=True, dest={"--from": "start"}.get(name))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--keep", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--warmup-steps", type=int, default=50)
    chosen = vars(parser.parse_args(arguments))
    disable_mmap_and_trim()
    cache = chosen["out"].with_name("cache")
    train(TrainConfig(**chosen, tune="all", learning_rate=1e-3, cache=cache))
    return 0


if __name__ == "__main__":
    sys.exit(main())
