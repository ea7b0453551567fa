"""A checkpoint's file of weights, told and checked before anything of its size is read. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
from safetensors import SafetensorError, safe_open

from spineseg.model.card import UNET, BadCheckpoint, Card, not_understood, parse_card, read_card_and_id
from spineseg.model.onnx_graph import Shapes, unet_shapes

_PICKLES = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
"""How files of torch.save and of pickle begin."""
NOT_FINITE = "expected finite weights, got some that are not; train again from the last good checkpoint"
NOT_WHOLE = "expected a whole safetensors file, got a part of one; copy it again"


def card_of(path: Path, architecture: str) -> Card:
    """The card of a file of weights, the copy in them where the one beside belongs to another save.

    architecture: what the user says that the weights belong to. Raises BadCheckpoint if the file is no safetensors or
    the card names another architecture.
    """
    beside, save_id = read_card_and_id(path)
    _check_file(path)
    with safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get("card")
    own, own_id = parse_card(text) if text else (beside, save_id)
    card = beside if own_id == save_id else own
    if card.architecture != architecture:
        trust = "" if card.architecture == UNET else " if you have and trust that Python file"
        raise BadCheckpoint(
            f"this checkpoint's network is {card.architecture}, not {architecture}; "
            f"give --architecture {card.architecture}{trust}"
        )
    return card


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


def check_shapes(path: Path, expected: Shapes) -> None:
    """Raises BadCheckpoint unless the file holds exactly these weights, without reading them."""
    with safe_open(path, framework="np") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 no mapping
    if found := difference(expected, stored):
        raise BadCheckpoint(
            f"expected the weights that the card describes, got others ({found}); copy both files again"
        )


def difference(expected: Shapes, found: Shapes) -> str:
    """Of two networks' weights, in words; empty if there is none."""
    missing, unknown = len(expected.keys() - found.keys()), len(found.keys() - expected.keys())
    reshaped = sum(found[name] != expected[name] for name in expected.keys() & found.keys())
    if not (missing or unknown or reshaped):
        return ""
    return f"{missing} missing, {unknown} unknown, {reshaped} of another shape"


def read_unet(path: Path) -> tuple[dict[str, np.ndarray], Card]:
    """A U-Net's weights by name and its card, as `checkpoint.load_checkpoint` reads them; the same errors."""
    try:
        card = card_of(path, UNET)
        check_shapes(path, unet_shapes(card.network))
        weights = _arrays(path)
    except (SafetensorError, OSError):
        raise BadCheckpoint(NOT_WHOLE) from None
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        if isinstance(error, BadCheckpoint):
            raise
        raise BadCheckpoint(not_understood(type(error).__name__)) from None
    if not all(np.isfinite(weight).all() for weight in weights.values()):
        raise BadCheckpoint(NOT_FINITE)
    return weights, card


def _arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (TypeError, AttributeError):  # bfloat16, which NumPy lacks
        from safetensors.torch import load_file as load_tensors

        return {name: value.float().numpy() for name, value in cast(Mapping, load_tensors(path)).items()}
