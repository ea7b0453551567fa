"""Networks by name: "unet", or `module:factory` of a Python file of the user's.

A factory takes `in_channels` and `out_channels` and returns a torch module. Its logits lie on the grid, or on the grid
divided by a whole number. Nothing here reads a card, so no module is imported because a file names it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn

from spineseg.film import BadInput
from spineseg.model.card import UNET, is_architecture
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.unet import UNet


class BadArchitecture(BadInput):
    """A network that cannot be found or built, or whose logits do not fit the grid."""


def build_network(architecture: str, config: UNetConfig) -> nn.Module:
    """The network with random weights; of `config`, any but the U-Net takes the numbers of channels alone.

    Raises BadArchitecture.
    """
    if architecture == UNET:
        return UNet(config)
    factory = _factory(architecture)
    try:
        network = factory(config.in_channels, config.out_channels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadArchitecture(
            f"{architecture}({config.in_channels}, {config.out_channels}) fails: {_line(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise BadArchitecture(f"{architecture} returns {type(network).__name__}; return a torch.nn.Module")
    return network


def _factory(architecture: str) -> Any:
    """What the user's name stands for, imported as Python finds it."""
    if not is_architecture(architecture):
        raise BadArchitecture(
            f"{architecture} names no network; name a function of an importable file, as my_networks:attention_unet"
        )
    name, _, attribute = architecture.partition(":")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there and lacks something itself
        raise BadArchitecture(
            f"{architecture} is in no module that Python finds; start in the folder of {name}.py, or set PYTHONPATH"
        ) from None
    if not callable(factory := getattr(module, attribute, None)):
        raise BadArchitecture(f"{name} has no function {attribute}; correct the name after the colon")
    return factory


def _line(error: Exception) -> str:
    """What torch says in several lines, as one."""
    return " ".join(str(error).split())


def completed(architecture: str, config: UNetConfig, grid: GridConfig) -> UNetConfig:
    """The configuration with the network's output stride as `patch`: the U-Net's own, any other's from one run."""
    if architecture == UNET:
        return config
    with torch.random.fork_rng(devices=[]):
        network = build_network(architecture, config)
    stride = output_stride(architecture, network, config, grid)
    return UNetConfig(config.in_channels, config.out_channels, patch=stride)


def output_stride(architecture: str, network: nn.Module, config: UNetConfig, grid: GridConfig) -> int:
    """Grid pixels per side of a logit, found by running the network on zeros. Raises BadArchitecture."""
    logits = _logits_of_zeros(architecture, network, (1, config.in_channels, grid.rows, grid.columns))
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    for stride in range(1, grid.rows + 1):
        if shape == (1, config.out_channels, grid.rows / stride, grid.columns / stride):
            return stride
    raise BadArchitecture(
        f"{architecture} gives {shape} for a grid of {grid.rows} x {grid.columns}; return logits of "
        f"1 x {config.out_channels} channels on the grid, or on the grid divided by a whole number"
    )


@torch.inference_mode()
def _logits_of_zeros(architecture: str, network: nn.Module, shape: tuple[int, ...]) -> Any:
    """What the network gives in evaluation, on the device where it is; its mode is left as it was."""
    device, training = next((weights.device for weights in network.parameters()), "cpu"), network.training
    try:
        return network.eval()(torch.zeros(shape, device=device))
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadArchitecture(f"{architecture} fails on an input of {shape}: {_line(error)}") from error
    finally:
        network.train(training)
