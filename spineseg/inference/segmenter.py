"""Film to prediction: the border between NumPy and torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from spineseg.film import VERTEBRAE, BadInput, Film
from spineseg.inference.grid import GridFit, Image, film_to_grid, normalise
from spineseg.inference.levels import decode_ordered, decode_raw
from spineseg.inference.masks import film_masks
from spineseg.inference.polarity import bone_is_dark
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.inference.views import ONE_VIEW, VIEWS, Channels, Probabilities, View, averaged
from spineseg.inference.visible_field import visible_field
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.model.architectures import build_network
from spineseg.model.card import UNET, Card
from spineseg.model.checkpoint import load_checkpoint
from spineseg.model.hub import resolve, with_revision

log = logging.getLogger("spineseg.inference")


class MissingDevice(BadInput):
    """The device asked for is not there."""


def pick_device(wish: str = "auto") -> str:
    """The device asked for; for "auto" cuda where there is one, else cpu. Raises MissingDevice."""
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=wish)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise MissingDevice(f"expected a device of this machine, got {wish}; use auto or cpu") from None
    return wish


class Segmenter:
    """A checkpoint made callable: film in, prediction out. One film at a time; safe to share between threads.

    views: the turns and mirror images in which the network sees a film; None for `VIEWS`, or for one view where the
    card's decoder is "none".
    """

    def __init__(
        self, network: nn.Module, card: Card, device: str = "auto", views: Sequence[View] | None = None
    ) -> None:
        self.card, self.name, self.device = card, card.name, pick_device(device)
        self.views = views or (VIEWS if card.decoder == "ordered" else ONE_VIEW)
        self._network = network.eval().to(self.device)

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
        weights = resolve(path)
        network, card = load_checkpoint(weights, architecture)
        return cls(network, with_revision(card, weights), device, views)

    def __call__(self, film: Film, run: Callable[[Channels], Probabilities] | None = None) -> Prediction:
        """Segment one film, inverted where its picture shows bone dark and no person said otherwise.

        run: calls `probabilities` in another process, which has the device that this one lacks. Where it fails, nothing
        is tried on the CPU.
        """
        began = time.perf_counter()
        ordered = self.card.decoder == "ordered"
        image, fit = film_to_grid(film, self.card.grid)
        if inverted := ordered and not film.polarity_known and self._bone_is_dark(image, fit, run):
            image, fit = film_to_grid(film.inverted(), self.card.grid)
        channels = normalise(image, fit.inside(), self.card.grid)
        probabilities, device = (run(channels), self.device) if run else self._probabilities(channels)
        visible = visible_field(image, fit)
        if ordered:
            decoded = decode_ordered(
                probabilities, visible_rows=fit.grid_rows(visible[0]), most_traces=self.card.most_traces
            )
        else:
            decoded = decode_raw(probabilities)
        masks = film_masks(decoded.channels, fit, one_component=ordered)
        inverted = inverted and decoded.report.verdict != NOT_LUMBAR  # any other picture is shown as it is stored
        seconds = time.perf_counter() - began
        return Prediction(masks, probabilities, fit, decoded.report, seconds, device, visible, inverted)

    def _bone_is_dark(self, image: Image, fit: GridFit, run: Callable[[Channels], Probabilities] | None) -> bool:
        """`polarity.bone_is_dark`, for which one view suffices."""
        inside = fit.inside()

        def look(image: Image) -> Probabilities:
            channels = normalise(image, inside, self.card.grid)
            return run(channels) if run else self._probabilities(channels, ONE_VIEW)[0]

        return bone_is_dark(image, inside, look if self.card.most_traces is not None else None)

    def probabilities(self, channels: Channels) -> Probabilities:
        """Of each vertebra, from what the network sees of a film. Raises torch.OutOfMemoryError."""
        return self._averaged(self._network, channels, self.device, self.views)

    def _probabilities(self, channels: Channels, views: Sequence[View] | None = None) -> tuple[Probabilities, str]:
        """Of each vertebra, and the device that they were computed on."""
        views = views or self.views
        try:
            return self._averaged(self._network, channels, self.device, views), self.device
        except torch.OutOfMemoryError:
            if self.device == "cpu":
                raise
        # Outside of the handler, which keeps the failed attempt's tensors alive.
        torch.cuda.empty_cache()
        log.warning("%s has no memory left for a film; it is segmented on the CPU", self.device)
        on_cpu = build_network(self.card.architecture, self.card.network).eval()
        on_cpu.load_state_dict({name: value.cpu() for name, value in self._network.state_dict().items()})
        return self._averaged(on_cpu, channels, "cpu", views), "cpu"

    def _averaged(self, network: nn.Module, channels: Channels, device: str, views: Sequence[View]) -> Probabilities:
        return averaged(channels, views, lambda view: _run(network, view, device))


@torch.inference_mode()
def _run(network: nn.Module, channels: Channels, device: str) -> Probabilities:
    batch = torch.from_numpy(channels)[None].to(device)
    logits = network(batch).float()
    if logits.shape[-2:] != batch.shape[-2:]:
        logits = functional.interpolate(logits, size=batch.shape[-2:], mode="bilinear", align_corners=False)
    return torch.sigmoid(logits)[0, : len(VERTEBRAE)].cpu().numpy()
