"""The three verdicts on a film, and what tells a lateral lumbar radiograph from any other picture."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from jaxtyping import Float32

RELIABLE: Final = "numbering reliable"
CHECK: Final = "check the numbering"
NOT_LUMBAR: Final = "this does not look like a lateral lumbar radiograph"
Verdict = Literal["numbering reliable", "check the numbering", "this does not look like a lateral lumbar radiograph"]
VERDICTS: tuple[Verdict, ...] = (RELIABLE, CHECK, NOT_LUMBAR)
"""The words of every command, page, table and file."""

BONE, TRACE = 0.5, 0.1
"""Probability above which a pixel counts as bone, and as a trace of it."""


def traces(bone: Float32[np.ndarray, "rows columns"]) -> float:
    """Share, of all that shows a trace of bone, that is not bone; 1 where there is no trace.

    On a lateral lumbar film bodies have narrow soft edges; on any other picture the network finds vague patches.
    """
    trace = np.count_nonzero(bone > TRACE)
    return 1.0 - np.count_nonzero(bone > BONE) / trace if trace else 1.0
