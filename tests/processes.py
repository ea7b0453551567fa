"""Run by test_loop.py in several processes at once: a training in one go, and the same in two pieces."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from small import small_training

from spineseg.training.config import TrainConfig
from spineseg.training.loop import train
from spineseg.training.prepare import make_accelerator


def shared_unevenly(data: Path, out: Path) -> TrainConfig:
    """Nine films in steps of four and three held back."""
    return small_training(data, out, epochs=2, batch=4, learning_rate=1e-3, validation=0.25)


def main(data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    whole = shared_unevenly(data, out / "whole")
    pieces = replace(whole, out=out / "pieces", workers=1)
    accelerator = make_accelerator(whole)
    for config in (whole, replace(pieces, stop_after=1), replace(pieces, resume=True)):
        train(config, make_accelerator(config))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
