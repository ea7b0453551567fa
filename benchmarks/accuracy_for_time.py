"""How right a checkpoint is against the time that a film takes it: one chart of several, with the front marked.

Usage: python -m benchmarks.accuracy_for_time --films DIR CHECKPOINT ... [--default spineseg] [--docs docs/speed]

Each network runs on its own card's grid with its own decoder. Dice is the mean over the labelled films of DIR (img/,
label/) at their own size, as `python -m spineseg evaluate` has it. Milliseconds are from film to masks, on an example
of --rows x --columns, the checkpoints taking turns. A checkpoint is on the front if no other is as right in less time,
or more right in as little. Writes a chart and the rows, one JSON each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.films import enlarged
from benchmarks.networks import Probabilities, finished, multiply_adds
from benchmarks.timing import options, spread, surroundings, take_turns, tell
from experiments.records import Row, write_rows
from spineseg.evaluation.evaluate import Summary, evaluate
from spineseg.inference.segmenter import Segmenter, pick_device
from spineseg.io.folder import labelled_films
from spineseg.model.checkpoint import load_checkpoint
from spineseg.model.unet import parameter_count


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


def named(paths: Sequence[Path]) -> list[str]:
    """The files' names; with their folders' where two share one, as `best` of several trainings."""
    stems = [path.stem for path in paths]
    return [path.stem if stems.count(path.stem) == 1 else f"{path.resolve().parent.name}/{path.stem}" for path in paths]


def work_row(checkpoint: Path) -> Row:
    """The grid, and the network's weights and work on it."""
    network, card = load_checkpoint(checkpoint)
    grid = card.grid
    batch = torch.zeros(1, grid.channels, grid.rows, grid.columns)
    return {
        "grid": f"{grid.rows} x {grid.columns}",
        "weights": parameter_count(network),
        "10^9 multiply-adds": round(multiply_adds(Probabilities(network), batch) / 1e9, 3),
    }


def score(segmenter: Segmenter, films: Path) -> Summary:
    """On the labelled films of the folder. Raises SystemExit if one of them cannot be used."""
    with tempfile.TemporaryDirectory() as out:
        summary = evaluate(segmenter, labelled_films(films), out, progress=partial(tqdm, desc=segmenter.name))
    if summary.failed:
        raise SystemExit(f"expected films that can be scored, got: {summary.failed}")
    return summary


def measured(checkpoints: Sequence[Path], films: Path, device: str, size: tuple[int, int], repeats: int) -> list[Row]:
    """A row for each checkpoint: Dice with its interval, levels right, milliseconds, work."""
    segmenters = [Segmenter.load(path, device) for path in checkpoints]
    summaries = [score(segmenter, films) for segmenter in segmenters]
    film = enlarged(*size)
    ways = {str(k): finished(lambda s=s: s(film), device) for k, s in enumerate(segmenters)}
    took = take_turns(ways, repeats)
    rows: list[Row] = []
    for k, (name, path, summary) in enumerate(zip(named(checkpoints), checkpoints, summaries, strict=True)):
        scores: Row = {"dice": round(summary.dice.mean, 4), "films": summary.n, "levels right": summary.levels_right.k}
        interval = f"{summary.dice.low:.3f} to {summary.dice.high:.3f}"
        rows.append({"checkpoint": name, **scores, "95 %": interval, **spread(took[str(k)]), **work_row(path)})
    kept = front([(row["median ms"], row["dice"]) for row in rows])
    return [{**row, "on the front": k in kept} for k, row in enumerate(rows)]


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """A dot for each checkpoint, and the front as a dashed line."""
    from experiments.charts import draw_lines, figure, save

    sheet, (axes,) = figure(1, 1, width=8.6)
    dots = {row["checkpoint"]: ([row["median ms"]], [row["dice"]]) for row in rows}
    on_front = sorted((row["median ms"], row["dice"]) for row in rows if row["on the front"])
    front_line = ([x for x, _ in on_front], [y for _, y in on_front])
    draw_lines(axes, {**dots, "front": front_line}, title, "milliseconds from film to masks", dashed=["front"])
    axes.set(xscale="log", ylabel="mean Dice")
    save(sheet, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, draw, tell."""
    parser = options("accuracy_for_time", __doc__, 9)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--films", type=Path, required=True, help="folder with img/ and label/")
    parser.add_argument("--default", default="spineseg", help="the name that is asked for on the front")
    parser.add_argument("--docs", type=Path, default=Path("docs/speed"), help="folder for the chart and the rows")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2500)
    chosen = parser.parse_args(arguments)
    device = pick_device(chosen.device)
    place = surroundings(device)
    rows = measured(chosen.checkpoints, chosen.films, device, (chosen.rows, chosen.columns), chosen.repeats)
    chosen.docs.mkdir(parents=True, exist_ok=True)
    cores = f"{torch.get_num_threads()} threads" if device == "cpu" else device
    title = f"Dice on {rows[0]['films']} films against time on {cores}"
    draw(rows, title, chosen.docs / "accuracy-for-time.png")
    write_rows(chosen.docs / "accuracy-for-time.jsonl", rows)
    sits = next((row["on the front"] for row in rows if row["checkpoint"] == chosen.default), None)
    settings = {"films": rows[0]["films"], "size": [chosen.rows, chosen.columns], "repeats": chosen.repeats}
    settings |= {
        "device": device,
        "threads": torch.get_num_threads(),
        "default": chosen.default,
        "default_on_front": sits,
    }
    tell("accuracy_for_time", settings, place, {"Dice against time": rows}, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
