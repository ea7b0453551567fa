"""What the page needs of a model and of its answer; and models that load while the page is already up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from spineseg.film import Film, Masks
from spineseg.inference.grid import Box, GridFit
from spineseg.inference.levels import LevelReport


@runtime_checkable
class Result(Protocol):
    """What the page needs of a `Prediction`; see there."""

    @property
    def masks(self) -> Masks:
        """Disjoint, at the film's size."""
        ...

    @property
    def probabilities(self) -> Float32[np.ndarray, "vertebra=6 grid_rows grid_columns"]:
        """0..1 on the network's grid, before any rule."""
        ...

    @property
    def fit(self) -> GridFit:
        """Where the film lies on that grid."""
        ...

    @property
    def levels(self) -> LevelReport:
        """What was found, and how sure that is."""
        ...

    @property
    def seconds(self) -> float:
        """Film to masks."""
        ...

    @property
    def device(self) -> str:
        """As torch calls it."""
        ...

    @property
    def visible(self) -> Box:
        """Rows and columns of the film that show anything."""
        ...


@runtime_checkable
class Model(Protocol):
    """What the page needs of a `Segmenter`.

    Not imported from there: that imports torch, which takes seconds, and the page is up before that.
    """

    @property
    def device(self) -> str:
        """As torch calls it."""
        ...

    @property
    def card(self) -> Any:
        """A `Card`."""
        ...

    def __call__(self, film: Film, /) -> Result:
        """Segment one film."""
        ...


class Loading(Mapping[str, Model]):
    """Segmenters by name, loaded one after the other in a thread; asking for one waits until it is there."""

    def __init__(self, loaders: Mapping[str, Callable[[], Model]]) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._futures: dict[str, Future[Model]] = {name: pool.submit(load) for name, load in loaders.items()}
        pool.shutdown(wait=False)

    def __getitem__(self, name: str) -> Model:
        return self._futures[name].result()

    def __contains__(self, name: object) -> bool:
        return name in self._futures

    def __iter__(self) -> Iterator[str]:
        return iter(self._futures)

    def __len__(self) -> int:
        return len(self._futures)


def device(name: str) -> str:
    """A torch device as a person says it."""
    return "GPU" if name.startswith("cuda") else name.upper()
