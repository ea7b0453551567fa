"""Cached films as training batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.utils.data import Dataset

from spineseg.data.augment import AugmentConfig, augment, report_flips
from spineseg.data.cache import DEPTH, ON_FILM, GridCache, masks_of
from spineseg.film import VERTEBRAE
from spineseg.inference.grid import normalise
from spineseg.model.config import GridConfig


class FilmDataset(Dataset[tuple[Tensor, Tensor]]):
    """Cached films as (input channels, targets); each film's changes follow from (seed, epoch, index) alone.

    background: value of the seventh target, where there is one, off every vertebra; anything but 1 is a mistake that
    `check_targets` finds.
    """

    def __init__(
        self,
        cache: GridCache,
        indices: Sequence[int],
        grid: GridConfig,
        *,
        augmentation: AugmentConfig | None,
        out_channels: int = len(VERTEBRAE),
        background: float = 1.0,
        stride: int = 1,
        seed: int = 0,
    ) -> None:
        self.cache, self.indices, self.grid = cache, list(indices), grid
        self.augmentation, self.out_channels, self.stride, self.seed = augmentation, out_channels, stride, seed
        self.background = background
        self.epoch = 0

    @property
    def names(self) -> list[str]:
        """Of the films, in order."""
        return [self.cache.names[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = self.indices[position]
        bits = self.cache.bits[index]
        image = self.cache.images[index].astype(np.float32) / DEPTH
        inside = (bits & ON_FILM) > 0
        masks = masks_of(self.cache, index).astype(np.float32)
        if self.augmentation is None:
            targets = self._complete(_pool(masks, self.stride))
        else:
            rng = np.random.default_rng([self.seed, self.epoch, index])
            image, targets, inside = augment(image, masks, inside, rng, self.augmentation, self.stride)
            targets = self._complete(targets)
            if self.augmentation.flips == "report":
                image, targets, inside = report_flips(image, targets, inside, rng, self.augmentation.flip_probability)
        return torch.from_numpy(normalise(image, inside, self.grid)), torch.from_numpy(targets)

    def _complete(
        self, targets: Float32[np.ndarray, "vertebra rows columns"]
    ) -> Float32[np.ndarray, "channel rows columns"]:
        """With the background as a seventh channel, if the network has one."""
        if self.out_channels == len(VERTEBRAE):
            return targets
        background = np.float32(self.background) * (1 - np.minimum(targets.sum(0, keepdims=True), 1))
        return np.concatenate([targets, background])


def _pool(
    masks: Float32[np.ndarray, "channel rows columns"], stride: int
) -> Float32[np.ndarray, "channel rows_out columns_out"]:
    """Mean over stride x stride pixels."""
    channels, rows, columns = masks.shape
    return masks.reshape(channels, rows // stride, stride, columns // stride, stride).mean((2, 4))
