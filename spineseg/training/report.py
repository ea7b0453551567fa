"""One page on a training run, in one file that asks for nothing outside: curves, Dice, responses, worst films."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from spineseg.data.findings import counted
from spineseg.film import CHANNELS, VERTEBRAE, BadInput, Case
from spineseg.inference.segmenter import Segmenter
from spineseg.io.files import write_text
from spineseg.io.folder import labelled_films, read_case
from spineseg.model.card import UNET
from spineseg.render import LEGEND, contact_sheet, overlay
from spineseg.training.config import TrainConfig, read_config
from spineseg.training.full_size import BEST, Score, scores_of, verdict
from spineseg.training.history import (
    BEST_FILMS,
    NOTHING_FOUND,
    EpochReport,
    best_of,
    epochs_done,
    finite_mean,
    read_films,
    read_history,
)

Scores = tuple[Score | None, Score | None]
"""At full size, of the checkpoint that training began with and of the best epoch."""
FilmDice = Mapping[str, Sequence[float]]
"""Dice of each vertebra, NaN where there is none, by the film's name."""
PAGE = "report.html"
WORST, FINEST = 4, 2
"""Films held back that are shown: those with the lowest Dice, and those with the highest."""
WHITE_ABOVE = 0.93
"""Above this probability a cell of the table of channels has white letters: a contrast of 4.5 on a light page too."""
_MOST_ROWS = 560
"""Of a film's picture."""
STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --ink: CanvasText }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink) }
h1 { margin-bottom: .2rem } h2 { margin: 2rem 0 .6rem }
figure { margin: 0 0 1.2rem } img { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { padding: .25rem .6rem; border: 1px solid var(--line); text-align: right } th:first-child { text-align: left }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem }
svg { width: 100%; height: auto; background: var(--soft); border-radius: 6px }
svg text { fill: var(--ink); font-size: 12px }
.curves figcaption { min-height: 3em } .key { white-space: nowrap; margin-left: .8em }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; border-radius: 2px }
.films { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 0 1.2rem }
summary { cursor: pointer; font-size: 1.3em; font-weight: 600; margin: 2rem 0 .6rem }
"""


def write_report(out: Path, architecture: str = UNET) -> Path:
    """Write out/report.html from what a run has written so far; the page appears whole or not at all.

    The worst and best films are drawn where they are still there and the run's network is the named architecture.
    Raises BadInput if `out` holds no run.
    """
    config, reports = read_config(out), read_history(out)
    dice = read_films(out / BEST_FILMS) if (out / BEST_FILMS).exists() else {}
    scores = scores_of(out)
    pictures = _pictures(config, out, shown_films(_film_means(dice, scores)), architecture)
    page = _page(config, reports, dice, scores, pictures)
    write_text(out / PAGE, page)
    return out / PAGE


def _film_means(dice: FilmDice, scores: Scores) -> dict[str, float]:
    """Mean Dice of each film: of the checkpoint that is the best one, at full size, or else on the grid."""
    start, trained = scores
    kept = start if start and (trained is None or not trained.gains_over(start)) else trained
    return kept.film_dice if kept else {name: finite_mean(row) for name, row in dice.items()}


def shown_films(means: Mapping[str, float], worst: int = WORST, best: int = FINEST) -> list[str]:
    """The films with the lowest mean Dice, worst first, then the best ones; those without any vertebra are left out."""
    known = sorted((name for name in means if math.isfinite(means[name])), key=lambda name: means[name])
    return known[:worst] + known[worst:][-best:]


# What is on the page


def _page(
    config: TrainConfig,
    reports: Sequence[EpochReport],
    dice: FilmDice,
    scores: Scores,
    pictures: Mapping[str, str],
) -> str:
    best, means = best_of(reports), _film_means(dice, scores)
    parts = [f"<h1>{_text(config.name)}</h1>", f"<p>{_headline(reports, best)}</p>"]
    if config.description:
        parts.append(f"<p>{_text(config.description)}</p>")
    if any(scores):
        parts += [
            "<h2>The films held back, at full size</h2>",
            f"<p>{_text(verdict(*scores))}.</p>",
            _full_table(scores),
        ]
    if best:
        parts += ["<h2>Curves</h2>", _curves(reports)]
        parts += [f"<h2>Dice on the network’s grid, epoch {best.epoch}</h2>", _dice_table(best, dice)]
        parts += [f"<h2>Which channel answers to which vertebra, epoch {best.epoch}</h2>", _response_table(best)]
    if means:
        parts += [f"<h2>The worst and the best of {len(means)} films held back</h2>", *_films(means, pictures)]
    parts += ["<details><summary>Settings</summary>", _settings(config), "</details>"]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(config.name)}: training</title><style>{STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _figure(value: float, digits: int = 3) -> str:
    """The number, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _headline(reports: Sequence[EpochReport], best: EpochReport | None) -> str:
    if best is None:
        return "No epoch is finished yet."
    minutes, number = sum(report.seconds for report in reports) / 60, epochs_done(reports)
    found = f"a mean Dice of <b>{best.mean_dice:.3f}</b>" if best.mean_dice else NOTHING_FOUND
    which = f"epoch {best.epoch}" if best.epoch else "the start"
    return (
        f"{counted(number, 'epoch')} in {minutes:.1f} minutes; the best on the films held back, on the network’s grid,"
        f" is {which} with {found}. Not for diagnosis."
    )


