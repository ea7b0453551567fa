"""The text of docs/the-report.md: `page.md` with tables and sentences made from the measured cells.

No measured number is typed by hand: a sentence that judges is chosen by `reading` and `verdict`, and a cell that has
not been measured shows as a dash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from benchmarks.report.cells import CORNERS, FEATURES, RATES, REPORT, REPORT_7, WIDE, Context, Length, Recipe
from benchmarks.report.results import (
    GUESS,
    Results,
    likeness,
    mean_dice,
    named_percent,
    own_and_mirrored,
    reading,
    verdict,
)
from benchmarks.running import Row
from spineseg.film import VERTEBRAE
from spineseg.model.config import PRESETS, receptive_field
from spineseg.model.losses import LossName, bce

REPORT_LEVEL_PX = 100
"""About the height of a level on the report's films at 1024 x 1024."""
TEMPLATE = Path(__file__).with_name("page.md")
LOSSES: tuple[LossName, ...] = get_args(LossName)
SCORES = ("Dice", "union", "% named right", "correlation", "matrix")


def text(results: Results) -> str:
    """The page in Markdown."""
    return TEMPLATE.read_text(encoding="utf-8").format(
        answer=_answer(results),
        losses=_losses(results),
        guess=f"{100 * GUESS:.0f}",
        corners=_corners(results),
        figure_8=_figure_8(results),
        rates=_rates(results),
        wide=_wide(results),
        below_zero=_below_zero(results),
        setting=_setting(results),
        cells=_cells(results),
    )


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines))


def _numbers(rows: Sequence[Row], of: Callable[[Row], float], form: str = ".2f") -> str:
    """One for each row, as it would be said."""
    return ", ".join(format(of(row), form) for row in rows) or "-"


def _union(row: Row) -> float:
    return row["union"]


def _scores(rows: Sequence[Row]) -> list[str]:
    """The cells of a table under `SCORES`; several numbers are several seeds."""
    return [
        _numbers(rows, mean_dice),
        _numbers(rows, _union),
        _numbers(rows, named_percent, ".0f"),
        _numbers(rows, likeness),
        "; ".join(dict.fromkeys(map(reading, rows))) or "-",
    ]


def _one(row: Row | None) -> list[Row]:
    return [row] if row else []


def _answer(results: Results) -> str:
    """To the report's open question."""
    dice = [row for loss in ("dice", "bce+dice") for row in results.seeds(replace(REPORT, loss=loss))]
    plain = results.seeds(REPORT)
    if not dice or not plain:
        return "Not answered yet: the cells of the report's own corner have not been measured."
    said = {"no": "No.", "yes": "Yes.", "in part": "Only in part.", "no bone found": "Not answered."}[verdict(dice)]
    best = max(dice, key=named_percent)
    sentences = [
        f"**{said}** With the report's flips and small context, Dice loss or the sum of both named"
        f" {_numbers(dice, named_percent, '.0f')} % of bone pixels right; cross-entropy"
        f" {_numbers(plain, named_percent, '.0f')} %, a guess {100 * GUESS:.0f} %. The Dice of the union was"
        f" {_numbers(dice, _union)}. The best of these cells shows {reading(best)}; its mean Dice per vertebra is"
        f" {mean_dice(best):.2f}.",
        _look(results),
        "\nDoes anything else tell levels apart, with any of the three losses?\n",
        *(_remedy(results, corner) for corner in CORNERS[1:]),
    ]
    return "\n".join(filter(None, sentences))


def _look(results: Results) -> str:
    """What Dice loss changes about the look of a collapse."""
    pair = results.find(REPORT), results.find(replace(REPORT, loss="dice"))
    if not (pair[0] and pair[1]):
        return ""
    before, after = (float(np.mean(row["response"])) for row in pair if row)
    change = "brighter" if after > before else "dimmer"
    return (
        "It changes the look of the collapse: the mean probability of any channel within any vertebra goes from"
        f" {before:.2f} to {after:.2f}, so the whole spine stands {change} in each channel."
    )


