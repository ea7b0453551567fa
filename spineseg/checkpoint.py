"""Weights with everything that prediction needs to know: `<name>.safetensors` and a JSON card beside it.

The card holds the grid, the network, the decoder, and where the weights came from. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from spineseg.files import replacing
from spineseg.film import CHANNELS, VERTEBRAE, BadInput
from spineseg.grid import GridConfig
from spineseg.network import Norm, UNet, UNetConfig

Decoder = Literal["ordered", "none"]
FORMAT = 1

_PICKLES = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
"""How files of torch.save and of pickle begin."""
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


def save_checkpoint(path: Path, network: UNet, card: Card, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and card; each appears under its final name only when both are whole.

    The weights hold a copy of the card, and both a mark of this saving. So one that was killed between the two names,
    and left the new card beside the old weights, is noticed on loading, and the old weights still have their own card.
    Raises BadCheckpoint, and leaves what was there, if a weight is not finite or too large for `dtype`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: _stored(value, dtype) for name, value in network.state_dict().items()}
    if not _finite(state):
        raise BadCheckpoint("expected finite weights, got some that are not; train again with a lower learning rate")
    stored = {"format": FORMAT, **asdict(card)}
    saving = hashlib.sha256(json.dumps(stored).encode() + save(state)).hexdigest()
    text = json.dumps({**stored, "saving": saving}, indent=2) + "\n"
    with replacing(path) as stream:
        stream.write(save(state, {"card": text}))
        write_card(path, text.encode())


def _stored(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Whole numbers (batch normalisation's count) keep their type."""
    return value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()


def _finite(state: Mapping[str, torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in state.values())


def read_card(weights: Path) -> Card:
    """The card beside a weights file. Raises BadCheckpoint if it is missing or not understood."""
    return _read_card(weights)[0]


def _read_card(weights: Path) -> tuple[Card, str]:
    """The card beside a weights file and the mark of its saving, which older ones lack."""
    try:
        return _parse_card(card_path(weights).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadCheckpoint("expected a JSON card beside the weights, found none; keep both files together") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadCheckpoint(_not_understood(type(error).__name__)) from None


def _parse_card(text: str) -> tuple[Card, str]:
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
        raise BadCheckpoint(_not_understood(type(error).__name__)) from None
    if not _well_typed(card):
        raise BadCheckpoint(_not_understood("a name, an origin, scores or a grid of another type"))
    if card.decoder not in get_args(Decoder) or card.network.in_channels != card.grid.channels:
        raise BadCheckpoint(_not_understood("decoder, network and grid do not go together"))
    if not _buildable(card):
        raise BadCheckpoint(_not_understood("a network or a grid of a size that nobody trains"))
    return card, saving


def _card_of(path: Path, beside: Card, saving: str) -> Card:
    """The card beside the weights, or their own copy where that one belongs to another saving (see save_checkpoint)."""
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("card")
    own, its_saving = _parse_card(text) if text else (beside, saving)
    return beside if its_saving == saving else own


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


def _not_understood(reason: str) -> str:
    return f"expected a card as spineseg writes it, got one that was changed ({reason}); copy both files again"


def load_checkpoint(path: Path) -> tuple[UNet, Card]:
    """The network in float32, ready to predict, and its card.

    Raises BadCheckpoint if the file is no safetensors, misses or adds a weight, or holds one that is not finite.
    Nothing of the size that a card states is built before the file is known to hold it.
    """
    card, saving = _read_card(path)
    _check_file(path)
    try:
        card = _card_of(path, card, saving)
        _check_weights(path, card.network)
        state = load_file(path)
        network = UNet(card.network)
        network.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    except (SafetensorError, OSError):
        raise BadCheckpoint("expected a whole safetensors file, got a part of one; copy it again") from None
    except (TypeError, ValueError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        if isinstance(error, BadCheckpoint):
            raise
        raise BadCheckpoint(_not_understood(type(error).__name__)) from None
    if not _finite(network.state_dict()):
        raise BadCheckpoint("expected finite weights, got some that are not; train again from the last good checkpoint")
    return network.eval(), card


def _check_file(path: Path) -> None:
    """Raises BadCheckpoint unless the file begins as safetensors does: eight bytes of length, then JSON."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(9)
    except FileNotFoundError:
        raise BadCheckpoint("expected a safetensors file, found none; check the path") from None
    except OSError:
        raise BadCheckpoint("expected a safetensors file, got one that cannot be read; check the path") from None
    if head.startswith(_PICKLES):
        raise BadCheckpoint("expected a safetensors file, got a pickle, which can run code; save it as safetensors")
    if head[8:] != b"{":
        kind = "another kind of file" if len(head) == 9 else "next to nothing"
        raise BadCheckpoint(f"expected a safetensors file, got {kind}; copy it again")


def _check_weights(path: Path, config: UNetConfig) -> None:
    """Raises BadCheckpoint unless the file holds exactly the weights of that network, without making either."""
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in UNet(config).state_dict().items()}
    with safe_open(path, framework="pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 no mapping
    missing, unknown = len(expected.keys() - stored.keys()), len(stored.keys() - expected.keys())
    reshaped = sum(stored[name] != expected[name] for name in expected.keys() & stored.keys())
    if missing or unknown or reshaped:
        raise BadCheckpoint(
            f"expected the weights that the card describes, got others ({missing} missing, {unknown} unknown, "
            f"{reshaped} of another shape); copy both files again"
        )
