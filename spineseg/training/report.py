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
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import nn
from torch.nn import functional

from spineseg.data.cache import GridFilm, cached
from spineseg.data.dataset import FilmDataset
from spineseg.film import CHANNELS, VERTEBRAE, BadInput
from spineseg.io.files import write_text
from spineseg.io.folder import labelled_films
from spineseg.model.card import UNET
from spineseg.model.checkpoint import load_checkpoint
from spineseg.render import LEGEND, contact_sheet, overlay
from spineseg.training.config import TrainConfig, read_config
from spineseg.training.history import BEST_FILMS, EpochReport, best_of, finite_mean, read_films, read_history

FilmDice = Mapping[str, Sequence[float]]
"""Dice of each vertebra, NaN where there is none, by the film's name."""
PAGE = "report.html"
WORST = 6
"""Films held back that are shown, those with the lowest Dice."""
_LEAST_ROWS = 384
"""Films on a smaller grid are enlarged to about that."""
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

    The worst films are drawn where the films' cache is still there and the run's network is the named architecture.
    Raises BadInput if `out` holds no run.
    """
    config, reports = read_config(out), read_history(out)
    dice = read_films(out / BEST_FILMS) if (out / BEST_FILMS).exists() else {}
    worst = worst_films(dice)
    page = _page(config, reports, dice, _pictures(config, out, worst, architecture))
    write_text(out / PAGE, page)
    return out / PAGE


def worst_films(dice: FilmDice, count: int = WORST) -> list[str]:
    """The films with the lowest mean Dice, worst first; those without any vertebra are left out."""
    known = {name: mean for name, row in dice.items() if math.isfinite(mean := finite_mean(row))}
    return sorted(known, key=lambda name: known[name])[:count]


# What is on the page


def _page(
    config: TrainConfig,
    reports: Sequence[EpochReport],
    dice: FilmDice,
    pictures: Mapping[str, str],
) -> str:
    best = best_of(reports)
    parts = [f"<h1>{_text(config.name)}</h1>", f"<p>{_headline(reports, best)}</p>"]
    if config.description:
        parts.append(f"<p>{_text(config.description)}</p>")
    if best:
        parts += ["<h2>Curves</h2>", _curves(reports)]
        parts += [f"<h2>Dice on the films held back, epoch {best.epoch}</h2>", _dice_table(best, dice)]
        parts += [f"<h2>Which channel answers to which vertebra, epoch {best.epoch}</h2>", _response_table(best)]
    if dice:
        parts += [f"<h2>The worst of {len(dice)} films held back</h2>", *_worst(dice, pictures)]
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
    minutes, number = sum(report.seconds for report in reports) / 60, len(reports)
    return (
        f"{number} epoch{'s' * (number > 1)} in {minutes:.1f} minutes; the best is epoch {best.epoch} with a mean Dice"
        f" of <b>{best.mean_dice:.3f}</b> on the films held back, on the network’s grid. Not for diagnosis."
    )


def _curves(reports: Sequence[EpochReport]) -> str:
    losses = {
        "training": ("#0072b2", [report.train_loss for report in reports]),
        "held back": ("#d55e00", [report.validation_loss for report in reports]),
    }
    dice = {name: (LEGEND[name].hex, [report.dice[k] for report in reports]) for k, name in enumerate(VERTEBRAE)}
    rate = {"learning rate": ("#009e73", [report.learning_rate for report in reports])}
    charts = [chart("Loss", losses), chart("Dice", dice, low=0.0, high=1.0), chart("Learning rate", rate, low=0.0)]
    return f'<div class="curves">{"".join(charts)}</div>'


@dataclass(frozen=True)
class _Axes:
    """Where a value at an epoch lies on a chart, in SVG's units."""

    epochs: int
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
        yield f'<text x="{self.left}" y="{self.height - 8}">epoch 0</text>'
        yield f'<text x="{self.right}" y="{self.height - 8}" text-anchor="end">{self.epochs - 1}</text>'

    def line(self, colour: str, values: Sequence[float]) -> Iterator[str]:
        """A line through the values, a dot on each."""
        points = [self.place(epoch, value) for epoch, value in enumerate(values) if math.isfinite(value)]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points)


