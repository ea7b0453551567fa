"""How right a film's masks are against the time that they take: checkpoints, each with few views and with many.

Usage: python -m benchmarks.accuracy_for_time --films DIR CHECKPOINT ... [--views 1 2 4 6] [--chart PATH]

Dice, that of S1 alone and the error of the lumbar lordosis are means over the labelled films of DIR (img/, label/) at
their own size; the lordosis on those with every level right. Milliseconds are from film to masks, on an example of
--rows x --columns, all taking turns. One is on the front if no other has a higher Dice in less time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.films import enlarged
from benchmarks.measurements import compare
from benchmarks.networks import Probabilities, finished, multiply_adds
from benchmarks.timing import options, spread, surroundings, take_turns, tell
from experiments.records import Row
from spineseg.evaluation.metrics import dice, levels_right
from spineseg.film import Case
from spineseg.inference.segmenter import Segmenter, pick_device
from spineseg.inference.views import VIEWS
from spineseg.io.folder import labelled_films, read_case
from spineseg.measure.measurements import measure, measure_prediction
from spineseg.model.checkpoint import load_checkpoint

LORDOSIS = "lordosis_L1_S1_deg"


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points (cost, worth) no other one beats, from the cheapest on.

    One point beats another that costs no less and is worth no more, unless both are equal.
    """
    kept = [
        k
        for k, (cost, worth) in enumerate(points)
        if not any(c <= cost and w >= worth and (c, w) != (cost, worth) for c, w in points)
    ]
    return sorted(kept, key=lambda k: points[k])


def scores(segmenter: Segmenter, cases: Sequence[Case]) -> Row:
    """Means over the films."""
    found, right, missed = [], 0, []
    for case in tqdm(cases, desc=segmenter.name):
        prediction = segmenter(case.film)
        found.append(dice(prediction.masks, case.masks))
        if levels_right(prediction.masks, case.masks):
            right += 1
            figures = compare(case.name, measure_prediction(prediction), measure(case.masks))
            missed += [abs(one.missed) for one in figures if one.key == LORDOSIS]
    rounded = {"dice": np.nanmean(found), "S1": np.nanmean(found, 0)[-1], "lordosis error": np.mean(missed)}
    return {**{name: round(float(value), 4) for name, value in rounded.items()}, "levels right": right}


def work(checkpoint: Path) -> float:
    """10^9 multiply-adds of the network for one view."""
    network, card = load_checkpoint(checkpoint)
    batch = torch.zeros(1, card.grid.channels, card.grid.rows, card.grid.columns)
    return round(multiply_adds(Probabilities(network), batch) / 1e9, 3)


def measured(
    checkpoints: Sequence[Path], views: Sequence[int], cases: Sequence[Case], device: str, size: tuple[int, int], n: int
) -> list[Row]:
    """A row for each checkpoint and number of views: scores, milliseconds of n repeats, work."""
    ways = [(path, count, Segmenter.load(path, device, VIEWS[:count])) for path in checkpoints for count in views]
    film = enlarged(*size)
    took = take_turns({str(k): finished(lambda s=s: s(film), device) for k, (*_, s) in enumerate(ways)}, n)
    works = {path: work(path) for path in checkpoints}
    rows: list[Row] = []
    for k, (path, count, segmenter) in enumerate(ways):
        of_it: Row = {"checkpoint": path.stem, "views": count, "10^9 multiply-adds": count * works[path]}
        rows.append({**of_it, **scores(segmenter, cases), **spread(took[str(k)])})
    kept = front([(row["median ms"], row["dice"]) for row in rows])
    return [{**row, "on the front": k in kept} for k, row in enumerate(rows)]


def draw(rows: Sequence[Row], path: Path) -> None:
    """One chart for each score, a line for each checkpoint."""
    from experiments.charts import draw_lines, figure, save

    sheet, all_axes = figure(1, 3, width=4.6)
    names = list(dict.fromkeys(row["checkpoint"] for row in rows))
    for axes, score in zip(all_axes, ("dice", "S1", "lordosis error"), strict=True):
        lines = {}
        for name in names:
            own = sorted((row["median ms"], row[score], row["views"]) for row in rows if row["checkpoint"] == name)
            lines[name] = ([x for x, *_ in own], [y for _, y, _ in own])
            for x, y, views in own:
                axes.annotate(str(views), (x, y), xytext=(3, 5), textcoords="offset points")
        draw_lines(axes, lines, score, "milliseconds from film to masks; number: views")
        if axes is not all_axes[-1] and (legend := axes.get_legend()):
            legend.remove()
    save(sheet, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, draw, tell."""
    parser = options("accuracy_for_time", __doc__, 9)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--films", type=Path, required=True, help="folder with img/ and label/")
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 4, len(VIEWS)])
    parser.add_argument("--chart", type=Path, help="where to draw it, as PNG")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2500)
    chosen = parser.parse_args(arguments)
    device = pick_device(chosen.device)
    place = surroundings(device)
    cases = [read_case(files) for files in labelled_films(chosen.films)]
    size = (chosen.rows, chosen.columns)
    rows = measured(chosen.checkpoints, chosen.views, cases, device, size, chosen.repeats)
    if chosen.chart:
        draw(rows, chosen.chart)
    settings = {"films": len(cases), "size": size, "repeats": chosen.repeats, "device": device}
    tell("accuracy_for_time", settings, place, {"Accuracy for time": rows}, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
