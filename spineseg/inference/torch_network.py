"""A network in torch: on a graphics card, and on the processor where it is none of ours."""

from __future__ import annotations

import logging

import torch
from torch import nn
from torch.nn import functional

from spineseg.film import VERTEBRAE
from spineseg.inference.views import Channels, Probabilities
from spineseg.model.architectures import build_network
from spineseg.model.card import Card

log = logging.getLogger("spineseg.inference")


class TorchNetwork:
    """A module made callable: what it sees of a film in, probabilities on the grid out."""

    def __init__(self, module: nn.Module, card: Card, device: str = "cpu") -> None:
        self.device, self.module, self._card = device, module.eval().to(device), card

    @torch.inference_mode()
    def __call__(self, channels: Channels) -> Probabilities:
        """Raises torch.OutOfMemoryError."""
        batch = torch.from_numpy(channels)[None].to(self.device)
        logits = self.module(batch).float()
        if logits.shape[-2:] != batch.shape[-2:]:
            logits = functional.interpolate(logits, size=batch.shape[-2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(logits)[0, : len(VERTEBRAE)].cpu().numpy()

    def lacks_memory(self, error: RuntimeError) -> bool:
        """Whether it may do on the processor, as its device has no memory left."""
        return isinstance(error, torch.OutOfMemoryError) and self.device != "cpu"

    def on_cpu(self) -> TorchNetwork:
        """A copy on the processor, where the device has no memory left."""
        torch.cuda.empty_cache()
        log.warning("%s has no memory left for a film; it is segmented on the CPU", self.device)
        module = build_network(self._card.architecture, self._card.network)
        module.load_state_dict({name: value.cpu() for name, value in self.module.state_dict().items()})
        return TorchNetwork(module, self._card)
