"""The U-Net of `unet` as an ONNX graph, from its weights alone: what ONNX Runtime needs, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from spineseg.film import VERTEBRAE
from spineseg.model.config import UNetConfig

Shapes = dict[str, tuple[int, ...]]
Weights = Mapping[str, np.ndarray]
INPUT, OUTPUT = "channels", "probabilities"
_OPSET, _IR = 21, 10
_EPSILON = 1e-5
"""That of torch's normalisation layers."""


def unet_shapes(config: UNetConfig) -> Shapes:
    """Shape of each weight by the name that `UNet.state_dict` gives it."""
    widths, shapes = config.features, Shapes()
    for k, (before, width) in enumerate(zip((config.in_channels * config.patch**2, *widths), widths, strict=False)):
        shapes |= _block_shapes(f"down.{k}", before, width, config)
    for k, (width, below) in enumerate(pairwise(widths)):
        shapes |= {f"up.{k}.weight": (below, width, 2, 2), f"up.{k}.bias": (width,)}
        shapes |= _block_shapes(f"expand.{k}", 2 * width, width, config)
    return shapes | {"head.weight": (config.out_channels, widths[0], 1, 1), "head.bias": (config.out_channels,)}


def _block_shapes(name: str, before: int, width: int, config: UNetConfig) -> Shapes:
    shapes = Shapes()
    for k in range(config.convolutions):
        shapes[f"{name}.{3 * k}.weight"] = (width, width if k else before, 3, 3)
        if config.norm == "none":
            shapes[f"{name}.{3 * k}.bias"] = (width,)
            continue
        kinds = ("weight", "bias", "running_mean", "running_var") if config.norm == "batch" else ("weight", "bias")
        shapes |= {f"{name}.{3 * k + 1}.{kind}": (width,) for kind in kinds}
        if config.norm == "batch":
            shapes[f"{name}.{3 * k + 1}.num_batches_tracked"] = ()
    return shapes


def unet_graph(config: UNetConfig, weights: Weights) -> bytes:
    """A serialised ONNX model from `channels`, float32, film x channel x rows x columns, to `probabilities`.

    They are those of the vertebrae on the same grid; logits on the grid divided by `patch` are interpolated (bilinear).
    """
    return _Graph(config, weights).build()


class _Graph:
    """Nodes in their order; each method adds some and returns the name of what they give."""

    def __init__(self, config: UNetConfig, weights: Weights) -> None:
        self._config, self._weights = config, weights
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}

    def build(self) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        self._add("Sigmoid", [self._on_grid(self._vertebrae(self._unet()))], OUTPUT)
        ends = (INPUT, self._config.in_channels), (OUTPUT, len(VERTEBRAE))
        given, made = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["films", channels, None, None])
            for name, channels in ends
        )
        names = unet_shapes(self._config).keys() & {name for node in self._nodes for name in node.input}
        stored = [numpy_helper.from_array(self._weight(name), name) for name in sorted(names)]
        stored += [numpy_helper.from_array(value, name) for name, value in self._constants.items()]
        graph = helper.make_graph(self._nodes, "unet", [given], [made], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        return model.SerializeToString()

    def _vertebrae(self, logits: str) -> str:
        """Without that of the background, which a network may have."""
        if self._config.out_channels == len(VERTEBRAE):
            return logits
        limits = [self._constant(name, [value]) for name, value in (("from", 0), ("to", len(VERTEBRAE)), ("axis", 1))]
        return self._add("Slice", [logits, *limits])

    def _on_grid(self, logits: str) -> str:
        if (patch := self._config.patch) == 1:
            return logits
        scales = self._constant("scales", [1.0, 1.0, patch, patch])
        # half_pixel, as torch's align_corners=False
        return self._add("Resize", [logits, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")

    def _constant(self, name: str, values: list[int] | list[float]) -> str:
        whole = all(isinstance(value, int) for value in values)
        self._constants[name] = np.array(values, np.int64 if whole else np.float32)
        return name

    def _add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _unet(self) -> str:
        x, skips, patch = INPUT, list[str](), self._config.patch
        if patch > 1:
            x = self._add("SpaceToDepth", [x], blocksize=patch)
        for k in range(len(self._config.features)):
            if k:
                x = self._add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
            x = self._block(f"down.{k}", x)
            skips.append(x)
        for k in reversed(range(len(self._config.features) - 1)):
            up = self._add("ConvTranspose", [x, f"up.{k}.weight", f"up.{k}.bias"], kernel_shape=[2, 2], strides=[2, 2])
            x = self._block(f"expand.{k}", self._add("Concat", [up, skips[k]], axis=1))
        return self._add("Conv", [x, "head.weight", "head.bias"], kernel_shape=[1, 1])

    def _block(self, name: str, x: str) -> str:
        for k in range(self._config.convolutions):
            layer, norm = f"{name}.{3 * k}", f"{name}.{3 * k + 1}"
            bias = [f"{layer}.bias"] if self._config.norm == "none" else []
            x = self._add("Conv", [x, f"{layer}.weight", *bias], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            x = self._add("Relu", [self._normalised(norm, x)])
        return x

    def _normalised(self, name: str, x: str) -> str:
        match self._config.norm:
            case "instance":
                return self._add("InstanceNormalization", [x, f"{name}.weight", f"{name}.bias"], epsilon=_EPSILON)
            case "batch":
                kinds = ("weight", "bias", "running_mean", "running_var")
                return self._add("BatchNormalization", [x, *(f"{name}.{kind}" for kind in kinds)], epsilon=_EPSILON)
        return x

    def _weight(self, name: str) -> np.ndarray:
        """In float32. ONNX puts the place within a patch before the channel where torch puts it behind."""
        weight, patch = np.asarray(self._weights[name], np.float32), self._config.patch
        if name == "down.0.0.weight":
            out, _, *kernel = weight.shape
            parted = weight.reshape(out, self._config.in_channels, patch**2, *kernel)
            weight = parted.swapaxes(1, 2).reshape(weight.shape)
        return np.ascontiguousarray(weight)
