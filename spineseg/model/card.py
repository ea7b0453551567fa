"""A checkpoint's JSON card: everything that prediction needs to know beside the weights. Free of torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from spineseg.film import CHANNELS, VERTEBRAE, BadInput
from spineseg.io.files import replacing
from spineseg.model.config import GridConfig, Norm, UNetConfig

Decoder = Literal["ordered", "none"]
UNET = "unet"
"""The architecture that is part of spineseg; any other is `module:factory` of the user's own code."""
FORMAT = 1
_FACTORY = re.compile(r"(?!__main__:)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_ANY_NETWORK = ("in_channels", "out_channels", "patch")
"""What a card says of a network that is no U-Net."""
_MOST = {"levels": 12, "convolutions": 8, "pixels": 4096 * 4096, "local_px": 1000, "architecture": 200}
"""What a card may ask for. One from a stranger must not keep a machine busy before its weights are looked at."""


class BadCheckpoint(BadInput):
    """A checkpoint that cannot be used as it is."""


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself.

    network: for another architecture than the U-Net its channels and its output stride, `patch`; the rest is unused.
    decoder: "ordered" (six masks in anatomical order, see `levels`) or "none" (probability maps above 0.5).
    origin: data, seed, commit, command, duration, hardware, versions. scores: as `evaluate` reports them.
    architecture: "unet", or the `module:factory` that the weights belong to.
    most_traces: largest share of mere traces on a lateral lumbar film (`inference.verdict`), 0..1; None where it was
    not measured for these weights: then no picture is turned away, and the network is not asked whether bone is bright.
    fails_on_purpose: it is kept to show a failure; menus say so.
    """

    name: str
    grid: GridConfig = field(default_factory=GridConfig)
    network: UNetConfig = field(default_factory=UNetConfig)
    decoder: Decoder = "ordered"
    description: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = UNET
    most_traces: float | None = None
    fails_on_purpose: bool = False


def is_architecture(name: object) -> bool:
    """Whether this is "unet" or a `module:factory` that another process can import: no lambda, nothing of __main__."""
    return name == UNET or (
        isinstance(name, str) and len(name) <= _MOST["architecture"] and _FACTORY.fullmatch(name) is not None
    )


def card_path(weights: Path) -> Path:
    """The card beside a weights file."""
    return weights.with_suffix(".json")


def write_card(weights: Path, content: bytes) -> None:
    """Write the card beside `weights`, whole or not at all."""
    with replacing(card_path(weights)) as stream:
        stream.write(content)


def read_card(weights: Path) -> Card:
    """The card beside a weights file. Raises BadCheckpoint if it is missing or not understood."""
    return read_card_and_id(weights)[0]


def read_card_and_id(weights: Path) -> tuple[Card, str]:
    """The card beside a weights file and the identity of its save, which older ones lack."""
    try:
        return parse_card(card_path(weights).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not weights.exists():
            raise BadCheckpoint(f"The weights {weights.name} are missing; check the path of the checkpoint") from None
        raise BadCheckpoint("expected a JSON card beside the weights, found none; keep both files together") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadCheckpoint(not_understood(type(error).__name__)) from None


def card_content(card: Card) -> dict[str, Any]:
    """The card as JSON stores it. Raises BadCheckpoint for one that `parse_card` would refuse."""
    stored = {"format": FORMAT, **asdict(card)}
    if card.most_traces is None:
        del stored["most_traces"]
    if not card.fails_on_purpose:
        del stored["fails_on_purpose"]
    if card.architecture == UNET:
        del stored["architecture"]
    else:
        stored["network"] = {name: stored["network"][name] for name in _ANY_NETWORK}
    if problem := _problem(card):
        raise BadCheckpoint(f"expected a card that can be loaded again, got {problem}; correct it before saving")
    return stored


def parse_card(text: str) -> tuple[Card, str]:
    """A card's JSON as the card and the identity of its save. Raises BadCheckpoint."""
    try:
        stored = json.loads(text)
        if stored.pop("format") != FORMAT:
            raise BadCheckpoint(f"expected a card of format {FORMAT}, got another; update spineseg or the checkpoint")
        save_id = str(stored.pop("saving", ""))
        grid, architecture = GridConfig(**stored.pop("grid")), stored.pop("architecture", UNET)
        network = _network(stored.pop("network"), architecture)
        card = Card(grid=grid, network=network, architecture=architecture, **stored)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, BadCheckpoint):
            raise
        raise BadCheckpoint(not_understood(type(error).__name__)) from None
    if problem := _problem(card):
        raise BadCheckpoint(not_understood(problem))
    return card, save_id


def _network(stored: dict[str, Any], architecture: str) -> UNetConfig:
    """Raises KeyError or TypeError if anything is missing or unknown."""
    if architecture == UNET:
        return UNetConfig(**{**stored, "features": tuple(stored["features"])})
    if set(stored) != set(_ANY_NETWORK):
        raise KeyError
    return UNetConfig(**stored)


def _problem(card: Card) -> str | None:
    """Why the card cannot be used, in a few words."""
    if not is_architecture(card.architecture):
        return "an architecture that no other process can import"
    if not _well_typed(card):
        return "a name, an origin, scores or a grid of another type"
    if card.decoder not in get_args(Decoder) or card.network.in_channels != card.grid.channels:
        return "decoder, network and grid do not go together"
    if not _buildable(card):
        return "a network or a grid of a size that nobody trains"
    return None


def _well_typed(card: Card) -> bool:
    """Whether everything but the network's numbers (see `_buildable`) is of the type that the classes promise."""
    grid = card.grid
    return (
        all(isinstance(text, str) for text in (card.name, card.description))
        and (card.most_traces is None or (isinstance(card.most_traces, int | float) and 0 <= card.most_traces <= 1))
        and all(isinstance(table, dict) for table in (card.origin, card.scores))
        and isinstance(grid.keep_aspect, bool)
        and isinstance(card.fails_on_purpose, bool)
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
        # What normalises needs two values to compare; another network than the U-Net has been run on its grid.
        and (card.architecture != UNET or grid.rows * grid.columns > network.stride**2)
    )


def not_understood(reason: str) -> str:
    """The sentence for a card that does not hold what it should."""
    return f"expected a card as spineseg writes it, got one that was changed ({reason}); copy both files again"
