"""Cached films as training batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.utils.data import Dataset

from spineseg.data.augment import AugmentConfig, Transform, augment
from spineseg.data.cache import GridCache
from spineseg.film import VERTEBRAE
from spineseg.inference.grid import normalise
from spineseg.model.config import GridConfig


class FilmDataset(Dataset[tuple[Tensor, Tensor]]):
    """Cached films as (input channels, targets); each film's changes follow from (seed, epoch, index, turn) alone.

    augmentation: None for films as they are. transform: a change of your own after it. out_channels: the vertebrae, or
    one more for the background. stride: grid pixels per side of a target. repeats: how often each film is there, each
    time changed anew.
    """

    def __init__(
        self,
        cache: GridCache,
        indices: Sequence[int],
        grid: GridConfig,
        *,
        augmentation: AugmentConfig | None,
        transform: Transform | None = None,
        out_channels: int = len(VERTEBRAE),
        stride: int = 1,
        seed: int = 0,
        repeats: int = 1,
    ) -> None:
        self.cache, self.indices, self.grid = cache, list(indices), grid
        self.augmentation, self.transform = augmentation, transform
        self.out_channels, self.stride, self.seed = out_channels, stride, seed
        self.repeats, self.epoch = repeats, 0

    @property
    def names(self) -> list[str]:
        """Of the films, in order."""
        return [self.cache.names[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices) * self.repeats

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        if not 0 <= position < len(self):
            raise IndexError(f"expected a position below {len(self)}, got {position}")
        turn, place = divmod(position, len(self.indices))
        index = self.indices[place]
        image, masks, inside = self.cache.film(index)
        fractions = masks.astype(np.float32)
        rng = np.random.default_rng([self.seed, self.epoch, index, *([turn] if turn else [])])
        if self.augmentation is None:
            targets = _pool(fractions, self.stride)
        else:
            image, targets, inside = augment(image, fractions, inside, rng, self.augmentation, self.stride)
        if self.out_channels > len(VERTEBRAE):
            targets = np.concatenate([targets, 1 - np.minimum(targets.sum(0, keepdims=True), 1)])
        if self.transform:
            image, targets, inside = map(np.ascontiguousarray, self.transform(image, targets, inside, rng))
        return torch.from_numpy(normalise(image, inside, self.grid)), torch.from_numpy(targets)


def _pool(
    masks: Float32[np.ndarray, "channel rows columns"], stride: int
) -> Float32[np.ndarray, "channel rows_out columns_out"]:
    """Mean over stride x stride pixels."""
    channels, rows, columns = masks.shape
    return masks.reshape(channels, rows // stride, stride, columns // stride, stride).mean((2, 4))
