"""Which films are held back: a share of them, or one fold after the other; by film or by patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spineseg.data.config import SplitConfig
from spineseg.io.folder import BadDataset, FilmFiles
from spineseg.io.patients import folds_in_table, patients_in_dicom, patients_in_table

_LARGE_SHARE, _SMALL_SHARE, _ENOUGH = 0.2, 0.05, 40


def split_films(films: Sequence[FilmFiles], config: SplitConfig) -> tuple[list[int], list[int]]:
    """Indices of the films to train on and of those held back, as the configuration wants them.

    Raises BadDataset if there are too few films, and BadPatients if their patients are not known.
    """
    if config.fold:
        folds = folds_of(films, config)
        held = [k for k, fold in enumerate(folds) if fold == config.fold]
    else:
        share = fitting_share(len(films)) if config.validation is None else config.validation
        held = hold_back(_groups(films, config), share, config.seed)
    return sorted(set(range(len(films))) - set(held)), held


def fitting_share(films: int) -> float:
    """Share of so many films to hold back: a fifth, of more than 200 films 40 of them, of more than 800 a twentieth."""
    return max(min(_LARGE_SHARE, _ENOUGH / max(films, 1)), _SMALL_SHARE)


def folds_of(films: Sequence[FilmFiles], config: SplitConfig) -> list[int]:
    """The fold in which each film is held back, 1 to config.folds.

    Folds are of about equal size. They follow from the films' names and the seed, or are those of the table.
    """
    names = [film.name for film in films]
    given = folds_in_table(config.patients, names) if isinstance(config.patients, Path) else None
    if given is None:
        return spread(_groups(films, config), config.folds, config.seed)
    if len(set(given)) != config.folds:
        raise BadDataset(f"expected {config.folds} folds in the table, got {len(set(given))}; set --folds alike")
    return given


def _groups(films: Sequence[FilmFiles], config: SplitConfig) -> list[int]:
    """A number for each film, the same for those that stay together."""
    if config.patients is None:
        return list(range(len(films)))
    if config.patients == "dicom":
        return patients_in_dicom([film.film for film in films])
    return patients_in_table(config.patients, [film.name for film in films])


def hold_back(groups: Sequence[int], share: float, seed: int) -> list[int]:
    """Indices of about that share of the films, whole groups; at least one group stays on each side.

    Raises BadDataset if there is one group only.
    """
    order, size = _shuffled(groups, 2, seed), Counter(groups)
    wanted, chosen = max(round(len(groups) * share), 1), set[int]()
    for group in order[:-1]:
        if sum(size[k] for k in chosen) >= wanted:
            break
        chosen.add(group)
    return [k for k, group in enumerate(groups) if group in chosen]


def spread(groups: Sequence[int], folds: int, seed: int) -> list[int]:
    """A fold for each film, 1 to `folds`: the largest groups first, each into the smallest fold so far.

    Raises BadDataset if there are fewer groups than folds.
    """
    size = Counter(groups)
    fold_of: dict[int, int] = {}
    filled = [0] * folds
    for group in sorted(_shuffled(groups, folds, seed), key=lambda group: -size[group]):
        fold_of[group] = smallest = filled.index(min(filled))
        filled[smallest] += size[group]
    return [fold_of[group] + 1 for group in groups]


def _shuffled(groups: Sequence[int], least: int, seed: int) -> list[int]:
    """The different groups in a random order. Raises BadDataset if there are fewer than `least`."""
    different = max(groups, default=-1) + 1
    if different < least:
        what = "labelled films" if different == len(groups) else "patients"
        raise BadDataset(f"expected at least {least} {what}, got {different}; add films or simulate some")
    return [int(group) for group in np.random.default_rng(seed).permutation(different)]
