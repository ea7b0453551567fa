"""The cells of the report's experiment: how each is trained, on what, and what is measured of it.

One training gives two cells, for it is measured after few epochs and again after many; the learning rate is constant,
so the first is what a short training would have been.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from experiments.records import Row, digest, epochs_done
from experiments.the_report.recipes import wrong_flips, wrong_flips_and_background
from spineseg.data.augment import AugmentConfig, Transform
from spineseg.data.cache import build_cache
from spineseg.data.dataset import FilmDataset
from spineseg.evaluation.metrics import dice, response_matrix
from spineseg.film import VERTEBRAE
from spineseg.io.folder import labelled_films, write_case
from spineseg.model.checkpoint import load_checkpoint
from spineseg.model.config import GridConfig, UNetConfig, receptive_field
from spineseg.model.losses import LossName
from spineseg.model.unet import parameter_count
from spineseg.simulate import SimulateConfig, write_folder
from spineseg.training.config import SCRATCH, TrainConfig
from spineseg.training.history import EpochReport
from spineseg.training.loop import train

Flips = Literal["right", "report"]
Context = Literal["small", "whole"]
Length = Literal["short", "long"]

FEATURES: dict[Context, tuple[int, ...]] = {"small": (16, 24), "whole": (16, 24, 32, 48, 64, 64)}
"""One pooling, whose logits see less than two levels; five, whose logits see twice the grid's height."""
PATCH = 2
TRAIN_SERIES, TEST_SERIES = 4000, 4001
"""Seeds of the simulator."""


@dataclass(frozen=True)
class Budget:
    """What all cells share: films, grid, and how long short and long are."""

    films: int = 640
    """To train on; one in twenty of them is held back for the curve."""
    test_films: int = 64
    """To measure on; another series, which no cell trains on."""
    film_rows: int = 384
    grid: GridConfig = field(default_factory=lambda: GridConfig(rows=192, columns=128, intensity="global"))
    batch: int = 4
    short_epochs: int = 2
    long_epochs: int = 20

    @property
    def simulation(self) -> SimulateConfig:
        """Spines larger than by default, for the grid is small, and all six bodies on every film."""
        return SimulateConfig(rows=self.film_rows, span=(0.6, 0.76), aspect=(0.6, 0.75), crop_probability=0.0)

    def epochs(self, length: Length) -> int:
        """Passes over the films."""
        return self.short_epochs if length == "short" else self.long_epochs


SMOKE = Budget(20, 3, 128, GridConfig(128, 64, intensity="global"), batch=8, short_epochs=1, long_epochs=2)
"""Shows that the program runs; its numbers mean nothing."""


@dataclass(frozen=True)
class Recipe:
    """One training."""

    flips: Flips
    context: Context
    loss: LossName = "bce"
    seed: int = 0
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    width: int = 1
    """Times the usual feature counts."""
    targets: Literal["masks", "report-7"] = "masks"

    @property
    def name(self) -> str:
        """For folders and progress; what is usual is left out."""
        usual = (self.optimiser, self.learning_rate) == ("adam", 1e-3)
        parts = [
            self.flips,
            self.context + (f"x{self.width}" if self.width > 1 else ""),
            self.loss,
            "" if usual else f"{self.optimiser}{self.learning_rate:g}",
            "" if self.targets == "masks" else "seven",
            f"seed{self.seed}",
        ]
        return "-".join(filter(None, parts))

    @property
    def network(self) -> UNetConfig:
        """Batch normalisation, for normalising over a film would let every pixel know all of it.

        Every logit starts from 0.5, as the report's did.
        """
        return UNetConfig(
            in_channels=1,
            out_channels=len(VERTEBRAE) + (self.targets == "report-7"),
            features=tuple(self.width * count for count in FEATURES[self.context]),
            patch=PATCH,
            norm="batch",
            prior=0.5,
        )


CORNERS = tuple(Recipe(flips, context) for flips in ("report", "right") for context in ("small", "whole"))
"""From the report's own corner to the opposite one."""
REPORT = CORNERS[0]
RATES = tuple(
    replace(REPORT, optimiser=optimiser, learning_rate=rate) for optimiser in ("adam", "sgd") for rate in (1e-3, 1e-4)
)
WIDE = replace(CORNERS[2], width=3)
"""Right flips and small context: if only the network were too weak, this one would tell levels apart."""
REPORT_7 = replace(REPORT, targets="report-7")
SEEDS: dict[LossName, tuple[int, ...]] = {"bce": (0, 1), "dice": (0, 1), "bce+dice": (0,)}