def _remedy(results: Results, corner: Recipe) -> str:
    rows = [row for loss in LOSSES for row in results.seeds(replace(corner, loss=loss))]
    done = {
        ("report", "whole"): "the whole film in view, flips as they were",
        ("right", "small"): "flips on the right axis, context as it was",
        ("right", "whole"): "both",
    }[corner.flips, corner.context]
    seen = f" ({_numbers(rows, named_percent, '.0f')} % named right; {'; '.join(dict.fromkeys(map(reading, rows)))})"
    return f"- {done}: **{verdict(rows)}**{seen if rows else ''}"


def _losses(results: Results) -> str:
    lines = [
        [corner.flips, corner.context, loss, *_scores(results.seeds(replace(corner, loss=loss)))]
        for corner in CORNERS
        for loss in LOSSES
    ]
    return _table(["flips", "context", "loss", *SCORES], lines)


def _corners(results: Results) -> str:
    lines = [
        [corner.flips, corner.context, length, *_scores(results.seeds(corner, length))]
        for corner in CORNERS
        for length in get_args(Length)
    ]
    return _table(["flips", "context", "training", *SCORES], lines)


def _figure_8(results: Results) -> str:
    """How near the report's own corner comes to its figure 8, where each channel showed the whole spine."""
    short, long = results.find(REPORT, "short"), results.find(REPORT)
    if not (short and long):
        return "The report's own corner has not been measured."
    own, mirrored = own_and_mirrored(long)
    return (
        "The first row stands for the report's figure 8. No channel shows one vertebra; each shows several, and the"
        f" mirrored pairs (L1 and S1, L2 and L5, L3 and L4) show the same: of all that is said within a vertebra,"
        f" {100 * own:.0f} % comes from its own channel and {100 * mirrored:.0f} % from its mirror image's. After the"
        f" short training all six were alike (correlation {likeness(short):.2f}, now {likeness(long):.2f}). The"
        " report's channels stayed that alike; its network is deeper, and the deeper a network, the less of its"
        " receptive field counts (Luo et al. 2016, arXiv 1701.04128)."
    )


def _rates(results: Results) -> str:
    rows = [(recipe, results.find(recipe)) for recipe in RATES]
    lines = [
        [
            recipe.optimiser,
            f"{recipe.learning_rate:g}",
            *([f"{row['loss'][0]:.4f}", f"{row['loss'][-1]:.4f}"] if row else "--"),
            *_scores(_one(row)),
        ]
        for recipe, row in rows
    ]
    table = _table(["optimiser", "learning rate", "loss of the first epoch", "of the last", *SCORES], lines)
    if not all(row for _, row in rows):
        return table
    said = {
        "no": "The report was right that neither mattered: none of them tells levels apart.",
        "no bone found": "None of them has found bone.",
        "yes": "All of them tell levels apart.",
        "in part": "Some of them tell levels apart in part.",
    }[verdict(row for _, row in rows if row)]
    return f"{table}\n\n{said}"


def _wide(results: Results) -> str:
    narrow, wide = results.find(replace(WIDE, width=1)), results.find(WIDE)
    lines = [
        [name, f"{row['weights']:,}" if row else "-", *_scores(_one(row))]
        for name, row in (("as above", narrow), (f"{WIDE.width} times as wide", wide))
    ]
    table = _table(["right flips, small context, bce", "weights", *SCORES], lines)
    if not (narrow and wide):
        return table
    judged = verdict([wide])
    gained = judged != verdict([narrow])
    said = {"yes": "Yes", "in part": "In part"}.get(judged if gained else "", "No: width does not make up for context")
    gain = named_percent(wide) - named_percent(narrow)
    times = wide["weights"] / narrow["weights"]
    return f"{table}\n\n{said}; {times:.1f} times the weights name {gain:+.0f} points more of the pixels right."


