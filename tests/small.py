"""Small films, masks, networks and trainings that several tests share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spineseg.film import VERTEBRAE, Masks
from spineseg.io.folder import write_case
from spineseg.model.card import Card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.unet import UNet
from spineseg.simulate import SimulateConfig, write_folder
from spineseg.training.config import TrainConfig

TINY, GRID = UNetConfig(features=(4, 6)), GridConfig(rows=64, columns=48)


def rectangles(
    shape: tuple[int, int], top: int, pitch: int, height: int, left: int, width: int, *, slant: int = 0
) -> Masks:
    """Six bodies, one below the other, `pitch` rows and `slant` columns apart."""
    masks = np.zeros((len(VERTEBRAE), *shape), np.bool_)
    for k, mask in enumerate(masks):
        mask[top + pitch * k : top + pitch * k + height, left + slant * k : left + slant * k + width] = True
    return masks


def simulate_films(folder: Path, count: int, seed: int = 1, rows: int = 128) -> Path:
    """Whole simulated spines with labels, as `train` reads them."""
    write_folder(folder, count, seed, SimulateConfig(rows=rows, crop_probability=0.0), write=write_case)
    return folder


def write_checkpoint(
    path: Path, network: UNetConfig = TINY, grid: GridConfig = GRID, *, contrast: float = 1.0, **card: Any
) -> Card:
    """Random weights, the same every time. contrast: of the logits from pixel to pixel; of 20 shows some bone."""
    made = Card(**{"name": path.stem, "grid": grid, "network": network} | card)
    save_checkpoint(path, random_network(network, contrast), made)
    return made


def random_network(config: UNetConfig, contrast: float = 1.0) -> UNet:
    torch.manual_seed(1)
    network = UNet(config)
    with torch.no_grad():
        network.head.weight.mul_(contrast)
    return network


def small_training(data: Path, out: Path, **changes: Any) -> TrainConfig:
    """Three epochs of films in batches of five, with shuffling and random changes."""
    config = TrainConfig(data, out, "scratch", network=TINY, grid=GridConfig(rows=64, columns=64), epochs=3, batch=5)
    quick = {"learning_rate": 1e-2, "warmup_steps": 2, "average": 0.5, "validation": 1 / 6, "seed": 4}
    return replace(config, **{**quick, "precision": "no", "workers": 0, **changes})
