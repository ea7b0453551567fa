"""Whether a film's picture shows bone bright or dark, whatever its file says.

Most films show it by their brightness. For the others the network looks once at the film and once at its inverse: it
outlines bone more clearly where bone is bright, as on most films that it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32

from spineseg.film import bounding_box
from spineseg.inference.verdict import bone_confidence

Image = Float32[np.ndarray, "rows columns"]
Inside = Bool[np.ndarray, "rows columns"]
Probabilities = Float32[np.ndarray, "vertebra rows columns"]

BRIGHTER = 0.03
"""Least difference of mean brightness, of which the film's 1st to 99th percentile are 0 and 1, that leaves no doubt."""
_LEAST_SIDE = 16
"""In grid pixels; a narrower strip has no middle and no margins."""
CLEARER = 0.004
"""Least difference of clarity that overrules the file. LOG.md, 2026-11-27, has what both were measured on."""


def looks_bright(image: Image, inside: Inside) -> bool:
    """Whether brightness alone shows that bone is bright: the pelvis against the chest, and the spine against the skin.

    A frame of one grey value around the film cannot feign both. image: the film on its grid, in any unit.
    """
    picture = image[bounding_box(inside)]
    rows, columns = picture.shape
    if min(rows, columns) < _LEAST_SIDE:
        return False
    low, high = np.percentile(picture[::2, ::2], [1, 99])
    unit = np.clip((picture - low) / max(float(high - low), 1e-6), 0, 1)
    pelvis_to_chest = unit[rows * 3 // 5 :].mean() - unit[: rows * 2 // 5].mean()
    margin = np.ones(unit.shape, bool)
    margin[rows // 16 : rows - rows // 16, columns // 16 : columns - columns // 16] = False
    spine = unit[rows // 4 : rows - rows // 4, columns // 3 : columns - columns // 3]
    return bool(min(pelvis_to_chest, spine.mean() - unit[margin].mean()) > BRIGHTER)


def clarity(probabilities: Probabilities) -> float:
    """How clearly bone is outlined and named, 0..2; 0 where there is none."""
    found = (probabilities.sum(0) > 0.5).any()
    return sum(bone_confidence(probabilities)) if found else 0.0


def bone_is_dark(image: Image, inside: Inside, look: Callable[[Image], Probabilities] | None) -> bool:
    """Whether the picture contradicts that bone is bright.

    look: the network's probabilities for a film on its grid; not called where brightness leaves no doubt. Without
    one the file is believed then.
    """
    if looks_bright(image, inside):
        return False
    if looks_bright(-image, inside):
        return True
    return look is not None and clarity(look(-image)) - clarity(look(image)) > CLEARER