def _below_zero(results: Results) -> str:
    why = (
        "Binary cross-entropy cannot be negative for a target within 0..1, and PyTorch does not look whether it is: a"
        f" target of 255 at logit +5 costs {_cross_entropy(5, 255):.0f}, a target of -1 at logit -5 costs"
        f" {_cross_entropy(-5, -1):.2f}. The report's second training, on channels 1 to 6 alone, stayed positive; so"
        " those six held 0 and 1, and the seventh did not."
    )
    cure = (
        "The cure: the background is where no vertebra is, and training refuses a target outside 0..1"
        " (`spineseg.model.losses.check_targets`)."
    )
    row = results.find(REPORT_7)
    if row is None:
        return f"{why}\n\n{cure}"
    below = next((number for number, loss in enumerate(row["loss"], 1) if loss < 0), None)
    when = f"the mean loss is below zero from epoch {below} on" if below else "the mean loss of no epoch was below zero"
    seen = (
        f"With 255 for 1 in the seventh channel and the report's flips, {when}, {row['loss'][-1]:,.0f} after"
        f" {row['steps']} steps; Dice per vertebra is {' '.join(f'{value:.2f}' for value in row['dice'])}. One term of"
        " the sum falls without end as its logits grow, and beside it no bone is worth anything."
    )
    return f"{why}\n\n{seen}\n\n![Loss of seven channels and of six](the-report/below-zero.png)\n\n{cure}"


def _cross_entropy(logit: float, target: float) -> float:
    return float(bce(torch.full((1, 1, 1, 1), float(logit)), torch.full((1, 1, 1, 1), float(target))))


def _setting(results: Results) -> str:
    if not results.rows:
        return "Nothing has been measured yet."
    budget, first = results.budget, results.rows[0]
    small, own = receptive_field(REPORT.network), receptive_field(PRESETS["report-6"])
    level = first["level_px"]
    usual = f"{REPORT.optimiser.title()} at a constant {REPORT.learning_rate:g}"
    facts = [
        f"films: {first['films']} simulated ones to train on, {budget.test_films} of another series to measure on; all"
        " six bodies are on each",
        f"grid: {budget.grid.rows} x {budget.grid.columns}; a level, from middle to middle, is {level:.1f} px high",
        f"small context: {_network(results, 'small')}; a logit depends on {small} px, {small / level:.1f} levels. (The"
        f" report's own network: {own} px or {own / REPORT_LEVEL_PX:.1f} levels of about {REPORT_LEVEL_PX} px)",
        f"whole film: {_network(results, 'whole')}; a logit depends on {receptive_field(CORNERS[1].network)} px",
        f"both: batch normalisation, logits that start at 0.5, {usual} where nothing else is said, batches of"
        f" {budget.batch}, no augmentation but the flips, half of the films each",
        f"short: {_steps(results, 'short')} steps; long: {_steps(results, 'long')} of the same training",
        _cost(results),
    ]
    return "\n".join(f"- {fact}" for fact in facts)


def _network(results: Results, context: Context) -> str:
    recipes = [recipe for recipe in CORNERS if recipe.context == context]
    row = next((row for recipe in recipes if (row := results.find(recipe, "short"))), None)
    weights = f"{row['weights']:,} weights" if row else "not measured"
    return f"features {'-'.join(map(str, FEATURES[context]))}, {weights}"


def _steps(results: Results, length: Length) -> str:
    return next((str(row["steps"]) for row in results.rows if row["length"] == length), "-")


def _cost(results: Results) -> str:
    seconds: dict[str, float] = {}
    for row in results.rows:  # a long cell's seconds hold those of its short one
        name = row["cell"].rpartition("-")[0]
        seconds[name] = max(seconds.get(name, 0.0), row["seconds"])
    first = results.rows[0]
    return (
        f"{len(seconds)} trainings, {sum(seconds.values()) / 60:.0f} minutes in all; {first['hardware']}; torch"
        f" {first['versions']['torch']}; commit {first['commit']}"
    )


def _cells(results: Results) -> str:
    head = ["cell", "steps", "loss", *VERTEBRAE, "union", "% named right", "correlation"]
    lines = [
        [
            row["cell"],
            str(row["steps"]),
            f"{row['loss'][-1]:.4f}",
            *(f"{value:.2f}" for value in row["dice"]),
            f"{row['union']:.2f}",
            f"{named_percent(row):.0f}",
            f"{likeness(row):.2f}",
        ]
        for row in results.rows
    ]
    return _table(head, lines)
