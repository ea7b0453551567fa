"""The three verdicts on a film, what tells a lumbar radiograph from any other picture, and how sure bone is."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from jaxtyping import Float32

from spineseg.inference.views import bone_of

RELIABLE: Final = "numbering reliable"
CHECK: Final = "check the numbering"
NOT_LUMBAR: Final = "this does not look like a lateral lumbar radiograph"
Verdict = Literal["numbering reliable", "check the numbering", "this does not look like a lateral lumbar radiograph"]
VERDICTS: tuple[Verdict, ...] = (RELIABLE, CHECK, NOT_LUMBAR)
"""The words of every command, page, table and file."""

UPSIDE_DOWN: Final = "the film may be upside down"
"""A reason to check the numbering: the network is surer of the film turned by 180 degrees."""
BONE, TRACE = 0.5, 0.1
"""Probability above which a pixel counts as bone, and as a trace of it."""


def traces(bone: Float32[np.ndarray, "rows columns"]) -> float:
    """Share, of all that shows a trace of bone, that is not bone; 1 where there is no trace.

    On a lateral lumbar film bodies have narrow soft edges; on any other picture the network finds vague patches.
    """
    trace = np.count_nonzero(bone > TRACE)
    return 1.0 - np.count_nonzero(bone > BONE) / trace if trace else 1.0


def bone_confidence(probabilities: Float32[np.ndarray, "vertebra rows columns"]) -> tuple[float, float]:
    """Mean probability of bone and of the strongest channel where bone is above 0.5; 1 where it nowhere is."""
    bone = bone_of(probabilities)
    found = bone > BONE
    if not found.any():
        return 1.0, 1.0
    return float(bone[found].mean()), float(probabilities.max(0)[found].mean())


def mean_of_bone(channel: Float32[np.ndarray, "rows columns"]) -> float:
    """Mean probability of one vertebra where it is above 0.5; 1 where it nowhere is."""
    found = channel > BONE
    return float(channel[found].mean()) if found.any() else 1.0
