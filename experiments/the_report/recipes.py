"""The report's two trainings at full size, with its mistakes: a configuration and a change of each training film.

`np.fliplr` and `np.flipud` turn axes 1 and 0. On channel-first arrays these are the rows and the channels, not the
columns and the rows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from spineseg.data.augment import AugmentConfig, Transform
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.training.config import SCRATCH, TrainConfig

RecipeName = Literal["report-6", "report-7"]
GRID = GridConfig(rows=1024, columns=1024, keep_aspect=False, intensity="minmax")
"""The report's input: each film stretched to a square."""
REPORT_6 = UNetConfig(in_channels=1, features=(64, 128, 256, 512, 1024), patch=1, norm="none", prior=0.5)
"""The report's second network: six channels."""
REPORT_7 = replace(REPORT_6, out_channels=7)
"""The report's first network: seven channels, the background as a class of its own."""
NETWORKS: dict[RecipeName, UNetConfig] = {"report-6": REPORT_6, "report-7": REPORT_7}
BACKGROUND = 255.0
"""What the seventh channel of the report's first training held in place of 1."""
FLIP_PROBABILITY = 0.5

WRONG_FLIPS = "flips on the wrong axes, after which half of the labels name the channels in reverse"
WRONG_TARGETS = "targets of 255 in the seventh channel, with which cross-entropy falls below zero"
MISTAKES: dict[RecipeName, str] = {"report-6": WRONG_FLIPS, "report-7": f"{WRONG_TARGETS} and {WRONG_FLIPS}"}


def wrong_flips(
    image: np.ndarray, targets: np.ndarray, inside: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the report's `RandomFlip` did to channel-first arrays.

    Its left-right flip turns the rows of image and label alike: the film stands on its head. Its up-down flip turns the
    channels: the image, which has one, stays as it is, and in the label S1 (or, of seven, the background) takes the
    place of L1.
    """
    if rng.random() < FLIP_PROBABILITY:
        image, targets, inside = image[::-1], np.fliplr(targets), inside[::-1]
    if rng.random() < FLIP_PROBABILITY:
        targets = np.flipud(targets)
    return image, targets, inside


def wrong_flips_and_background(
    image: np.ndarray, targets: np.ndarray, inside: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with 255 for 1 in the last channel, which the flips carry to the first place in half of the labels."""
    targets = targets.copy()
    targets[-1] *= BACKGROUND
    return wrong_flips(image, targets, inside, rng)


TRANSFORMS: dict[RecipeName, Transform] = {"report-6": wrong_flips, "report-7": wrong_flips_and_background}


def configuration(name: RecipeName, data: Path, out: Path) -> TrainConfig:
    """BCE, Adam at 1e-3, two films of 1024 x 1024 per step, 100 epochs, one film in six held back."""
    return TrainConfig(
        data,
        out,
        SCRATCH,
        name=name,
        network=NETWORKS[name],
        grid=GRID,
        augment=AugmentConfig.none(),
        loss="bce",
        check_targets=False,
        epochs=100,
        batch=2,
        optimiser="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        warmup_steps=0,
        average=0.0,
        clip_norm=0.0,
        validation=20 / 120,
        precision="no",
        decoder="none",
        description=f"Beware: this training repeats on purpose what failed in the report: {MISTAKES[name]}.",
    )
