"""Weights with everything that prediction needs to know: `<name>.safetensors` and a JSON card beside it.

The card holds the grid, the network, the decoder, and where the weights came from. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from spineseg.io.files import replacing
from spineseg.model.card import (
    FORMAT,
    BadCheckpoint,
    Card,
    not_understood,
    parse_card,
    read_card_and_saving,
    write_card,
)
from spineseg.model.config import UNetConfig
from spineseg.model.unet import UNet

_PICKLES = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
"""How files of torch.save and of pickle begin."""


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


def _card_of(path: Path, beside: Card, saving: str) -> Card:
    """The card beside the weights, or their own copy where that one belongs to another saving (see save_checkpoint)."""
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("card")
    own, its_saving = parse_card(text) if text else (beside, saving)
    return beside if its_saving == saving else own


def load_checkpoint(path: Path) -> tuple[UNet, Card]:
    """The network in float32, ready to predict, and its card.

    Raises BadCheckpoint if the file is no safetensors, misses or adds a weight, or holds one that is not finite.
    Nothing of the size that a card states is built before the file is known to hold it.
    """
    card, saving = read_card_and_saving(path)
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
        raise BadCheckpoint(not_understood(type(error).__name__)) from None
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
