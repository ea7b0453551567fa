"""Networks of a user's own, and what a user may get wrong: factories for test_architectures.py."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def whole(in_channels: int, out_channels: int) -> nn.Module:
    """Logits on the grid; its constructor reads a value, which the meta device has not."""
    float(torch.linspace(0, 0.1, 3)[1])
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, out_channels, 1))


def quarter(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 4, stride=4)


def smaller(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3)


def uneven(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, (4, 2), stride=(4, 2))


def three_channels(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, 3, 1)


def volume(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv3d(in_channels, out_channels, 1)


class Deep(nn.Conv2d):
    """Deep supervision."""

    def forward(self, input: Tensor) -> list[Tensor]:  # type: ignore[override]
        return [super().forward(input)]


def several(in_channels: int, out_channels: int) -> nn.Module:
    return Deep(in_channels, out_channels, 1)


def no_module(in_channels: int, out_channels: int) -> int:
    return 3


def no_arguments() -> nn.Module:
    return nn.Identity()


not_callable = 3