def _curves(reports: Sequence[EpochReport]) -> str:
    losses = {
        "training": ("#0072b2", [report.train_loss for report in reports]),
        "held back": ("#d55e00", [report.validation_loss for report in reports]),
    }
    dice = {name: (LEGEND[name].hex, [report.dice[k] for report in reports]) for k, name in enumerate(VERTEBRAE)}
    rate = {"learning rate": ("#009e73", [report.learning_rate for report in reports])}
    first = reports[0].epoch
    charts = [
        chart("Loss", losses, first),
        chart("Dice", dice, first, low=0.0, high=1.0),
        chart("Learning rate", rate, first, low=0.0),
    ]
    return f'<div class="curves">{"".join(charts)}</div>'


@dataclass(frozen=True)
class _Axes:
    """Where a value at an epoch lies on a chart, in SVG's units."""

    epochs: int
    first: int
    bottom: float
    top: float
    width: int = 400
    height: int = 240
    left: int = 62
    right: int = 388
    above: int = 14
    below: int = 212

    def place(self, epoch: int, value: float) -> tuple[float, float]:
        across = self.left + (self.right - self.left) * epoch / max(self.epochs - 1, 1)
        return across, self.above + (self.below - self.above) * (self.top - value) / (self.top - self.bottom)

    def grid(self) -> Iterator[str]:
        """Five lines with their values, and the first and last epoch."""
        for number in range(5):
            value = self.bottom + (self.top - self.bottom) * number / 4
            _, y = self.place(0, value)
            yield f'<path d="M{self.left} {y:.1f}H{self.right}" stroke="currentColor" opacity=".15"/>'
            yield f'<text x="{self.left - 6}" y="{y:.1f}" dy="4" text-anchor="end">{value:.3g}</text>'
        yield f'<text x="{self.left}" y="{self.height - 8}">{_epoch_name(self.first)}</text>'
        yield f'<text x="{self.right}" y="{self.height - 8}" text-anchor="end">{self.first + self.epochs - 1}</text>'

    def line(self, colour: str, values: Sequence[float]) -> Iterator[str]:
        """A line through the values, a dot on each."""
        points = [self.place(epoch, value) for epoch, value in enumerate(values) if math.isfinite(value)]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points)


def _epoch_name(number: int) -> str:
    return f"epoch {number}" if number else "start"


