"""Film to prediction. Loads torch only where a graphics card, or a network of the user's own, asks for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from spineseg.exposed_field import Box
from spineseg.film import BadInput, Film
from spineseg.inference.grid import GridFit, Image, film_to_grid, normalise
from spineseg.inference.levels import decode_ordered, decode_raw
from spineseg.inference.masks import film_masks, masks_beyond
from spineseg.inference.outlines import shaped
from spineseg.inference.polarity import bone_is_dark
from spineseg.inference.prediction import Prediction
from spineseg.inference.sacrum import with_s1
from spineseg.inference.spine_field import same_names, spine_field
from spineseg.inference.verdict import CHECK, NOT_LUMBAR, RELIABLE, UPSIDE_DOWN, bone_confidence, traces
from spineseg.inference.views import ONE_VIEW, TURNED, VIEWS, Channels, Probabilities, View, averaged, bone_of
from spineseg.inference.visible_field import visible_field
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.model.card import UNET, Card
from spineseg.model.hub import resolve, with_revision
from spineseg.model.weights import read_unet

Run = Callable[[Channels, Sequence[View]], tuple[Probabilities, float]]
_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""What a graphics card that torch calls cuda has on Linux."""


class MissingDevice(BadInput):
    """The device asked for is not there."""


def pick_device(wish: str = "auto") -> str:
    """The device asked for; for "auto" cuda where there is one, else cpu. Raises MissingDevice."""
    if wish == "cpu" or (wish == "auto" and not _may_have_cuda()):
        return "cpu"
    import torch

    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=wish)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise MissingDevice(f"expected a device of this machine, got {wish}; use auto or cpu") from None
    return wish


def _may_have_cuda() -> bool:
    """Whether torch is worth asking, which takes more than a second to load."""
    return "torch" in sys.modules or sys.platform != "linux" or any(Path(driver).exists() for driver in _DRIVERS)


@runtime_checkable
class Network(Protocol):
    """`OnnxNetwork` or `TorchNetwork`: what it sees of a film in, probabilities on the grid out."""

    device: str

    def __call__(self, channels: Channels, /) -> Probabilities:
        """Of one film."""
        ...

    def lacks_memory(self, error: RuntimeError, /) -> bool:
        """Whether it may do on the processor, as its device has no memory left."""
        ...

    def on_cpu(self) -> Network:
        """The same network on the processor."""
        ...


