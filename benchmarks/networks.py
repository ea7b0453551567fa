"""Networks as benchmarks time them, and the work that they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from spineseg.film import VERTEBRAE


class Probabilities(nn.Module):
    """A network with all that follows up to probabilities of the vertebrae on its grid, as `Segmenter` does it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> Tensor:
        """(film, channel, rows, columns) to 0..1, float32 (film, vertebra, rows, columns)."""
        logits = self.network(batch).float()
        if logits.shape[-2:] != batch.shape[-2:]:
            logits = functional.interpolate(logits, size=batch.shape[-2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(logits)[:, : len(VERTEBRAE)]


@torch.no_grad()
def multiply_adds(network: nn.Module, batch: Tensor) -> int:
    """Of one forward pass: those of convolutions and matrices, each of which PyTorch counts as two operations."""
    with FlopCounterMode(display=False) as counter:
        network(batch)
    return counter.get_total_flops() // 2


def finished(work: Callable[[], object], device: str) -> Callable[[], None]:
    """The work with its end: a CUDA device answers before it is done."""

    def run() -> None:
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return run
