"""nnU-Net's own predictor (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z), its network untrained.

The 2-D plan for films of our grid's size: one tile, poolings down to four pixels, 32 to 512 features, two convolutions
per stage. Random weights take as long as trained ones.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from spineseg.film import VERTEBRAE

TILE = (512, 384)
_PACKAGE = "torch.nn.modules"
_NETWORK = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")


def _architecture() -> dict[str, Any]:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import (  # pyright: ignore[reportMissingImports]
        get_pool_and_conv_props,
    )

    _, strides, kernels, _, _ = get_pool_and_conv_props((1.0, 1.0), TILE, 4, 999999)
    return {
        "n_stages": len(strides),
        "features_per_stage": [min(512, 32 * 2**stage) for stage in range(len(strides))],
        "conv_op": f"{_PACKAGE}.conv.Conv2d",
        "kernel_sizes": kernels,
        "strides": strides,
        "n_conv_per_stage": [2] * len(strides),
        "n_conv_per_stage_decoder": [2] * (len(strides) - 1),
        "conv_bias": True,
        "norm_op": f"{_PACKAGE}.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def network() -> nn.Module:
    """Logits of the vertebrae and the background, from one channel."""
    from nnunetv2.utilities.get_network_from_plans import (  # pyright: ignore[reportMissingImports]
        get_network_from_plans,
    )

    outputs = 1 + len(VERTEBRAE)
    return get_network_from_plans(_NETWORK, _architecture(), _IMPORTED, 1, outputs, deep_supervision=False)


class Predictor:
    """nnU-Net's predictor, called with (1, channel, rows, columns) of any size: tiles overlap by half.

    mirrored: with the mean over the film and its mirror images, as is its default.
    """

    def __init__(self, device: str, *, mirrored: bool) -> None:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ.setdefault(name, str(Path.cwd()))  # it warns otherwise, and uses none of them here
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # pyright: ignore[reportMissingImports]
        from nnunetv2.utilities.plans_handling.plans_handler import (  # pyright: ignore[reportMissingImports]
            PlansManager,
        )

        built = {"network_class_name": _NETWORK, "arch_kwargs": _architecture(), "_kw_requires_import": _IMPORTED}
        plan = {"patch_size": list(TILE), "batch_size": 1, "spacing": [1.0, 1.0], "architecture": built}
        order = {"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2]}
        plans = PlansManager({"dataset_name": "films", "plans_name": "plans", "configurations": {"2d": plan}, **order})
        labels = {name: level for level, name in enumerate(("background", *VERTEBRAE))}
        data = {"labels": labels, "channel_names": {"0": "X-ray"}, "file_ending": ".npy"}
        self._predictor = nnUNetPredictor(
            use_mirroring=mirrored, perform_everything_on_device=False, device=torch.device(device), allow_tqdm=False
        )
        self._predictor.manual_initialization(
            network(), plans, plans.get_configuration("2d"), None, data, "nnUNetTrainer", (0, 1)
        )

    def __call__(self, channels: np.ndarray) -> np.ndarray:
        """Probabilities of the vertebrae, (1, vertebra, rows, columns)."""
        logits = self._predictor.predict_sliding_window_return_logits(torch.from_numpy(channels).transpose(0, 1))
        return torch.softmax(logits.float(), 0)[1:].transpose(0, 1).numpy()
