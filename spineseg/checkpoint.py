"""Weights with everything that prediction needs to know: `<name>.safetensors` and a JSON card beside it.

The card holds the grid, the network, the decoder, and where the weights came from. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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


def _write_atomic(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_card(weights: Path, card: Card) -> None:
    """Write the card beside `weights`, whole or not at all."""
    _write_atomic(card_path(weights), (json.dumps({"format": FORMAT, **asdict(card)}, indent=2) + "\n").encode())


def save_checkpoint(path: Path, network: UNet, card: Card, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and card; the weights appear under their final name only when whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(state, partial)
        write_card(path, card)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_card(weights: Path) -> Card:
    """The card beside a weights file. Raises BadCheckpoint if it is missing or not understood."""
    try:
        stored = json.loads(card_path(weights).read_text(encoding="utf-8"))
        if stored.pop("format") != FORMAT:
            raise BadCheckpoint(f"expected a card of format {FORMAT}, got another; update spineseg or the checkpoint")
        grid, network = GridConfig(**stored.pop("grid")), stored.pop("network")
        network["features"] = tuple(network["features"])
        return Card(grid=grid, network=UNetConfig(**network), **stored)
    except FileNotFoundError:
        raise BadCheckpoint("expected a JSON card beside the weights, found none; keep both files together") from None
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = type(error).__name__
        raise BadCheckpoint(f"expected a card as spineseg writes it, got one that does not parse ({reason})") from None


def load_checkpoint(path: Path) -> tuple[UNet, Card]:
    """The network in float32, ready to predict, and its card.

    Raises BadCheckpoint if the file is no safetensors, misses or adds a weight, or holds one that is not finite.
    """
    card = read_card(path)
    network = UNet(card.network)
    try:
        state = load_file(path)
        network.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    except FileNotFoundError:
        raise BadCheckpoint("expected a safetensors file, found none; check the path") from None
    except (SafetensorError, OSError):
        raise BadCheckpoint("expected a safetensors file, got something else or half of one; copy it again") from None
    except RuntimeError:
        raise BadCheckpoint("expected the weights that the card describes, got others; keep both files together") from None
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise BadCheckpoint("expected finite weights, got some that are not; train again from the last good checkpoint")
    return network.eval(), card
