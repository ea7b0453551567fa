"""Networks as benchmarks time them, and the work that they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import seconds_of
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


def fastest_product(threads: int, size: int = 2048, repeats: int = 20) -> float:
    """Multiply-adds a second of ONNX Runtime's product of two square matrices: what this processor can do at most."""
    from onnx import TensorProto, helper

    a, b, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "abc")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    given = {name: np.random.default_rng(0).random((size, size), np.float32) for name in "ab"}
    return size**3 / min(seconds_of(lambda: session.run(None, given)) for _ in range(repeats))


def finished(work: Callable[[], object], device: str) -> Callable[[], None]:
    """The work with its end: a CUDA device answers before it is done."""

    def run() -> None:
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return run
