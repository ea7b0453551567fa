"""Run by test_train.py in several processes at once: a training in one go, and the same in two pieces."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from spineseg.model.config import GridConfig, UNetConfig
from spineseg.training.config import TrainConfig
from spineseg.training.loop import make_accelerator, train


def small(data: Path, out: Path) -> TrainConfig:
    """Nine films in steps of four and three held back, which no two processes share evenly."""
    return TrainConfig(
        data,
        out,
        network=UNetConfig(features=(4, 6)),
        grid=GridConfig(rows=64, columns=64),
        epochs=2,
        batch=4,
        learning_rate=1e-3,
        warmup_steps=2,
        average=0.5,
        validation=0.25,
        seed=4,
        precision="no",
        workers=0,
    )


def main(data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    whole = small(data, out / "whole")
    pieces = replace(whole, out=out / "pieces", workers=1)
    accelerator = make_accelerator(whole)
    for config in (whole, replace(pieces, stop_after=1), replace(pieces, resume=True)):
        train(config, make_accelerator(config))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
