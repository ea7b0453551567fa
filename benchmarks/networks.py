"""Networks as benchmarks time them, the work that they are, and what the machine could do of it.

Work is counted by hooks on the layers: multiply-adds of convolutions and matrices, and the bytes of each layer's
input, weights and output, as if every layer read from memory and wrote back to it. `torch.cat` and interpolation are
no layers and are not counted. The roofline (Williams et al. 2009, doi 10.1145/1498765.1498785) is the time that the
work would take at the measured rates, each layer bound by arithmetic or by memory, whichever takes longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.running import Row
from spineseg.film import VERTEBRAE
from spineseg.model.unet import parameter_count


class Probabilities(nn.Module):
    """A network with all that follows up to probabilities of the six vertebrae on its grid, as `Segmenter` does it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> Tensor:
        """(film, channel, rows, columns) to 0..1, float32 (film, 6, rows, columns)."""
        logits = self.network(batch).float()
        if logits.shape[-2:] != batch.shape[-2:]:
            logits = functional.interpolate(logits, size=batch.shape[-2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(logits)[:, : len(VERTEBRAE)]


@dataclass(frozen=True)
class Work:
    """Of one layer, or of a network on one batch."""

    multiply_adds: int
    bytes_moved: int


@dataclass(frozen=True)
class Counted:
    """A network's weights, and the work of each of its layers."""

    weights: int
    layers: tuple[Work, ...]

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def bytes_moved(self) -> int:
        """By all layers."""
        return sum(layer.bytes_moved for layer in self.layers)


def multiply_adds(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Of one layer; 0 for one that is neither a convolution nor a matrix. A bias is not counted."""
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return inputs.numel() * layer.out_channels // layer.groups * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return output.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return 0


@torch.inference_mode()
def count(network: nn.Module, batch: Tensor) -> Counted:
    """The work of one forward pass on the batch, by hooks on every layer that holds no other."""
    layers: list[Work] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        tensors = [given[0], output, *layer.parameters(recurse=False)]
        moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        layers.append(Work(multiply_adds(layer, given[0], output), moved))

    leaves = [m for m in network.modules() if not list(m.children()) and not isinstance(m, nn.Identity)]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    try:
        network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return Counted(parameter_count(network), tuple(layers))


# What the machine can do


@dataclass(frozen=True)
class Rates:
    """multiply_adds, bytes_moved: best of several tries, per second."""

    multiply_adds: float
    bytes_moved: float


def finished(work: Callable[[], object], device: str) -> Callable[[], None]:
    """The work with its end: a CUDA device answers before it is done."""

    def run() -> None:
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return run


def _best(work: Callable[[], object], device: str, tries: int) -> float:
    """Least seconds."""
    run, took = finished(work, device), []
    for _ in range(tries + 1):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return min(took[1:])


@torch.inference_mode()
def machine_rates(
    device: str, *, side: int = 2048, copied: int = 64 * 2**20, tries: int = 5, dtype: torch.dtype = torch.float32
) -> Rates:
    """Of a product of two `side` x `side` matrices, and of a copy of `copied` values, which is read and written.

    As many values as in the default fit into no cache.
    """
    one, other = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(one)
    source = torch.rand(copied, device=device)
    target = torch.empty_like(source)
    multiplied = _best(lambda: torch.mm(one, other, out=product), device, tries)
    moved = _best(lambda: target.copy_(source), device, tries)
    return Rates(side**3 / multiplied, 2 * source.numel() * source.element_size() / moved)


def roofline_s(counted: Counted, rates: Rates) -> float:
    """Seconds at the machine's rates, each layer bound by arithmetic or by memory."""
    return sum(
        max(layer.multiply_adds / rates.multiply_adds, layer.bytes_moved / rates.bytes_moved)
        for layer in counted.layers
    )


def roofline_row(name: str, counted: Counted, rates: Rates, seconds: float, *, films: int = 1) -> Row:
    """A network on a batch of `films`, that took `seconds`, against what the machine could do."""
    bound = roofline_s(counted, rates)
    return {
        "network": name,
        "films": films,
        "weights": counted.weights,
        "10^9 multiply-adds": round(counted.multiply_adds / 1e9, 3),
        "MB moved": round(counted.bytes_moved / 1e6, 1),
        "10^9 multiply-adds/s": round(rates.multiply_adds / 1e9, 1),
        "GB/s": round(rates.bytes_moved / 1e9, 1),
        "arithmetic ms": round(1000 * counted.multiply_adds / rates.multiply_adds, 2),
        "memory ms": round(1000 * counted.bytes_moved / rates.bytes_moved, 2),
        "roofline ms": round(1000 * bound, 2),
        "measured ms": round(1000 * seconds, 2),
        "share of the roofline": round(bound / seconds, 3),
    }
