"""A segmenter on labelled films, at the films' own size: scores per vertebra and film, a summary with intervals."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spineseg.evaluation.metrics import (
    AnatomyFaults,
    PerVertebra,
    anatomy_faults,
    bootstrap_interval,
    dice,
    hausdorff95,
    iou,
    l3_depth_px,
    levels_right,
    wilson_interval,
)
from spineseg.film import VERTEBRAE, BadInput, Case, Film, Masks
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import VERDICTS, Verdict
from spineseg.io.ahead import ahead
from spineseg.io.answers import ERROR, UNANSWERED, Answers
from spineseg.io.files import nullified, write_table, write_text
from spineseg.io.folder import FilmFiles, read_case

DICE_COLUMNS = (
    "film",
    "vertebra",
    "dice",
    "iou",
    "hausdorff95_px",
    "hausdorff95_l3_share",
    "present_in_reference",
    "present_in_prediction",
    "confidence",
)
_PER_VERTEBRA = ("dice", "iou", "hausdorff95_px", "hausdorff95_l3_share")
FILM_COLUMNS = ("film", "mean_dice", "levels_right", "verdict", "reasons", "anatomy_faults", "seconds")


@dataclass(frozen=True, eq=False)
class FilmScore:
    """One film's figures. Scores are NaN where neither side has the vertebra; distances are infinite where one has.

    hausdorff95_px: in column widths. hausdorff95_l3_share: the same over the depth of the reference's L3.
    seconds: from film to masks, on this machine.
    """

    name: str
    dice: PerVertebra
    iou: PerVertebra
    hausdorff95_px: PerVertebra
    hausdorff95_l3_share: PerVertebra
    in_reference: tuple[bool, ...]
    in_prediction: tuple[bool, ...]
    confidence: tuple[float, ...]
    verdict: Verdict
    reasons: tuple[str, ...]
    levels_right: bool
    faults: AnatomyFaults
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """A mean over n films with its 95 % bootstrap interval; NaN where there are too few."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Proportion:
    """k of n, with the 95 % Wilson interval of the share."""

    k: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What a checkpoint reached on a folder of films.

    dice: of each film's mean over its vertebrae. hausdorff95_l3_share: of each film's mean over the vertebrae that both
    sides have; one_sided counts those that only one side has, whose distance is infinite and whose Dice is 0.
    anatomy_faults: predicted vertebrae out of order, duplicated or in several components, over all films.
    verdicts: films by verdict and by whether all levels are right. failed: a sentence for each film that could not be
    read or segmented. seconds: median per film.
    """

    checkpoint: str
    n: int
    dice: Estimate
    dice_per_vertebra: dict[str, Estimate]
    levels_right: Proportion
    hausdorff95_l3_share: Estimate
    one_sided: int
    anatomy_faults: int
    verdicts: dict[str, dict[str, int]]
    seconds: float
    unlabelled: tuple[str, ...]
    failed: dict[str, str]


def evaluate(
    segmenter: Callable[[Film], Prediction],
    films: Iterable[FilmFiles],
    out_dir: Path | str,
    *,
    read: Callable[[FilmFiles], Case] = read_case,
    seed: int = 0,
    readers: int = 1,
    answers: Answers | None = None,
    progress: Callable[[Iterable[FilmFiles]], Iterable[FilmFiles]] = iter,
) -> Summary:
    """Score every labelled film and write `dice.csv`, `films.csv` and `summary.json` into out_dir.

    films: see `folder.find_films`. A film without a label is listed, not scored; one that cannot be read is reported,
    and the rest go on. Each file is written as a whole. In the CSV files an empty cell means no score and `inf` a
    distance to nothing; in the JSON file null means no figure.
    segmenter: any callable; its `name`, or else the callable's own, stands for the checkpoint. seed: of the bootstrap.
    readers: films read at the same time, while another is segmented. answers: those of earlier runs are not scored
    again, and its processes share the films; each returns the summary of all, and the first one writes it.
    """
    answers, films = answers or Answers(), list(films)
    unlabelled = [files.name for files in films if files.label is None]
    keys = {files.name: answers.key(files.name, [files.film, files.label]) for files in films if files.label}
    own = answers.processes.share(files for files in films if files.label)  # whatever others have answered meanwhile
    waiting = [files for files in own if not answers.before(keys[files.name])]
    for files, reading in ahead(read, progress(waiting), readers):
        answers.add(keys[files.name], _answer(segmenter, reading))
    told = answers.all()
    of_films = {name: told.get(key, {ERROR: UNANSWERED}) for name, key in keys.items()}
    failed = {name: answer[ERROR] for name, answer in of_films.items() if ERROR in answer}
    scores = [_score(answer) for answer in of_films.values() if ERROR not in answer]
    checkpoint = getattr(segmenter, "name", None) or getattr(segmenter, "__name__", type(segmenter).__name__)
    summary = summarise(scores, checkpoint=checkpoint, unlabelled=unlabelled, failed=failed, seed=seed)
    if answers.processes.index == 0:
        _write(summary, scores, Path(out_dir))
    return summary


def _answer(segmenter: Callable[[Film], Prediction], reading: Future[Case]) -> dict[str, Any]:
    """A film's score as JSON has it, or the sentence for why there is none."""
    try:
        score = score_film(segmenter, reading.result())
    except BadInput as error:
        return {ERROR: str(error)}
    except OSError as error:
        return {ERROR: f"expected a readable file, got: {error.strerror or type(error).__name__}"}
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(score).items()}


