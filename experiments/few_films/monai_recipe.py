"""The usual alternative, for the same time on the same films: MONAI's BasicUNet from random weights.

Its input, grid and decoding are those of the published network, so that only network, loss and training differ.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spineseg.data.augment import Transform
from spineseg.data.cache import build_cache
from spineseg.data.dataset import FilmDataset
from spineseg.film import VERTEBRAE
from spineseg.io.folder import labelled_films
from spineseg.model.card import Card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig

ARCHITECTURE = f"{__name__}:basic_unet"
_BATCH, _LEARNING_RATE = 4, 1e-3


def basic_unet(in_channels: int, out_channels: int) -> nn.Module:
    """With MONAI's own widths and instance normalisation."""
    from monai.networks.nets.basic_unet import BasicUNet

    return BasicUNet(2, in_channels, out_channels)


def train_for(seconds: float, folder: Path, out: Path, seed: int) -> Path:
    """The checkpoint after so many seconds of steps on all films of the folder; DiceLoss and cross entropy, AdamW."""
    from monai.losses.dice import DiceLoss

    torch.manual_seed(seed)
    grid = GridConfig()
    network = basic_unet(grid.channels, len(VERTEBRAE)).train()
    optimiser = torch.optim.AdamW(network.parameters(), _LEARNING_RATE)
    dice, entropy = DiceLoss(sigmoid=True, batch=True), nn.BCEWithLogitsLoss()
    films = labelled_films(folder)
    cache = build_cache(films, grid, out / "cache")
    dataset = FilmDataset(cache, range(len(films)), grid, augmentation=None, transform=changed())
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        dataset.epoch += 1
        for channels, targets in DataLoader(dataset, _BATCH, shuffle=True):
            step(optimiser, dice(logits := network(channels), targets) + entropy(logits, targets))
            if time.monotonic() >= began + seconds:
                break
    config = UNetConfig(grid.channels, len(VERTEBRAE), patch=1)
    save_checkpoint(
        weights := out / "last.safetensors", network, Card("monai", grid, config, architecture=ARCHITECTURE)
    )
    return weights


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One change of the weights."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def changed() -> Transform:
    """MONAI's random turns, sizes, places, contrast and noise, as `FilmDataset` takes a change."""
    from monai.transforms.compose import Compose
    from monai.transforms.intensity.dictionary import RandAdjustContrastd, RandGaussianNoised
    from monai.transforms.spatial.dictionary import RandAffined

    all_three, modes = ("image", "targets", "inside"), ("bilinear", "bilinear", "nearest")
    moves: dict[str, Any] = {"rotate_range": 0.15, "scale_range": (0.15, 0.15), "translate_range": (25, 25)}
    change = Compose(
        [
            RandAffined(all_three, prob=0.8, mode=modes, padding_mode="zeros", **moves),
            RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
            RandGaussianNoised("image", prob=0.3, std=0.02),
        ]
    )

    def transform(image: Any, targets: Any, inside: Any, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        change.set_random_state(seed=int(rng.integers(2**31)))
        films: Any = change({"image": image[None], "targets": targets, "inside": inside[None].astype(np.float32)})
        made = {name: np.asarray(value, np.float32) for name, value in films.items()}
        return made["image"][0], made["targets"], made["inside"][0] > 0.5

    return transform
