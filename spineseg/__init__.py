"""Segmentation of the vertebrae L1 to S1 on lateral lumbar radiographs.

The five names below load their module when they are first used, so that `import spineseg` takes no second for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spineseg.film import VERTEBRAE, Film
    from spineseg.inference.segmenter import Segmenter
    from spineseg.io.films import read_film
    from spineseg.io.labels import to_array

__all__ = ["VERTEBRAE", "Film", "Segmenter", "read_film", "to_array"]
__version__ = "0.3.0"
_HOME = {
    "Film": "film",
    "VERTEBRAE": "film",
    "read_film": "io.films",
    "to_array": "io.labels",
    "Segmenter": "inference.segmenter",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