def _score(answer: Mapping[str, Any]) -> FilmScore:
    """What `_answer` made JSON of."""
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in answer.items()}
    arrays = {key: np.asarray(answer[key], np.float64) for key in _PER_VERTEBRA}
    faults = AnatomyFaults(**{key: tuple(names) for key, names in answer["faults"].items()})
    return FilmScore(**{**plain, **arrays, "faults": faults})


def _write(summary: Summary, scores: Sequence[FilmScore], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "dice.csv", DICE_COLUMNS, (row for score in scores for row in _vertebra_rows(score)))
    write_table(out / "films.csv", FILM_COLUMNS, map(_film_row, scores))
    text = json.dumps(nullified(asdict(summary)), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(out / "summary.json", text + "\n")


def score_film(segmenter: Callable[[Film], Prediction], case: Case) -> FilmScore:
    """Segment one film and compare with its reference, at the film's own size and pixel shape."""
    start = time.perf_counter()
    prediction = segmenter(case.film)
    seconds = time.perf_counter() - start
    row_to_column = case.film.row_to_column
    hausdorff95_px = hausdorff95(prediction.masks, case.masks, row_to_column)
    return FilmScore(
        name=case.name,
        dice=dice(prediction.masks, case.masks),
        iou=iou(prediction.masks, case.masks),
        hausdorff95_px=hausdorff95_px,
        hausdorff95_l3_share=hausdorff95_px / l3_depth_px(case.masks, row_to_column),
        in_reference=_present(case.masks),
        in_prediction=_present(prediction.masks),
        confidence=prediction.levels.confidence,
        verdict=prediction.levels.verdict,
        reasons=prediction.levels.reasons,
        levels_right=levels_right(prediction.masks, case.masks),
        faults=anatomy_faults(prediction.masks, case.masks),
        seconds=seconds,
    )


def summarise(
    scores: Sequence[FilmScore],
    *,
    checkpoint: str,
    unlabelled: Sequence[str] = (),
    failed: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Summary:
    """The figures of all films together; seed is the bootstrap's."""
    right = sum(score.levels_right for score in scores)
    share = wilson_interval(right, len(scores))
    per_vertebra = {name: [score.dice[k] for score in scores] for k, name in enumerate(VERTEBRAE)}
    return Summary(
        checkpoint=checkpoint,
        n=len(scores),
        dice=_estimate([_mean(score.dice) for score in scores], seed),
        dice_per_vertebra={name: _estimate(values, seed) for name, values in per_vertebra.items()},
        levels_right=Proportion(right, len(scores), share.low, share.high),
        hausdorff95_l3_share=_estimate([_mean(score.hausdorff95_l3_share) for score in scores], seed),
        one_sided=sum(int(np.isinf(score.hausdorff95_px).sum()) for score in scores),
        anatomy_faults=sum(score.faults.count for score in scores),
        verdicts=_verdicts(scores),
        seconds=float(np.median([score.seconds for score in scores])) if scores else math.nan,
        unlabelled=tuple(unlabelled),
        failed=dict(failed or {}),
    )


def summary_table(summary: Summary) -> str:
    """The summary as some lines of text for a terminal."""
    right = summary.levels_right
    lines = [f"{summary.checkpoint}: {_count(summary.n, 'film')}", f"{'Dice':8}mean   95 % interval"]
    lines += [f"{name:8}{_figures(estimate)}" for name, estimate in summary.dice_per_vertebra.items()]
    lines += [
        f"{'all':8}{_figures(summary.dice)}",
        f"all levels right: {right.k} of {right.n} (95 % interval {right.low:.2f} to {right.high:.2f})",
        f"Hausdorff 95 % / L3 depth: {_figures(summary.hausdorff95_l3_share)}",
        f"vertebrae only predicted or only in the label: {summary.one_sided}",
        f"vertebrae out of order, duplicated or in pieces: {summary.anatomy_faults}",
    ]
    lines += [
        f"{verdict}: {films['right']} right, {films['wrong']} wrong" for verdict, films in summary.verdicts.items()
    ]
    lines += [f"seconds per film: {summary.seconds:.2f}"] if summary.n else []
    lines += [f"without label, not scored: {' '.join(summary.unlabelled)}"] if summary.unlabelled else []
    lines += [f"{name}: {sentence}" for name, sentence in summary.failed.items()]
    return "\n".join(lines)


def _present(masks: Masks) -> tuple[bool, ...]:
    return tuple(bool(mask.any()) for mask in masks)


def _mean(values: ArrayLike) -> float:
    """Of the finite ones; NaN if there are none."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else math.nan


def _estimate(values: Sequence[float], seed: int) -> Estimate:
    interval = bootstrap_interval(values, seed)
    return Estimate(_mean(values), interval.low, interval.high, int(np.isfinite(values).sum()))


def _verdicts(scores: Sequence[FilmScore]) -> dict[str, dict[str, int]]:
    verdicts: dict[str, dict[str, int]] = {verdict: {"right": 0, "wrong": 0} for verdict in VERDICTS}
    for score in scores:
        verdicts[score.verdict]["right" if score.levels_right else "wrong"] += 1
    return verdicts


def _vertebra_rows(score: FilmScore) -> list[tuple[str, ...]]:
    """In the order of `DICE_COLUMNS`."""
    return [
        (
            score.name,
            name,
            _cell(score.dice[k]),
            _cell(score.iou[k]),
            _cell(score.hausdorff95_px[k]),
            _cell(score.hausdorff95_l3_share[k]),
            str(int(score.in_reference[k])),
            str(int(score.in_prediction[k])),
            _cell(score.confidence[k]),
        )
        for k, name in enumerate(VERTEBRAE)
    ]


def _film_row(score: FilmScore) -> tuple[str, ...]:
    """In the order of `FILM_COLUMNS`."""
    return (
        score.name,
        _cell(_mean(score.dice)),
        str(int(score.levels_right)),
        score.verdict,
        "; ".join(score.reasons),
        str(score.faults),
        _cell(score.seconds),
    )


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _figures(estimate: Estimate) -> str:
    if math.isnan(estimate.mean):
        return "-"
    if math.isnan(estimate.low):
        return f"{estimate.mean:.3f}  (n = {estimate.n})"
    return f"{estimate.mean:.3f}  {estimate.low:.3f} to {estimate.high:.3f}  (n = {estimate.n})"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
