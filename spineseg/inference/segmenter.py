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
from spineseg.inference.grid import film_to_grid, normalise
from spineseg.inference.levels import decode_ordered, decode_raw
from spineseg.inference.masks import film_masks
from spineseg.inference.prediction import Prediction
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
        """Segment one film.

        run: calls `probabilities` in another process, which has the device that this one lacks. Where it fails, nothing
        is tried on the CPU.
        """
        began = time.perf_counter()
        image, fit = film_to_grid(film, self.card.grid)
        channels = normalise(image, fit.inside(), self.card.grid)
        probabilities, device = (run(channels), self.device) if run else self._probabilities(channels)
        visible = visible_field(image, fit)
        ordered = self.card.decoder == "ordered"
        if ordered:
            decoded = decode_ordered(probabilities, visible_rows=fit.grid_rows(visible[0]))
        else:
            decoded = decode_raw(probabilities)
        masks = film_masks(decoded.channels, fit, one_component=ordered)
        return Prediction(masks, probabilities, fit, decoded.report, time.perf_counter() - began, device, visible)

    def probabilities(self, channels: Channels) -> Probabilities:
        """Of each vertebra, from what the network sees of a film. Raises torch.OutOfMemoryError."""
        return self._averaged(self._network, channels, self.device)

    def _probabilities(self, channels: Channels) -> tuple[Probabilities, str]:
        """Of each vertebra, and the device that they were computed on."""
        try:
            return self.probabilities(channels), self.device
        except torch.OutOfMemoryError:
            if self.device == "cpu":
                raise
        # Outside of the handler, which keeps the failed attempt's tensors alive.
        torch.cuda.empty_cache()
        log.warning("%s has no memory left for a film; it is segmented on the CPU", self.device)
        on_cpu = build_network(self.card.architecture, self.card.network).eval()
        on_cpu.load_state_dict({name: value.cpu() for name, value in self._network.state_dict().items()})
        return self._averaged(on_cpu, channels, "cpu"), "cpu"

    def _averaged(self, network: nn.Module, channels: Channels, device: str) -> Probabilities:
        return averaged(channels, self.views, lambda view: _run(network, view, device))


@torch.inference_mode()
def _run(network: nn.Module, channels: Channels, device: str) -> Probabilities:
    batch = torch.from_numpy(channels)[None].to(device)
    logits = network(batch).float()
    if logits.shape[-2:] != batch.shape[-2:]:
        logits = functional.interpolate(logits, size=batch.shape[-2:], mode="bilinear", align_corners=False)
    return torch.sigmoid(logits)[0, : len(VERTEBRAE)].cpu().numpy()
