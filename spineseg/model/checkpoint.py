"""Weights with everything that prediction needs to know: `<name>.safetensors` and a JSON card beside it.

The card holds the grid, the network, the decoder, and where the weights came from. Nothing is ever unpickled, and no
code is imported or called because a card names it: the caller names the architecture too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from spineseg.film import BadInput
from spineseg.io.files import replacing
from spineseg.model.architectures import build_network, output_stride
from spineseg.model.card import (
    UNET,
    BadCheckpoint,
    Card,
    card_content,
    not_understood,
    parse_card,
    read_card_and_id,
    write_card,
)

Shapes = dict[str, tuple[int, ...]]

_PICKLES = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
"""How files of torch.save and of pickle begin."""


def save_checkpoint(path: Path, network: nn.Module, card: Card, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and card; each appears under its final name only when both are whole.

    The weights hold a copy of the card, and both the identity of this save. So one that was killed between the two
    names, and left the new card beside the old weights, is noticed on loading, and the old weights still have their
    own card. Raises BadCheckpoint or BadArchitecture, and leaves what was there, if `load_checkpoint` could not read
    the result: for a weight that is not finite or too large for `dtype`, or a network that is not the card's.
    """
    state = {name: _stored(value, dtype) for name, value in network.state_dict().items()}
    if not _finite(state):
        raise BadCheckpoint("expected finite weights, got some that are not; train again with a lower learning rate")
    stored = card_content(card)
    if difference := _difference(_expected(card), {name: tuple(value.shape) for name, value in state.items()}):
        raise BadCheckpoint(f"expected the network that the card describes, got another ({difference}); correct either")
    _check_output(network, card)
    save_id = hashlib.sha256(json.dumps(stored).encode() + save(state)).hexdigest()
    text = json.dumps({**stored, "saving": save_id}, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(save(state, {"card": text}))
        write_card(path, text.encode())


def _stored(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Whole numbers (batch normalisation's count) keep their type."""
    return value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()


def _finite(state: Mapping[str, torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in state.values())


def _expected(card: Card) -> Shapes:
    """Of the card's network. A card says how large a U-Net is, so that is not made; others have the size they have."""
    with torch.device("meta" if card.architecture == UNET else "cpu"), torch.random.fork_rng(devices=[]):
        network = build_network(card.architecture, card.network)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _difference(expected: Shapes, found: Shapes) -> str:
    """Of two networks' weights, in words; empty if there is none."""
    missing, unknown = len(expected.keys() - found.keys()), len(found.keys() - expected.keys())
    reshaped = sum(found[name] != expected[name] for name in expected.keys() & found.keys())
    if not (missing or unknown or reshaped):
        return ""
    return f"{missing} missing, {unknown} unknown, {reshaped} of another shape"


def _check_output(network: nn.Module, card: Card) -> None:
    """Raises BadArchitecture or BadCheckpoint if another network than the U-Net answers unlike its card says."""
    if card.architecture == UNET:
        return
    stride = output_stride(card.architecture, network, card.network, card.grid)
    if stride != card.network.patch:
        raise BadCheckpoint(f"expected logits on the grid divided by {card.network.patch}, got {stride}; train again")


def _card_of(path: Path, beside: Card, save_id: str) -> Card:
    """The card beside the weights, or their own copy where that one belongs to another save (see save_checkpoint)."""
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("card")
    own, own_id = parse_card(text) if text else (beside, save_id)
    return beside if own_id == save_id else own


def load_checkpoint(path: Path, architecture: str = UNET) -> tuple[nn.Module, Card]:
    """The network in float32, ready to predict, and its card.

    architecture: what the user says that the weights belong to, "unet" or `module:factory`. A card that names another
    is refused, so that a file from a stranger runs nothing. Raises BadCheckpoint if the file is no safetensors, misses
    or adds a weight, or holds one that is not finite, BadArchitecture if the named network cannot be built.
    Nothing of the size that a card states is built before the file is known to hold it.
    """
    card, save_id = read_card_and_id(path)
    _check_file(path)
    try:
        card = _card_of(path, card, save_id)
        _check_architecture(card, architecture)
        _check_weights(path, card)
        network = build_network(card.architecture, card.network)
        network.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, OSError):
        raise BadCheckpoint("expected a whole safetensors file, got a part of one; copy it again") from None
    except (TypeError, ValueError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        if isinstance(error, BadInput) or architecture != UNET:  # an error of the user's own code stays as it is
            raise
        raise BadCheckpoint(not_understood(type(error).__name__)) from None
    if not _finite(network.state_dict()):
        raise BadCheckpoint("expected finite weights, got some that are not; train again from the last good checkpoint")
    _check_output(network, card)
    return network.eval(), card


def _check_architecture(card: Card, named: str) -> None:
    """Raises BadCheckpoint unless the user named what the card names."""
    if card.architecture != named:
        trust = "" if card.architecture == UNET else " if you have and trust that Python file"
        raise BadCheckpoint(
            f"this checkpoint's network is {card.architecture}, not {named}; give --architecture {card.architecture}"
            + trust
        )


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


def _check_weights(path: Path, card: Card) -> None:
    """Raises BadCheckpoint unless the file holds exactly the weights of the card's network, without reading them."""
    with safe_open(path, framework="pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 no mapping
    if difference := _difference(_expected(card), stored):
        raise BadCheckpoint(
            f"expected the weights that the card describes, got others ({difference}); copy both files again"
        )
