"""The processes that torchrun or accelerate launch starts together, of which each works on its share of the films."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from spineseg.film import BadInput

Item = TypeVar("Item")
_LONGEST_WAIT = timedelta(days=30)
"""For the slowest of them."""


@dataclass(frozen=True)
class Processes:
    """This process, by its place from 0, among `count` of them."""

    index: int = 0
    count: int = 1

    def share(self, items: Iterable[Item]) -> Iterator[Item]:
        """Every `count`-th item, from its own place on."""
        return islice(items, self.index, None, self.count)

    def wait(self) -> None:
        """Return when all of them have come here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()


ALONE = Processes()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def connected() -> Processes:
    """The processes that the environment states, connected, each with a graphics card of its own where there are some.

    Raises BadInput if they cannot be connected. Loads torch only where there are several.
    """
    if (stated := os.environ.get("WORLD_SIZE") or "1") == "1":
        return ALONE
    import torch
    from torch import distributed

    try:
        count, rank = int(stated), int(os.environ.get("RANK") or 0)
        if not 0 <= rank < count:  # it would wait for a place that nobody gives it
            raise ValueError
        distributed.init_process_group("gloo", timeout=_LONGEST_WAIT)
    except (ValueError, RuntimeError) as error:
        raise BadInput(
            f"expected {stated} connected processes, as WORLD_SIZE states, got one alone; start them with torchrun"
        ) from error
    atexit.register(distributed.destroy_process_group)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK") or 0) % torch.cuda.device_count())
    return Processes(distributed.get_rank(), count)
