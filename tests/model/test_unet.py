"""network: what one logit can see, sizes, and independence of the films of a batch."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from spineseg.film import BadInput
from spineseg.model.config import GridConfig, UNetConfig, receptive_field
from spineseg.model.unet import BadGrid, UNet, parameter_count

SMALL = UNetConfig(features=(4, 6, 8))
WIDE = UNetConfig(in_channels=1, features=(64, 128, 256, 512, 1024), patch=1, norm="none", prior=0.5)
"""The U-Net of the paper but for its padding, as the report trained it."""


def linear(config: UNetConfig) -> UNet:
    """The network with means for maxima and no ReLU, all weights positive: its gradient is its reach, not its taste."""
    network = UNet(replace(config, features=(1,) * len(config.features), norm="none")).double()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(2))
    for weights in network.parameters():
        nn.init.constant_(weights, 1 / weights[0].numel())
    return network


def heights_seen(config: UNetConfig) -> set[int]:
    """Rows that a logit in the middle of a large, narrow grid depends on, for each way it lies in the pooling cells."""
    field, stride = receptive_field(config), config.stride
    rows = 2 * math.ceil(0.75 * field / stride) * stride
    middle = rows // 2 // config.patch
    network = linear(config)
    places = [(row, 0) for row in range(middle, middle + stride // config.patch)]
    return {last - first + 1 for first, last, *_ in seen(network, (rows, stride), places)}


def seen(network: UNet, shape: tuple[int, int], places: list[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """First and last row, first and last column of the input that the logit at each (row, column) depends on."""
    image = torch.zeros(1, network.config.in_channels, *shape, dtype=torch.double, requires_grad=True)
    logits, boxes = network(image), []
    for row, column in places:
        (gradient,) = torch.autograd.grad(logits[0, 0, row, column], image, retain_graph=True)
        rows, columns = (gradient[0].any(0).any(axis).nonzero() for axis in (1, 0))
        boxes.append((int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])))
    return boxes


def test_every_pixel_of_the_default_sees_the_whole_film():
    shape = (GridConfig().rows, GridConfig().columns)
    places = [(0, 0), (255, 191), (0, 191), (255, 0), (131, 64)]
    assert set(seen(linear(UNetConfig()), shape, places)) == {(0, shape[0] - 1, 0, shape[1] - 1)}


def test_the_computed_field_spans_the_film_or_too_few_levels():
    """By default from corner to corner. 200 px of the paper's network were two levels of the report's films."""
    grid = GridConfig()
    assert receptive_field(UNetConfig()) >= 2 * max(grid.rows, grid.columns) - 1
    assert receptive_field(WIDE) == receptive_field(replace(WIDE, out_channels=7)) == 200
    assert sorted(heights_seen(WIDE)) == [188, 204]


@pytest.mark.parametrize(
    ("features", "patch", "convolutions", "expected"),
    [
        (1, 1, 1, 3),  # one 3 x 3 convolution
        (1, 1, 2, 5),
        (1, 2, 2, 10),  # the same on patches of 2
        (2, 1, 2, 18),  # 5, pooled 6, two at half size + 8, two at full size + 4
        (3, 1, 2, 44),
        (3, 2, 2, 88),
    ],
)
def test_the_computed_field_is_the_probed_one(features: int, patch: int, convolutions: int, expected: int):
    config = UNetConfig(in_channels=1, features=(1,) * features, patch=patch, convolutions=convolutions)
    assert receptive_field(config) == expected
    assert heights_seen(config) == {expected}


SHAPES = [
    (UNetConfig(), 128, (256, 192)),
    (WIDE, 16, (512, 384)),
    (replace(WIDE, out_channels=7), 16, (512, 384)),
    *((replace(SMALL, patch=patch), 4 * patch, (512 // patch, 384 // patch)) for patch in (1, 2, 4)),
]


@pytest.mark.parametrize(("config", "stride", "logits"), SHAPES)
def test_logits_are_on_the_grid_divided_by_the_patch(config: UNetConfig, stride: int, logits: tuple[int, int]):
    assert config.stride == stride
    with torch.device("meta"):  # shapes alone, nothing is computed
        shape = UNet(config)(torch.zeros(2, config.in_channels, 512, 384)).shape
    assert shape == (2, config.out_channels, *logits)


def test_the_number_of_weights():
    """By hand for the paper's: 3 x 3 convolutions, 2 x 2 transposed ones and the head, each with its bias."""
    widths = (1, *WIDE.features)
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in pairwise(widths))
    up = sum(4 * b * a + a + 9 * 2 * a * a + a + 9 * a * a + a for a, b in pairwise(widths[1:]))
    with torch.device("meta"):
        assert parameter_count(UNet(WIDE)) == down + up + 64 * 6 + 6 == 31_030_918


@pytest.mark.parametrize("shape", [(100, 128), (128, 100)])
def test_a_grid_that_cannot_be_halved_often_enough_is_refused_in_one_sentence(shape: tuple[int, int]):
    with pytest.raises(BadGrid) as caught:
        UNet(replace(SMALL, patch=2))(torch.zeros(1, 2, *shape))
    assert isinstance(caught.value, BadInput)
    assert str(caught.value) == (
        f"expected a grid in multiples of 8, got {shape[0]} x {shape[1]}; change its rows and columns"
    )


def largest_difference(config: UNetConfig) -> float:
    """Between the logits of four unlike films in one batch and one by one."""
    torch.manual_seed(0)
    network = UNet(config)
    films = torch.randn(4, 2, 32, 24) * torch.tensor([0.1, 1.0, 3.0, 10.0])[:, None, None, None]
    with torch.no_grad():
        return float((network(films) - torch.cat([network(film[None]) for film in films])).abs().max())


def test_each_film_is_looked_at_alone_but_for_batch_norm():
    assert largest_difference(replace(SMALL, norm="instance")) < 1e-5
    assert largest_difference(replace(SMALL, norm="none")) < 1e-5
    assert largest_difference(replace(SMALL, norm="batch")) > 0.01, "the two lines above could not fail"


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, prior=0.5), replace(SMALL, prior=0.1, norm="none")])
def test_training_starts_from_the_prior(config: UNetConfig):
    torch.manual_seed(0)
    network = UNet(config)
    with torch.no_grad():
        start = torch.sigmoid(network(torch.randn(1, 2, 64, 64))).mean((0, 2, 3))
        assert start.max() < 2 * config.prior
        assert start.min() > config.prior / 2
        nn.init.zeros_(network.head.weight)
        start = torch.sigmoid(network(torch.randn(1, 2, 64, 64)))
    assert torch.allclose(start, torch.tensor(config.prior))


def test_every_weight_is_trained():
    network = UNet(SMALL)
    network(torch.randn(1, 2, 32, 32)).square().sum().backward()
    assert [name for name, weights in network.named_parameters() if weights.grad is None] == []