def chart(
    title: str,
    lines: Mapping[str, tuple[str, Sequence[float]]],
    *,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """Lines over epochs as SVG: a colour and a value for each epoch, by name; what is not finite is left out.

    low, high: ends of the axis, or else those of the values.
    """
    values = [value for _, line in lines.values() for value in line if math.isfinite(value)]
    bottom = min(values, default=0.0) if low is None else low
    top = max(values, default=1.0) if high is None else high
    axes = _Axes(max(len(line) for _, line in lines.values()), bottom, top if top > bottom else bottom + 1)
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
            f'color:{"#fff" if value > 0.5 else "inherit"}">{_figure(value)}</td>'
            for value in values
        ]
        rows.append(_row(name, cells))
    said = (
        "Mean probability of each channel (row) over each vertebra (column). A bright diagonal tells levels apart; an"
        " even band does not; an X comes of labels whose channels were reversed."
    )
    return f"<p>{said}</p>{_table(rows)}"


def _worst(dice: FilmDice, pictures: Mapping[str, str]) -> Iterator[str]:
    """The films with the lowest Dice: label on the left, prediction on the right."""
    yield "<p>Left the label, right the network’s channels above 0.5, before any rule of anatomy, on its grid.</p>"
    yield '<div class="films">'
    for name in worst_films(dice):
        row = dice[name]
        figures = ", ".join(f"{vertebra} {_figure(value, 2)}" for vertebra, value in zip(VERTEBRAE, row, strict=True))
        picture = f'<img alt="label and prediction" src="{pictures[name]}">' if name in pictures else ""
        caption = f"<b>{_text(name)}</b>: mean {_figure(finite_mean(row))}<br>{figures}"
        yield f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"
    yield "</div>"


def _settings(config: TrainConfig) -> str:
    flat: dict[str, Any] = {}
    for name, value in asdict(config).items():
        flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    shown = {name: value.name if isinstance(value, Path) else value for name, value in flat.items()}
    return _table([_row(name, [_text(value)]) for name, value in shown.items()])


# The pictures


def _pictures(config: TrainConfig, out: Path, names: Sequence[str], architecture: str) -> dict[str, str]:
    """Label and prediction of each film as an address that holds its own JPEG; none where the films are not cached."""
    weights = out / "best.safetensors"
    if not (names and weights.exists()):
        return {}
    try:
        cache = cached(labelled_films(config.data), config.grid, config.data / ".cache")
        network = load_checkpoint(weights, architecture)[0]
    except BadInput:
        return {}
    if cache is None:
        return {}
    indices = [cache.names.index(name) for name in names]
    films = FilmDataset(cache, indices, config.grid, augmentation=None, stride=config.network.patch)
    return {
        name: _address(_pair(cache.film(index), _predicted(network, films[k][0])))
        for k, (name, index) in enumerate(zip(names, indices, strict=True))
    }


@torch.inference_mode()
def _predicted(
    network: nn.Module, image: Float32[torch.Tensor, "channel rows columns"]
) -> Bool[np.ndarray, "vertebra rows columns"]:
    """Channels above a half, on the whole grid."""
    logits = network(image[None])[:, : len(VERTEBRAE)]
    whole = functional.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return (whole[0] > 0).numpy()


def _pair(film: GridFilm, predicted: Bool[np.ndarray, "vertebra rows columns"]) -> UInt8[np.ndarray, "_ _ 3"]:
    low, high = np.percentile(film.image, (1, 99.5))
    grey = (np.clip((film.image - low) / max(float(high - low), 1e-5), 0, 1) * 255).astype(np.uint8)
    larger = max(1, _LEAST_ROWS // len(grey))
    sides = [overlay(_enlarged(grey, larger), _enlarged(masks, larger)) for masks in (film.masks, predicted)]
    return contact_sheet(sides, 2)


def _enlarged(picture: np.ndarray, times: int) -> np.ndarray:
    """Each pixel of the last two axes as a square."""
    return picture.repeat(times, axis=-2).repeat(times, axis=-1)


def _address(picture: UInt8[np.ndarray, "_ _ 3"]) -> str:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
