"""The U-Net (Ronneberger et al. 2015, arXiv 1505.04597), with what it needs to count vertebrae from the sacrum.

A pixel's level is known only by counting from S1, so the default pools until one convolution spans the whole film.
It works on 2 x 2 patches of the input (`patch`), which costs a quarter of the arithmetic at the same detail.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spineseg.film import BadInput
from spineseg.model.config import Norm, UNetConfig


class BadGrid(BadInput):
    """A grid that the network cannot halve as often as it pools."""


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


class Block(nn.Sequential):
    """(3 x 3 convolution, normalisation, ReLU) repeated."""

    def __init__(self, channels_in: int, channels_out: int, config: UNetConfig) -> None:
        layers: list[nn.Module] = []
        for index in range(config.convolutions):
            bias = config.norm == "none"
            layers.append(nn.Conv2d(channels_in if index == 0 else channels_out, channels_out, 3, padding=1, bias=bias))
            layers.append(_norm(config.norm, channels_out))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet(nn.Module):
    """Contracting and expanding path with skips; see `UNetConfig`."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.features
        first = config.in_channels * config.patch**2
        self.unshuffle = nn.PixelUnshuffle(config.patch) if config.patch > 1 else nn.Identity()
        self.down = nn.ModuleList(Block(a, b, config) for a, b in zip((first, *widths[:-1]), widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.expand = nn.ModuleList(Block(2 * a, a, config) for a in widths[:-1])
        self.head = nn.Conv2d(widths[0], config.out_channels, 1)
        nn.init.constant_(self.head.bias, math.log(config.prior / (1 - config.prior)))  # type: ignore[arg-type]

    def forward(
        self, image: Float[Tensor, "film channel_in rows columns"]
    ) -> Float[Tensor, "film channel rows_out columns_out"]:
        """Logits on the grid divided by `patch`. Raises BadGrid if the grid is no multiple of the stride."""
        if image.shape[-2] % self.config.stride or image.shape[-1] % self.config.stride:
            rows, columns = image.shape[-2:]
            stride = self.config.stride
            raise BadGrid(
                f"expected a grid in multiples of {stride}, got {rows} x {columns}; change its rows and columns"
            )
        x = self.unshuffle(image)
        skips = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else self.pool(x))
            skips.append(x)
        for up, expand, skip in zip(self.up[::-1], self.expand[::-1], skips[-2::-1], strict=True):
            x = expand(torch.cat([up(x), skip], 1))
        return self.head(x)


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in network.parameters())