class Segmenter:
    """A checkpoint made callable: film in, prediction out. One film at a time; safe to share between threads.

    views: the turns and mirror images in which the network sees a film; None for `VIEWS`, or for one view where the
    card's decoder is "none".
    """

    def __init__(self, network: Network, card: Card, views: Sequence[View] | None = None) -> None:
        self.card, self.name, self.device = card, card.name, network.device
        self.views = views or (VIEWS if card.decoder == "ordered" else ONE_VIEW)
        self._network = network

    @classmethod
    def load(
        cls,
        path: Path | str = DEFAULT_CHECKPOINT,
        device: str = "auto",
        views: Sequence[View] | None = None,
        *,
        architecture: str = UNET,
    ) -> Segmenter:
        """From `<name>.safetensors` with its card, or `hf://owner/name@revision`, named after its commit then.

        architecture: "unet", or `module:factory` of a network of your own. Raises BadCheckpoint, BadArchitecture,
        HubError, MissingDevice.
        """
        weights, device = resolve(path), pick_device(device)
        network, card = (
            _on_processor(weights)
            if architecture == UNET and device == "cpu"
            else _in_torch(weights, architecture, device)
        )
        return cls(network, with_revision(card, weights), views)

    def __call__(self, film: Film, run: Run | None = None) -> Prediction:
        """Segment one film, inverted where its picture shows bone dark and no person said otherwise.

        run: calls `with_turned` in another process, which has the device that this one lacks. Where it fails, nothing
        is tried on the CPU.
        """
        began = time.perf_counter()
        ordered = self.card.decoder == "ordered"
        seen = film
        image, fit = film_to_grid(seen, self.card.grid)
        if inverted := ordered and not film.polarity_known and self._bone_is_dark(image, fit, run):
            seen = film.inverted()
            image, fit = film_to_grid(seen, self.card.grid)
        visible = visible_field(image, fit)
        first, (probabilities, fit, device, turned) = fit, self._looked_at(seen, image, fit, run)
        if ordered:
            most_traces = self.card.most_traces if fit is first else None  # only a spine is looked at twice
            decoded = decode_ordered(probabilities, visible_rows=fit.grid_rows(visible[0]), most_traces=most_traces)
            report, bone = decoded.report, bone_of(probabilities)
            if report.verdict == RELIABLE and turned() > bone_confidence(probabilities)[1]:
                report = replace(report, verdict=CHECK, reasons=(UPSIDE_DOWN,))
            channels = shaped(with_s1(decoded.channels, bone, fit.inside()), bone)
        else:
            decoded = decode_raw(probabilities)
            report, channels = decoded.report, decoded.channels
        masks = film_masks(channels, fit, one_component=ordered)
        beyond = masks_beyond(decoded.beyond, fit, masks)
        inverted = inverted and report.verdict != NOT_LUMBAR  # any other picture is shown as it is stored
        seconds = time.perf_counter() - began
        return Prediction(masks, probabilities, fit, report, seconds, device, visible, inverted, beyond)

    def _looked_at(
        self, film: Film, image: Image, fit: GridFit, run: Run | None
    ) -> tuple[Probabilities, GridFit, str, Callable[[], float]]:
        """Of the film's field or of the part around its spine: probabilities, their grid, and the rest of `_look`."""
        probabilities, device, turned = self._look(normalise(image, fit.inside(), self.card.grid), run, self.views)
        field = self._worth_a_second_look(probabilities, fit) if self.card.decoder == "ordered" else None
        if field:
            close, near = film_to_grid(film, self.card.grid, field)
            second, device_near, turned_near = self._look(
                normalise(close, near.inside(), self.card.grid), run, self.views
            )
            if same_names(decode_ordered(probabilities), fit, decode_ordered(second), near):
                return second, near, device_near, turned_near
        return probabilities, fit, device, turned

    def _worth_a_second_look(self, first: Probabilities, fit: GridFit) -> Box | None:
        """The part of the film around the vertebrae, where they are small; none of a picture that shows no spine."""
        bone, most_traces = bone_of(first), self.card.most_traces
        return None if most_traces is not None and traces(bone) > most_traces else spine_field(bone, fit)

    def _bone_is_dark(self, image: Image, fit: GridFit, run: Run | None) -> bool:
        """`polarity.bone_is_dark`, for which one view suffices."""
        inside = fit.inside()

        def look(image: Image) -> Probabilities:
            return self._look(normalise(image, inside, self.card.grid), run, ONE_VIEW)[0]

        return bone_is_dark(image, inside, look if self.card.most_traces is not None else None)

    def probabilities(self, channels: Channels, views: Sequence[View] | None = None) -> Probabilities:
        """Of each vertebra, from what the network sees of a film. Raises torch.OutOfMemoryError."""
        return averaged(channels, views or self.views, self._network)

    def with_turned(self, channels: Channels, views: Sequence[View]) -> tuple[Probabilities, float]:
        """`probabilities`, and how sure the network is of the film turned by 180 degrees."""
        return self.probabilities(channels, views), _surest(channels, self._network)

    def _look(
        self, channels: Channels, run: Run | None, views: Sequence[View]
    ) -> tuple[Probabilities, str, Callable[[], float]]:
        """Probabilities of each vertebra, the device they were computed on, and what `with_turned` tells besides."""
        if run:
            probabilities, turned = run(channels, views)
            return probabilities, self.device, lambda: turned

        def seen_by(network: Network) -> tuple[Probabilities, str, Callable[[], float]]:
            return averaged(channels, views, network), network.device, lambda: _surest(channels, network)

        try:
            return seen_by(self._network)
        except RuntimeError as error:
            if not self._network.lacks_memory(error):
                raise
        # Outside of the handler, which keeps the failed attempt's tensors alive.
        return seen_by(self._network.on_cpu())


def _surest(channels: Channels, network: Network) -> float:
    """Of `verdict.bone_confidence`, that of the strongest channel, for the film turned by 180 degrees."""
    return bone_confidence(averaged(channels, TURNED, network))[1]


def _on_processor(weights: Path) -> tuple[Network, Card]:
    from spineseg.inference.onnx_network import OnnxNetwork

    values, card = read_unet(weights)
    return OnnxNetwork(card.network, values), card


def _in_torch(weights: Path, architecture: str, device: str) -> tuple[Network, Card]:
    from spineseg.inference.torch_network import TorchNetwork
    from spineseg.model.checkpoint import load_checkpoint

    module, card = load_checkpoint(weights, architecture)
    return TorchNetwork(module, card, device), card
