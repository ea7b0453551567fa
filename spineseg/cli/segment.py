"""Commands that use a network: evaluate, show, app."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from spineseg.cli.options import (
    PUBLISHED,
    Flat,
    Model,
    Repeatable,
    listing_faults,
    progress,
    readers,
)
from spineseg.film import BACKGROUND, VERTEBRAE, BadInput

if TYPE_CHECKING:
    from spineseg.render import Picture


def app(
    checkpoint: Repeatable = (),
    architecture: Repeatable = (),
    host: str | None = None,
    port: int | None = None,
    mcp: bool = False,
    collect: Path | None = None,
    collect_from_others: bool = False,
) -> int:
    """Serve the page.

    Args:
        checkpoint: *.safetensors, hf://owner/name@revision, or a shipped one by name, as spineseg; else
            SPINESEG_CHECKPOINT, several separated by commas; else those that are shipped
        architecture: module:factory of your own that a checkpoint may hold the weights of
        host: address to listen on; else GRADIO_SERVER_NAME, else 127.0.0.1
        port: else GRADIO_SERVER_PORT, else the first free one from 7860
        mcp: offer /segment and /measure as MCP tools too
        collect: training folder; the page adds films to it with their masks, one press each
        collect_from_others: let --collect keep films of visitors on other machines too
    """
    from spineseg.ui.launch import main as serve

    # Its own options, which are named again above so that `--help` waits for no Gradio.
    given = {"checkpoint": checkpoint, "architecture": architecture}
    given |= {"host": [host], "port": [port], "collect": [collect]}
    switches = ["--mcp"] * mcp + ["--collect-from-others"] * collect_from_others
    options = [f"--{name}={value}" for name, values in given.items() for value in values if value is not None]
    serve([*options, *switches])
    return 0


def evaluate(
    out: Path,
    data: Path | None = None,
    held_back: Path | None = None,
    model: Annotated[Model, Flat] = PUBLISHED,
    workers: int | None = None,
) -> int:
    """Score a checkpoint on labelled films: Dice per film and vertebra as CSV, a summary as JSON.

    Nothing is scored if the command check finds an error in the folder.

    Args:
        out: folder for dice.csv, films.csv and summary.json
        data: folder with films in img/ and labels in label/ (MATLAB, NumPy, PNG, TIFF, NIfTI or DICOM segmentations)
        held_back: a run's --out; only the films that it held back are scored, with its best checkpoint if none is named
        model: what segments them
        workers: films that are read at the same time; as many as there are cores, up to eight, if not given
    """
    from spineseg.data.check import check_before_use
    from spineseg.data.findings import grouped
    from spineseg.evaluation.evaluate import evaluate, summary_table
    from spineseg.io.answers import Answers, only_run
    from spineseg.io.folder import find_films
    from spineseg.io.processes import connected
    from spineseg.training.full_size import films_to_score, trained_on_among

    if held_back is not None:
        data, model = of_run(held_back, data, model)
    processes = connected()
    if data is None:
        raise BadInput("There is nothing to score; name a folder as --data, or a run as --held-back")
    with listing_faults():
        warnings = check_before_use(data, threads=min(os.cpu_count() or 1, 8), progress=progress("checking"))
    for line in grouped(warning for warning in warnings if warning.kind != "no label"):  # the table has those
        print(line, file=sys.stderr)
    films = find_films(data) if held_back is None else films_to_score(held_back, find_films(data))
    if seen := trained_on_among(model.checkpoint, films):
        print(f"warning: {seen}", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    count, shown = readers(workers, processes.count), progress("evaluating")
    with only_run(out, processes):
        answers = Answers(out, [model, model.identity()], processes)
        summary = evaluate(model.load(), films, out, readers=count, answers=answers, progress=shown)
    if processes.index == 0:
        print(summary_table(summary))
    return 1 if summary.failed else 0


def of_run(run: Path, data: Path | None, model: Model) -> tuple[Path, Model]:
    """The folder that a run was trained on and its best checkpoint, where no others are named. Raises BadInput."""
    from spineseg.training.config import read_config
    from spineseg.training.full_size import BEST

    config = read_config(run)
    if model.checkpoint == PUBLISHED.checkpoint:
        model = replace(model, checkpoint=run / BEST)
    return data or config.data, model


def show(
    film: tyro.conf.Positional[Path],
    out: Path,
    label: Path | None = None,
    augmented: bool = False,
    model: Annotated[Model, Flat] = PUBLISHED,
) -> int:
    """Draw a film beside its label's channels, or beside a network's probability maps, as a PNG.

    Args:
        film: DICOM, PNG, JPEG, TIFF, BMP or WebP; with --augmented the folder that train reads
        out: the picture
        label: as train reads them; without it the checkpoint's probability maps are drawn, before post-processing
        augmented: draw eight films of the folder as training shows them to the network, changed at random
        model: whose probability maps, or whose grid
    """
    import numpy as np

    from spineseg.io.files import naming
    from spineseg.io.films import read_film
    from spineseg.io.labels import read_label, to_array
    from spineseg.io.pictures import write_png
    from spineseg.render import figure_channels

    if augmented:
        write_png(out, _augmented(film, model))
        print(f"wrote {out}")
        return 0
    with naming(film.name):
        shown = read_film(film)
    if label is not None:
        with naming(label.name):
            read = read_label(label, shown.shape)
        print("\n".join(f"{label.name}: {remark}" for remark in read.remarks) or f"{label.name}: nothing to remark on")
        channels = np.moveaxis(to_array(read.masks), -1, 0).astype(bool)
        picture = figure_channels(shown, channels, (*VERTEBRAE, BACKGROUND))
    else:
        prediction = model.load()(shown)
        shown, probabilities = prediction.seen(shown), prediction.probabilities
        titles = [f"{name}: at most {p.max():.2f}" for name, p in zip(VERTEBRAE, probabilities, strict=True)]
        picture = figure_channels(shown, probabilities, titles)
    write_png(out, picture)
    print(f"wrote {out}")
    return 0


def _augmented(folder: Path, model: Model) -> Picture:
    """A batch of the folder's films on the checkpoint's grid."""
    from spineseg.data.config import AugmentConfig
    from spineseg.data.preview import augmented_batch
    from spineseg.model.card import read_card
    from spineseg.model.hub import resolve

    return augmented_batch(folder, read_card(resolve(model.checkpoint)).grid, AugmentConfig())
