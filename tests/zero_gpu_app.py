"""`app.py` on a ZeroGPU Space that has no GPU: the package's two calls that need one are replaced, and nothing else.

Run as a program. The "GPU" that the device service names decides what becomes of the task: "full" has no memory,
"broken" ends the process, any other computes on the CPU.
"""

from __future__ import annotations

import os
import runpy
from itertools import chain
from pathlib import Path
from typing import Any

import torch

if torch.version.cuda is None:  # a build without CUDA lacks what the package looks for when it is imported
    torch.version.cuda, torch._C._cuda_init = "13.0", None
    torch.cuda._is_in_bad_fork = bool  # a function that says no, by a name that can be pickled

import spaces.zero.torch as emulation
from spaces.zero.torch import patching


def init(uuid: str) -> None:
    """Stands in for the CUDA context: what is sent to cuda stays where it is."""
    if uuid == "broken":
        os._exit(1)
    move_to = torch.Tensor.to

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if args[:1] != ("cuda",):
            return move_to(tensor, *args, **kwargs)
        if uuid == "full":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return tensor

    torch.Tensor.to = to  # type: ignore[method-assign]


def move(callback: object = None) -> None:
    """Weights from the disk, where the package keeps them from the start on, into memory instead of a GPU's."""
    for pack in patching.tensor_packs:
        content, offset = Path(pack.path()).read_bytes(), 0
        for like, size, aligned in chain(*pack.batches, pack.big_tensors):
            values = torch.frombuffer(bytearray(content[offset : offset + size]), dtype=like.dtype)
            offset += aligned
            for fake in pack.fakes[like]:
                fake.data = values.as_strided(like.shape, like.stride())


if __name__ == "__main__":
    emulation.init, emulation.move = init, move
    runpy.run_path("app.py", run_name="__main__")
