"""The settings that a run leaves open, fitted to where it starts and to the number of its films."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from spineseg.data.check import check_names
from spineseg.data.findings import counted
from spineseg.data.split import fitting_share, split_films
from spineseg.film import BadInput
from spineseg.io.folder import FilmFiles, labelled_films
from spineseg.model.architectures import completed
from spineseg.model.card import UNET, Card, read_card
from spineseg.model.checkpoint import load_checkpoint
from spineseg.training.config import SCRATCH, TrainConfig, validated


@dataclass(frozen=True)
class _Usual:
    """What a kind of training does where nothing else is asked for.

    steps: of the whole run, at least `epochs` passes. steps_per_epoch: at least so many; few films are repeated.
    """

    steps: int
    epochs: int
    steps_per_epoch: int
    batch: int
    learning_rate: float


_FINE_TUNING = _Usual(steps=80, epochs=4, steps_per_epoch=20, batch=4, learning_rate=5e-4)
_FROM_SCRATCH = _Usual(steps=2000, epochs=20, steps_per_epoch=20, batch=8, learning_rate=2e-3)
CACHE = "spineseg-cache"
"""Folder beside a run's for films on the grid."""
_WARMUP_SHARE, _MOST_WARMUP = 0.1, 100


@dataclass(frozen=True)
class Parts:
    """The labelled films of a folder, and which of them, by place, are trained on and held back."""

    labelled: Sequence[FilmFiles]
    trained_on: Sequence[int]
    held_back: Sequence[int]

    def files(self, places: Sequence[int]) -> list[FilmFiles]:
        """The films at these places."""
        return [self.labelled[place] for place in places]


def fit_to_folder(config: TrainConfig) -> tuple[TrainConfig, Parts]:
    """The configuration with nothing left open, and how the folder's films are dealt out. No film's pixels are read.

    Raises BadInput as `fitted` and `with_steps` do, and for a folder whose names `check` finds errors in.
    """
    labelled = labelled_films(config.data)
    check_names(config.data)
    config = fitted(config, len(labelled))
    trained_on, held_back = split_films(labelled, config)
    return with_steps(config, len(trained_on)), Parts(labelled, trained_on, held_back)


def fitted(config: TrainConfig, films: int) -> TrainConfig:
    """The configuration with every setting that is right for so many labelled films and not yet there but the steps'.

    Network, grid and decoder are those of the checkpoint that it starts from. Raises BadInput if its parts do not go
    together, or others than the checkpoint's were asked for.
    """
    config = validated(like_start(config))
    return replace(
        config,
        network=completed(config.architecture, config.network, config.grid),
        name=config.name or config.out.resolve().name,
        cache=config.cache or config.out.parent / CACHE,
        validation=fitting_share(films) if config.validation is None else config.validation,
    )


def with_steps(config: TrainConfig, films: int) -> TrainConfig:
    """The configuration with rate, warm-up and length for so many films to train on.

    Raises BadInput for a warm-up that the run would not finish.
    """
    usual = _FROM_SCRATCH if config.start == SCRATCH else _FINE_TUNING
    batch = min(config.batch or usual.batch, films)
    each = films // batch
    repeats = config.repeats or (1 if config.epochs else math.ceil(usual.steps_per_epoch / each))
    epochs = config.epochs or max(usual.epochs, math.ceil(usual.steps / (each * repeats)))
    steps = step_count(films, batch, repeats) * epochs
    warmup = min(_MOST_WARMUP, int(steps * _WARMUP_SHARE)) if config.warmup_steps is None else config.warmup_steps
    if warmup > steps:
        raise BadInput(f"A warm-up of {warmup} steps is longer than the run of {steps}; set fewer --warmup-steps")
    rate = usual.learning_rate if config.learning_rate is None else config.learning_rate
    return replace(config, batch=batch, repeats=repeats, epochs=epochs, warmup_steps=warmup, learning_rate=rate)


def step_count(films: int, batch: int, repeats: int) -> int:
    """Of an epoch: an incomplete last batch is left out."""
    return films * repeats // batch


def like_start(config: TrainConfig) -> TrainConfig:
    """The configuration with network, grid and decoder of the checkpoint that it starts from.

    Raises BadInput if the checkpoint is of another architecture, or others of these than its own were asked for.
    """
    if config.start == SCRATCH:
        return config
    card = read_card(config.start)
    if card.architecture == UNET != config.architecture:
        raise BadInput(
            f"The weights {card.name} are of the architecture {UNET}, not {config.architecture}; add --from {SCRATCH}"
        )
    if card.architecture != config.architecture:
        load_checkpoint(config.start, config.architecture)  # refuses, and says which it is and what to trust
    _refuse_others(config, card)
    return replace(config, network=card.network, grid=card.grid, decoder=card.decoder)


def _refuse_others(config: TrainConfig, card: Card) -> None:
    """Raises BadInput if a grid or a network was asked for that the checkpoint does not have."""
    usual = TrainConfig(config.data)
    for part in ("grid", "network"):
        wanted, there = getattr(config, part), getattr(card, part)
        if wanted != getattr(usual, part) and (changed := _differences(wanted, there)):
            said = ", ".join(f"--{part}.{name} {value} instead of {old}" for name, (value, old) in changed.items())
            raise BadInput(f"The checkpoint {card.name} has another {part} ({said}); leave it out, or --from {SCRATCH}")


def _differences(wanted: Any, there: Any) -> dict[str, tuple[Any, Any]]:
    """Settings in which the two differ, by name."""
    pairs = {one.name: (getattr(wanted, one.name), getattr(there, one.name)) for one in fields(wanted)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def what_is_done(config: TrainConfig, trained_on: int, held_back: int) -> str:
    """One sentence on a training with nothing left open."""
    kind = "Training from scratch" if config.start == SCRATCH else f"Fine-tuning {read_card(config.start).name}"
    steps = step_count(trained_on, cast(int, config.batch), cast(int, config.repeats))
    return (
        f"{kind} on {counted(trained_on, 'film')}, {held_back} held back: {counted(cast(int, config.epochs), 'epoch')}"
        f" of {counted(steps, 'step')} of {counted(cast(int, config.batch), 'film')}, learning rate"
        f" {config.learning_rate:g} after {counted(cast(int, config.warmup_steps), 'step')} of warm-up"
    )
