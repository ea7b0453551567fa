"""Where a checkpoint came from: command, commit, hardware, versions."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from spineseg.training.config import TrainConfig


def _commit() -> str:
    """The commit of the working tree, with -dirty where files differ; "unknown" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def origin(config: TrainConfig, films: int, seconds: float, device: str) -> dict[str, Any]:
    """Where a checkpoint came from, for its card; paths without the folders above them, which are nobody's business."""
    settings = {k: v.name if isinstance(v, Path) else v for k, v in asdict(config).items()}
    given = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "-m", "spineseg", *given]),
        "commit": _commit(),
        "films": films,
        "seconds": round(seconds),
        "hardware": f"{device}, {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in ("torch", "numpy", "accelerate")}},
        "settings": settings,
    }
