"""What the page needs of a model and of its answer; and models that load while the page is already up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

from spineseg.film import Film
from spineseg.inference.prediction import Prediction


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

    def __call__(self, film: Film, /) -> Prediction:
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