def chart(
    title: str,
    lines: Mapping[str, tuple[str, Sequence[float]]],
    first: int = 1,
    *,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """Lines over epochs as SVG: a colour and a value for each epoch, by name; what is not finite is left out.

    first: number of the first epoch, 0 for the start. low, high: ends of the axis, or else those of the values.
    """
    values = [value for _, line in lines.values() for value in line if math.isfinite(value)]
    bottom = min(values, default=0.0) if low is None else low
    top = max(values, default=1.0) if high is None else high
    axes = _Axes(max(len(line) for _, line in lines.values()), first, bottom, top if top > bottom else bottom + 1)
    drawn = [*axes.grid(), *(part for colour, line in lines.values() for part in axes.line(colour, line))]
    keys = [f'<span class="key"><i style="background:{hue}"></i>{name}</span> ' for name, (hue, _) in lines.items()]
    svg = f'<svg viewBox="0 0 {axes.width} {axes.height}" role="img" aria-label="{title} over epochs">'
    return f"<figure><figcaption><b>{title}</b>{''.join(keys)}</figcaption>{svg}{''.join(drawn)}</svg></figure>"


def _row(name: str, cells: Sequence[str], tag: str = "td") -> str:
    filled = [cell if cell.startswith("<td") else f"<{tag}>{cell}</{tag}>" for cell in cells]
    return f"<tr><th>{_text(name)}</th>{''.join(filled)}</tr>"


def _table(rows: Sequence[str]) -> str:
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _dice_table(best: EpochReport, dice: FilmDice) -> str:
    films = np.array(list(dice.values()), dtype=np.float64).reshape(-1, len(VERTEBRAE))
    rows = [
        _row("", [*VERTEBRAE, "mean"], "th"),
        _row("mean", [_figure(value) for value in (*best.dice, best.mean_dice)]),
    ]
    known = [column[np.isfinite(column)] for column in films.T]
    if len(films):
        rows.append(_row("worst film", [_figure(min(column, default=math.nan)) for column in known] + [""]))
        rows.append(_row("films", [str(len(column)) for column in known] + [str(len(films))]))
    return _table(rows)


def _response_table(best: EpochReport) -> str:
    rows = [_row("channel", VERTEBRAE, "th")]
    for name, values in zip(CHANNELS, best.response, strict=False):
        cells = [
            f'<td style="background:rgba(0,114,178,{min(max(value, 0), 1):.3f});'
            f'color:{"#fff" if value > WHITE_ABOVE else "inherit"}">{_figure(value)}</td>'
            for value in values
        ]
        rows.append(_row(name, cells))
    said = (
        "Mean probability of each channel (row) over each vertebra (column). A bright diagonal tells levels apart; an"
        " even band does not; an X comes of labels whose channels were reversed."
    )
    return f"<p>{said}</p>{_table(rows)}"


def _full_table(scores: Scores) -> str:
    """Dice of each vertebra and films with all levels right, before and after."""
    rows = [_row("", [*VERTEBRAE, "mean", "levels right"], "th")]
    for name, score in zip(("start", "trained"), scores, strict=True):
        if score:
            figures = [_figure(score.dice_per_vertebra.get(vertebra, math.nan)) for vertebra in VERTEBRAE]
            rows.append(_row(name, [*figures, _figure(score.dice), f"{score.right} of {score.films}"]))
    return _table(rows)


def _films(means: Mapping[str, float], pictures: Mapping[str, str]) -> Iterator[str]:
    """The films with the lowest and the highest Dice: label on the left, prediction on the right."""
    yield "<p>Left the label, right what predict makes of the film.</p>"
    yield '<div class="films">'
    for name in shown_films(means):
        picture = f'<img alt="label and prediction" src="{pictures[name]}">' if name in pictures else ""
        yield f"<figure><figcaption><b>{_text(name)}</b>: mean {_figure(means[name])}</figcaption>{picture}</figure>"
    yield "</div>"


def _settings(config: TrainConfig) -> str:
    flat: dict[str, Any] = {}
    for name, value in asdict(config).items():
        flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    shown = {name: value.name if isinstance(value, Path) else value for name, value in flat.items()}
    return _table([_row(name, [_text(value)]) for name, value in shown.items()])


# The pictures


def _pictures(config: TrainConfig, out: Path, names: Sequence[str], architecture: str) -> dict[str, str]:
    """Label and prediction of each film as an address that holds its own JPEG; none where the films are gone."""
    weights = out / BEST
    if not (names and weights.exists()):
        return {}
    try:
        films = {film.name: film for film in labelled_films(config.data)}
        segmenter = Segmenter.load(weights, architecture=architecture)
        return {name: _address(_pair(read_case(films[name]), segmenter)) for name in names if name in films}
    except BadInput:
        return {}


def _pair(case: Case, segmenter: Segmenter) -> UInt8[np.ndarray, "_ _ 3"]:
    prediction = segmenter(case.film)
    film = prediction.seen(case.film)
    return contact_sheet([_reduced(overlay(film, masks)) for masks in (case.masks, prediction.masks)], 2)


def _reduced(picture: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """With at most _MOST_ROWS rows."""
    rows, columns = picture.shape[:2]
    if rows <= _MOST_ROWS:
        return picture
    return cv2.resize(picture, (round(columns * _MOST_ROWS / rows), _MOST_ROWS), interpolation=cv2.INTER_AREA)


def _address(picture: UInt8[np.ndarray, "_ _ 3"]) -> str:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
