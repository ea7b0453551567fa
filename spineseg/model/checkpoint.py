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
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from spineseg.film import BadInput
from spineseg.io.files import replacing
from spineseg.model.architectures import build_network, output_stride
from spineseg.model.card import UNET, BadCheckpoint, Card, card_content, not_understood, write_card
from spineseg.model.onnx_graph import Shapes, unet_shapes
from spineseg.model.weights import NOT_FINITE, NOT_WHOLE, card_of, check_shapes, difference


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
    if found := difference(_expected(card), {name: tuple(value.shape) for name, value in state.items()}):
        raise BadCheckpoint(f"expected the network that the card describes, got another ({found}); correct either")
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
    if card.architecture == UNET:
        return unet_shapes(card.network)
    with torch.random.fork_rng(devices=[]):
        network = build_network(card.architecture, card.network)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _check_output(network: nn.Module, card: Card) -> None:
    """Raises BadArchitecture or BadCheckpoint if another network than the U-Net answers unlike its card says."""
    if card.architecture == UNET:
        return
    stride = output_stride(card.architecture, network, card.network, card.grid)
    if stride != card.network.patch:
        raise BadCheckpoint(f"expected logits on the grid divided by {card.network.patch}, got {stride}; train again")


def load_checkpoint(path: Path, architecture: str = UNET) -> tuple[nn.Module, Card]:
    """The network in float32, ready to predict, and its card.

    architecture: what the user says that the weights belong to, "unet" or `module:factory`. A card that names another
    is refused, so that a file from a stranger runs nothing. Raises BadCheckpoint if the file is no safetensors, misses
    or adds a weight, or holds one that is not finite, BadArchitecture if the named network cannot be built.
    Nothing of the size that a card states is built before the file is known to hold it.
    """
    try:
        card = card_of(path, architecture)
        check_shapes(path, _expected(card))
        network = build_network(card.architecture, card.network)
        network.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, OSError):
        raise BadCheckpoint(NOT_WHOLE) from None
    except (TypeError, ValueError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        if isinstance(error, BadInput) or architecture != UNET:  # an error of the user's own code stays as it is
            raise
        raise BadCheckpoint(not_understood(type(error).__name__)) from None
    if not _finite(network.state_dict()):
        raise BadCheckpoint(NOT_FINITE)
    _check_output(network, card)
    return network.eval(), card