def all_recipes() -> list[Recipe]:
    """Every training once, those that say most first."""
    crossed = [replace(corner, loss=loss) for loss in SEEDS for corner in CORNERS]
    again = [replace(recipe, seed=1) for recipe in crossed if 1 in SEEDS[recipe.loss]]
    return list(dict.fromkeys([*CORNERS, REPORT_7, *crossed, *RATES, WIDE, *again]))


def transform_of(recipe: Recipe) -> Transform | None:
    """The report's mistakes as a change of each training film."""
    if recipe.flips == "right":
        return None
    return wrong_flips if recipe.targets == "masks" else wrong_flips_and_background


def settings(recipe: Recipe, budget: Budget, length: Length) -> Row:
    """All that a cell's result depends on, as JSON has it."""
    return json.loads(json.dumps({"recipe": asdict(recipe), "budget": asdict(budget), "length": length}))


def simulated(budget: Budget, work: Path, processes: int, progress: Callable[..., Iterable[Any]]) -> tuple[Path, Path]:
    """Folders of films to train on and to measure on, made once for all cells of the same simulation."""
    folder = work / f"films-{digest(asdict(budget.simulation), budget.films, budget.test_films)}"
    series = {"train": (budget.films, TRAIN_SERIES), "test": (budget.test_films, TEST_SERIES)}
    for name, (count, seed) in series.items():
        if not (whole := folder / name / "complete").exists():
            shutil.rmtree(whole.parent, ignore_errors=True)
            write_folder(
                whole.parent, count, seed, budget.simulation, write=write_case, processes=processes, progress=progress
            )
            whole.touch()
    return folder / "train", folder / "test"


def training(recipe: Recipe, budget: Budget, data: Path, out: Path) -> TrainConfig:
    """The configuration of a cell's training: as the report's, but for what the recipe and the budget say."""
    return TrainConfig(
        data,
        out,
        SCRATCH,
        name=recipe.name,
        network=recipe.network,
        grid=budget.grid,
        augment=replace(AugmentConfig.none(), flip_probability=0.5 if recipe.flips == "right" else 0.0),
        loss=recipe.loss,
        check_targets=recipe.flips == "right",
        epochs=budget.long_epochs,
        batch=budget.batch,
        optimiser=recipe.optimiser,
        learning_rate=recipe.learning_rate,
        weight_decay=0.0,
        schedule="constant",
        warmup_steps=0,
        average=0.0,
        clip_norm=0.0,
        validation=0.05,
        seed=recipe.seed,
        workers=0,
        decoder="none",
        description="A cell of experiments/the_report, trained on simulated films only.",
    )


def run_folder(recipe: Recipe, budget: Budget, work: Path) -> Path:
    """Where a recipe's training lies; elsewhere for other settings, so that no two are mixed up."""
    return work / "runs" / f"{recipe.name}-{digest(settings(recipe, budget, 'long'))}"


def trained(recipe: Recipe, budget: Budget, length: Length, data: Path, out: Path) -> list[EpochReport]:
    """Train up to the length's last epoch, going on from where an earlier call came to or was cut short."""
    last, done = budget.epochs(length), epochs_done(out)
    if not 0 < done <= last:
        shutil.rmtree(out, ignore_errors=True)
        done = 0
    config = replace(training(recipe, budget, data, out), stop_after=last, resume=done > 0)
    return train(config, transform=transform_of(recipe))


@dataclass(frozen=True)
class Measured:
    """What a network says on films that it has not seen.

    dice: per vertebra, its channel above 0.5. union: Dice of the sum of the six channels, above 0.5, with all bone.
    named: share of a vertebra's pixels on which its own channel is the strongest (a guess has 1/6), mean over
    vertebrae. response: channel x vertebra, mean probability. correlation: between channels over all pixels, None for
    a channel that is the same everywhere.
    """

    dice: list[float]
    union: float
    named: float
    response: list[list[float]]
    correlation: list[list[float | None]]


