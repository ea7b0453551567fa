"""The U-Net as an ONNX graph: the weights that torch's has, the answers that torch's gives."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from spineseg.film import VERTEBRAE
from spineseg.model.config import UNetConfig
from spineseg.model.onnx_graph import INPUT, unet_graph, unet_shapes
from spineseg.model.unet import UNet

CONFIGS = (
    UNetConfig(features=(4, 6, 8)),
    UNetConfig(features=(4, 6), norm="batch", patch=1, out_channels=7),
    UNetConfig(features=(4, 6), norm="none", patch=3, in_channels=1, convolutions=1),
    UNetConfig(features=(5,)),
)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_graph_answers_as_torch_does(config: UNetConfig):
    torch.manual_seed(0)
    network = UNet(config).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    assert {name: value.shape for name, value in weights.items()} == unet_shapes(config)
    channels = torch.randn(2, config.in_channels, 4 * config.stride, 3 * config.stride)
    with torch.inference_mode():
        logits = functional.interpolate(network(channels), size=channels.shape[2:], mode="bilinear")
    expected = torch.sigmoid(logits)[:, : len(VERTEBRAE)].numpy()
    onnx.checker.check_model(graph := unet_graph(config, weights))
    (answer,) = onnxruntime.InferenceSession(graph).run(None, {INPUT: channels.numpy()})
    np.testing.assert_allclose(np.asarray(answer), expected, atol=2e-6)
