"""A checkpoint's JSON card: everything that prediction needs to know beside the weights. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from spineseg.film import CHANNELS, VERTEBRAE, BadInput
from spineseg.io.files import replacing
from spineseg.model.config import GridConfig, Norm, UNetConfig

Decoder = Literal["ordered", "none"]
FORMAT = 1
_MOST = {"levels": 12, "convolutions": 8, "pixels": 4096 * 4096, "local_px": 1000}
"""What a card may ask for. One from a stranger must not keep a machine busy before its weights are looked at."""


class BadCheckpoint(BadInput):
    """A checkpoint that cannot be used as it is."""


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself.

    decoder: "ordered" (six masks in anatomical order, see `levels`) or "none" (raw channels above 0.5).
    origin: data, seed, commit, command, duration, hardware, versions. scores: as `evaluate` reports them.
    """

    name: str
    grid: GridConfig = field(default_factory=GridConfig)
    network: UNetConfig = field(default_factory=UNetConfig)
    decoder: Decoder = "ordered"
    description: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)


def card_path(weights: Path) -> Path:
    """The card beside a weights file."""
    return weights.with_suffix(".json")


def write_card(weights: Path, content: bytes) -> None:
    """Write the card beside `weights`, whole or not at all."""
    with replacing(card_path(weights)) as stream:
        stream.write(content)


def read_card(weights: Path) -> Card:
    """The card beside a weights file. Raises BadCheckpoint if it is missing or not understood."""
    return read_card_and_saving(weights)[0]


def read_card_and_saving(weights: Path) -> tuple[Card, str]:
    """The card beside a weights file and the mark of its saving, which older ones lack."""
    try:
        return parse_card(card_path(weights).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadCheckpoint("expected a JSON card beside the weights, found none; keep both files together") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadCheckpoint(not_understood(type(error).__name__)) from None


def parse_card(text: str) -> tuple[Card, str]:
    """A card's JSON as the card and the mark of its saving. Raises BadCheckpoint."""
    try:
        stored = json.loads(text)
        if stored.pop("format") != FORMAT:
            raise BadCheckpoint(f"expected a card of format {FORMAT}, got another; update spineseg or the checkpoint")
        saving = str(stored.pop("saving", ""))
        grid, network = GridConfig(**stored.pop("grid")), stored.pop("network")
        network["features"] = tuple(network["features"])
        card = Card(grid=grid, network=UNetConfig(**network), **stored)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, BadCheckpoint):
            raise
        raise BadCheckpoint(not_understood(type(error).__name__)) from None
    if not _well_typed(card):
        raise BadCheckpoint(not_understood("a name, an origin, scores or a grid of another type"))
    if card.decoder not in get_args(Decoder) or card.network.in_channels != card.grid.channels:
        raise BadCheckpoint(not_understood("decoder, network and grid do not go together"))
    if not _buildable(card):
        raise BadCheckpoint(not_understood("a network or a grid of a size that nobody trains"))
    return card, saving


def _well_typed(card: Card) -> bool:
    """Whether everything but the network's numbers (see `_buildable`) is of the type that the classes promise."""
    grid = card.grid
    return (
        all(isinstance(text, str) for text in (card.name, card.description))
        and all(isinstance(table, dict) for table in (card.origin, card.scores))
        and isinstance(grid.keep_aspect, bool)
        and isinstance(grid.local_px, int | float)
        and card.network.norm in get_args(Norm)
    )


def _buildable(card: Card) -> bool:
    """Whether the network has some levels of some convolutions, six or seven channels, and the grid a film's size."""
    grid, network = card.grid, card.network
    numbers = (grid.rows, grid.columns, network.patch, network.convolutions, *network.features)
    return (
        all(type(number) is int and 1 <= number <= _MOST["pixels"] for number in numbers)
        and grid.rows * grid.columns <= _MOST["pixels"]
        and 1 <= len(network.features) <= _MOST["levels"]
        and network.convolutions <= _MOST["convolutions"]
        and network.out_channels in (len(VERTEBRAE), len(CHANNELS))
        and 0 < grid.local_px <= _MOST["local_px"]
        and grid.rows * grid.columns > network.stride**2  # what normalises needs two values to compare
    )


def not_understood(reason: str) -> str:
    """The sentence for a card that does not hold what it should."""
    return f"expected a card as spineseg writes it, got one that was changed ({reason}); copy both files again"
