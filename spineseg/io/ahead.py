"""Work on some items in threads while whoever wants the results does something else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Each item in turn with what `function` makes of it, begun up to `threads` items before it is asked for.

    So at most `threads` + 1 results are held at a time. The items themselves are taken in the caller's thread. Where
    the caller stops, what has begun is finished and the rest is not begun.
    """
    pool = ThreadPoolExecutor(threads)
    begun: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            begun.append((item, pool.submit(function, item)))
            if len(begun) > threads:
                yield begun.popleft()
        while begun:
            yield begun.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
