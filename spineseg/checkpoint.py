"""Weights with everything that prediction needs to know: `<name>.safetensors` and a JSON card beside it.

The card holds the grid, the network, the decoder, and where the weights came from. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from spineseg.files import replacing
from spineseg.film import BadInput
from spineseg.grid import GridConfig
from spineseg.network import UNet, UNetConfig

Decoder = Literal["ordered", "none"]
FORMAT = 1


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


def write_card(weights: Path, card: Card) -> None:
    """Write the card beside `weights`, whole or not at all."""
    with replacing(card_path(weights)) as stream:
        stream.write((json.dumps({"format": FORMAT, **asdict(card)}, indent=2) + "\n").encode())


def save_checkpoint(path: Path, network: UNet, card: Card, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and card; each appears under its final name only when both are whole.

    Raises BadCheckpoint, and leaves what was there, if a weight is not finite or too large for `dtype`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: _stored(value, dtype) for name, value in network.state_dict().items()}
    if not _finite(state):
        raise BadCheckpoint("expected finite weights, got some that are not; train again with a lower learning rate")
    with replacing(path) as stream:
        stream.write(save(state))
        write_card(path, card)


def _stored(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Whole numbers (batch normalisation's count) keep their type."""
    return value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()


def _finite(state: Mapping[str, torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in state.values())


def read_card(weights: Path) -> Card:
    """The card beside a weights file. Raises BadCheckpoint if it is missing or not understood."""
    try:
        stored = json.loads(card_path(weights).read_text(encoding="utf-8"))
        if stored.pop("format") != FORMAT:
            raise BadCheckpoint(f"expected a card of format {FORMAT}, got another; update spineseg or the checkpoint")
        grid, network = GridConfig(**stored.pop("grid")), stored.pop("network")
        network["features"] = tuple(network["features"])
        card = Card(grid=grid, network=UNetConfig(**network), **stored)
    except FileNotFoundError:
        raise BadCheckpoint("expected a JSON card beside the weights, found none; keep both files together") from None
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadCheckpoint(_not_understood(type(error).__name__)) from None
    if card.decoder not in get_args(Decoder) or card.network.in_channels != card.grid.channels:
        raise BadCheckpoint(_not_understood("decoder, network and grid do not go together"))
    return card


def _not_understood(reason: str) -> str:
    return f"expected a card as spineseg writes it, got one that was changed ({reason}); copy both files again"


def load_checkpoint(path: Path) -> tuple[UNet, Card]:
    """The network in float32, ready to predict, and its card.

    Raises BadCheckpoint if the file is no safetensors, misses or adds a weight, or holds one that is not finite.
    """
    card = read_card(path)
    try:
        network = UNet(card.network)
    except (TypeError, ValueError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise BadCheckpoint(_not_understood(type(error).__name__)) from None
    try:
        state = load_file(path)
        network.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    except FileNotFoundError:
        raise BadCheckpoint("expected a safetensors file, found none; check the path") from None
    except (SafetensorError, OSError):
        raise BadCheckpoint("expected a safetensors file, got something else or half of one; copy it again") from None
    except RuntimeError:
        raise BadCheckpoint("expected the weights that the card describes, got others; copy both files again") from None
    if not _finite(network.state_dict()):
        raise BadCheckpoint("expected finite weights, got some that are not; train again from the last good checkpoint")
    return network.eval(), card
