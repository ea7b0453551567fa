"""What a network is and what grid it sees; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spineseg.film import VERTEBRAE


@dataclass(frozen=True)
class GridConfig:
    """The grid that a network sees; saved with its weights."""

    rows: int = 512
    columns: int = 384
    keep_aspect: bool = True
    """One scale for both axes and a border; the report stretched each film to a square instead."""
    intensity: Literal["local", "global", "minmax"] = "local"
    """minmax: the report's (0..1, then (x - 0.5) / 0.5). global: 1st to 99th percentile to -1..1. local: that and a
    second channel of local contrast."""
    local_px: float = 20.0
    """Deviation, in grid pixels, of the neighbourhood that local contrast is judged against."""

    @property
    def channels(self) -> int:
        """How many channels `normalise` gives."""
        return 2 if self.intensity == "local" else 1


Norm = Literal["instance", "batch", "none"]
LossName = Literal["bce", "dice", "bce+dice"]


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the network. The last feature count is the bottleneck's."""

    in_channels: int = 2
    out_channels: int = len(VERTEBRAE)
    features: tuple[int, ...] = (24, 40, 64, 96, 128, 160, 160)
    patch: int = 2
    """Input pixels per side that enter as channels; the logits are on the grid divided by it, its output stride."""
    norm: Norm = "instance"
    convolutions: int = 2
    """3 x 3 convolutions per block."""
    prior: float = 0.02
    """Probability that every logit starts from: about the share of a film that one vertebra covers."""

    @property
    def stride(self) -> int:
        """Rows and columns of the grid must be whole multiples of this."""
        return self.patch * 2 ** (len(self.features) - 1)


def receptive_field(config: UNetConfig) -> int:
    """Side, in grid pixels, of the square of input that one logit can depend on through convolutions alone.

    Counted layer by layer (Araujo et al. 2019, distill.pub/2019/computing-receptive-fields); normalisation over the
    whole film is left out. How a pixel lies in its pooling cells widens or narrows it by some per cent.
    """
    field, jump = config.patch, config.patch
    for index in range(len(config.features)):
        if index:
            field += jump
            jump *= 2
        field += config.convolutions * 2 * jump
    for _ in config.features[1:]:
        jump //= 2
        field += config.convolutions * 2 * jump
    return field
