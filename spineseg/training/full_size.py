"""The films held back at their own size, through the whole way: views, levels, masks. Checkpoint and start compared."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spineseg.evaluation.evaluate import evaluate
from spineseg.film import BadInput
from spineseg.inference.segmenter import Segmenter
from spineseg.io.files import write_table
from spineseg.io.folder import FilmFiles

FOLDER, START = "held-back", "held-back-start"
"""What `evaluate` writes of the best checkpoint, and of the one that training began with."""
BEST, SPLIT = "best.safetensors", "split.csv"
TRAINED_ON, HELD_BACK = "trained on", "held back"


@dataclass(frozen=True)
class Score:
    """Of one checkpoint on the films held back. dice: mean over the films. right: films with all levels right."""

    dice: float
    right: int
    films: int
    dice_per_vertebra: dict[str, float]
    film_dice: dict[str, float]

    def __str__(self) -> str:
        return f"Dice {self.dice:.3f}, all levels right on {self.right} of {self.films}"

    def gains_over(self, start: Score) -> bool:
        """Whether it outlines better and numbers no fewer films rightly."""
        return self.right >= start.right and self.dice > start.dice


def score_films(weights: Path, films: Iterable[FilmFiles], out: Path, architecture: str) -> Score | None:
    """Write what `evaluate` writes into `out`; None if no film could be scored."""
    segmenter = Segmenter.load(weights, architecture=architecture)
    evaluate(segmenter, films, out, progress=partial(tqdm, desc=f"scoring {weights.stem}", unit="film"))
    return read_score(out)


def read_score(out: Path) -> Score | None:
    """What `score_films` found; None if there is nothing. Raises BadInput if it is not understood."""
    try:
        stored: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        with (out / "films.csv").open(encoding="utf-8", newline="") as stream:
            films = {row["film"]: float(row["mean_dice"] or "nan") for row in csv.DictReader(stream)}
        right, per_vertebra = stored["levels_right"], stored["dice_per_vertebra"]
        dice = {name: _number(estimate["mean"]) for name, estimate in per_vertebra.items()}
        score = Score(_number(stored["dice"]["mean"]), right["k"], right["n"], dice, films)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"expected a summary as evaluate writes it, got another ({type(error).__name__})") from None
    return score if score.films else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def scores_of(out: Path) -> tuple[Score | None, Score | None]:
    """What a run that ended found: of its start, and of its best epoch."""
    return read_score(out / START), read_score(out / FOLDER)


def verdict(start: Score | None, trained: Score | None) -> str:
    """What fine-tuning gave over its start, or training from scratch by itself, in a sentence."""
    if start is None:
        return f"The films held back at full size: {trained}" if trained else "No film held back could be scored"
    if trained is None:
        return f"No gain over the start: {BEST} is the checkpoint that training began with ({start})"
    if trained.gains_over(start):
        return f"The films held back at full size: {trained}; before, {start}"
    return f"No gain over the start at full size ({trained}; before, {start}): {BEST} is the start again"


def write_split(out: Path, trained_on: Sequence[FilmFiles], held_back: Sequence[FilmFiles]) -> None:
    """Which film was used for what, with the size of its file, by which `evaluate` knows it again."""
    parts = ((TRAINED_ON, trained_on), (HELD_BACK, held_back))
    rows = ((film.name, part, film.film.stat().st_size) for part, films in parts for film in films)
    write_table(out / SPLIT, ("film", "part", "bytes"), sorted(rows))


def films_to_score(run: Path, films: Iterable[FilmFiles]) -> list[FilmFiles]:
    """Those of the films that the run held back. Raises BadInput if none is there."""
    if not (chosen := _among(films, _films_of(run, HELD_BACK))):
        raise BadInput("None of the films that the run held back is in the folder; name the folder as --data")
    return chosen


def trained_on_among(checkpoint: Path, films: Iterable[FilmFiles]) -> str:
    """What to be warned of where the run that the checkpoint lies in was trained on some of the films; else nothing."""
    films = list(films)
    seen = len(_among(films, _films_of(checkpoint.parent, TRAINED_ON)))
    if not seen:
        return ""
    return (
        f"{checkpoint.name} was trained on {seen} of these {len(films)} films, so their scores are too high for others;"
        f" --held-back {checkpoint.parent} scores the films that it never saw"
    )


def _films_of(run: Path, part: str) -> set[tuple[str, int]]:
    """Name and size of the films that a run used so; none if the folder is no run's."""
    try:
        with (run / SPLIT).open(encoding="utf-8", newline="") as stream:
            return {(row["film"], int(row["bytes"])) for row in csv.DictReader(stream) if row["part"] == part}
    except FileNotFoundError:
        return set()
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"The run's {SPLIT} is not as train writes it; train again") from None


def _among(films: Iterable[FilmFiles], known: set[tuple[str, int]]) -> list[FilmFiles]:
    """Those of the films that are known by name and size."""
    return [film for film in films if (film.name, film.film.stat().st_size) in known]