def test_set(budget: Budget, folder: Path) -> FilmDataset:
    """The films to measure on, unchanged."""
    films = labelled_films(folder)
    cache = build_cache(films, budget.grid, folder / ".cache")
    return FilmDataset(cache, range(len(films)), budget.grid, augmentation=None, stride=PATCH)


@torch.inference_mode()
def probabilities(network: nn.Module, films: FilmDataset) -> tuple[np.ndarray, np.ndarray]:
    """(film, vertebra, rows, columns): what the network says, and which pixels are bone, on the grid of its logits."""
    said, true = [], []
    for images, targets in DataLoader(films, batch_size=16):
        said.append(torch.sigmoid(network(images)[:, : len(VERTEBRAE)]).numpy())
        true.append(targets[:, : len(VERTEBRAE)].numpy() > 0.5)
    return np.concatenate(said), np.concatenate(true)


def measure(said: np.ndarray, true: np.ndarray) -> Measured:
    """Means over films; said and true as `probabilities` gives them."""
    films = list(zip(said, true, strict=True))
    return Measured(
        dice=np.nanmean([dice(p > 0.5, t) for p, t in films], axis=0).round(4).tolist(),
        union=round(_union_dice(said, true), 4),
        named=round(_named_right(said, true), 4),
        response=np.nanmean([response_matrix(p, t) for p, t in films], axis=0).round(4).tolist(),
        correlation=_correlation(said),
    )


def _union_dice(said: np.ndarray, true: np.ndarray) -> float:
    found, bone = said.sum(1) > 0.5, true.any(1)
    shared, total = (found & bone).sum((1, 2)), found.sum((1, 2)) + bone.sum((1, 2))
    return float(np.mean(2 * shared / np.maximum(total, 1)))


def _named_right(said: np.ndarray, true: np.ndarray) -> float:
    strongest = said.argmax(1)
    return float(np.mean([(strongest[true[:, k]] == k).mean() for k in range(true.shape[1]) if true[:, k].any()]))


def _correlation(said: np.ndarray) -> list[list[float | None]]:
    """Pearson's, of float64 values so that a channel that hardly moves is no accident of rounding."""
    flat = np.moveaxis(said, 1, 0).reshape(said.shape[1], -1).astype(np.float64)
    spread = flat.std(1)
    still = spread < 1e-6
    unit = (flat - flat.mean(1, keepdims=True)) / np.where(still, 1.0, spread)[:, None]
    shared = (unit @ unit.T / flat.shape[1]).round(4)
    shared[still] = shared[:, still] = np.nan
    return [[None if np.isnan(value) else float(value) for value in row] for row in shared]


def level_px(films: FilmDataset) -> float:
    """Mean distance on the grid from one vertebra's middle to the next one's, over all films."""
    steps: list[float] = []
    for index in range(len(films)):
        masks = films[index][1].numpy() > 0.5
        middles = [np.argwhere(mask).mean(0) for mask in masks if mask.any()]
        steps += np.linalg.norm(np.diff(middles, axis=0), axis=1).tolist()
    return float(np.mean(steps)) * films.stride


def cell(recipe: Recipe, budget: Budget, length: Length, folders: tuple[Path, Path], work: Path) -> Row:
    """Train, measure, and tell: one line of the results."""
    out = run_folder(recipe, budget, work)
    reports = trained(recipe, budget, length, folders[0], out)
    network, card = load_checkpoint(out / "last.safetensors")
    films = test_set(budget, folders[1])
    return {
        "cell": f"{recipe.name}-{length}",
        **settings(recipe, budget, length),
        **asdict(measure(*probabilities(network, films))),
        "loss": [round(report.train_loss, 6) for report in reports],
        "held_back_loss": [round(report.validation_loss, 6) for report in reports],
        "films": card.origin["films"],
        "steps": len(reports) * (card.origin["films"] // budget.batch),
        "weights": parameter_count(network),
        "receptive_field_px": receptive_field(recipe.network),
        "level_px": round(level_px(films), 2),
        "seconds": round(sum(report.seconds for report in reports), 1),
        **{key: card.origin[key] for key in ("commit", "hardware", "versions")},
    }
