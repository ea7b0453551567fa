"""The U-Net on the processor, by ONNX Runtime: half of torch's time, without waiting for torch to load."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

# Its builds report to their maker and write into the temporary folder, unless this is set before they load.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

from spineseg.inference.views import Channels, Probabilities
from spineseg.io.processes import available_cores
from spineseg.model.config import UNetConfig
from spineseg.model.onnx_graph import INPUT, unet_graph


class OnnxNetwork:
    """Weights made callable: what the network sees of a film in, probabilities on the grid out."""

    device = "cpu"

    def __init__(self, config: UNetConfig, weights: Mapping[str, np.ndarray]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave cores to others
        self._session = onnxruntime.InferenceSession(
            unet_graph(config, weights), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, channels: Channels) -> Probabilities:
        """Of one film."""
        (probabilities,) = self._session.run(None, {INPUT: channels[None]})
        return np.asarray(probabilities)[0]

    def lacks_memory(self, error: RuntimeError) -> bool:
        """Whether it may do where another device is."""
        return False

    def on_cpu(self) -> OnnxNetwork:
        """The same network."""
        return self


def _threads() -> int:
    """One for each core; fewer where OMP_NUM_THREADS says so, as for torch."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdecimal() and int(stated):
        return int(stated)
    return available_cores()
