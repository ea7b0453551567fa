"""Commands that use a network: predict, evaluate, show, app."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from errno import EEXIST, EISDIR, ENAMETOOLONG, ENOTDIR
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from spineseg.cli.options import (
    PUBLISHED,
    Flat,
    Model,
    Repeatable,
    cell,
    is_result,
    listing_faults,
    printable,
    progress,
)
from spineseg.film import BACKGROUND, VERTEBRAE, BadInput

if TYPE_CHECKING:
    from spineseg.film import Film
    from spineseg.inference.prediction import Prediction
    from spineseg.inference.segmenter import Segmenter
    from spineseg.io.discovery import Found, FoundFilm, LeftOut
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


@dataclass(frozen=True)
class PredictArguments:
    """Segment films: writes <film>.npy, uint8, rows x columns x 7 (L1, L2, L3, L4, L5, S1, background).

    Results lie in folders as the films do.
    """

    films: tyro.conf.Positional[tuple[Path, ...]]
    """Films as DICOM, PNG, JPEG, TIFF, BMP or WebP, folders of them at any depth, ZIP archives or a DICOMDIR."""
    out: Path
    """Folder for the arrays."""
    model: Annotated[Model, Flat] = PUBLISHED
    invert: bool = False
    """Bone is dark in the films as the files state them: invert them all, whatever the pictures show."""
    as_stored: bool = False
    """Bone is bright in the films as the files state them: invert none, whatever the pictures show."""
    overlay: bool = False
    """Also write <stem>.png, the film with its vertebrae in colour."""
    measure: bool = False
    """Also write <stem>.json with heights, discs, angles and slips, and one measurements.csv over all films."""
    facing: Literal["left", "right"] | None = None
    """The anterior side, for --measure; told by how each spine turns if not given."""
    dicom_seg: bool = False
    """Also write <stem>.seg.dcm, a DICOM segmentation object."""
    copy_patient: bool = False
    """Let that object repeat the patient's name, identity and dates from the film."""

    def check(self) -> None:
        """Raises BadInput for a flag that would do nothing, or an output that cannot be written."""
        if not self.films:
            raise BadInput("expected films to segment, got none; name files, folders or ZIP archives")
        if self.out.exists() and not self.out.is_dir():
            raise BadInput(f"expected a folder as --out, got the file {printable(self.out.name)}; name another")
        if self.copy_patient and not self.dicom_seg:
            raise BadInput(
                "expected --copy-patient together with --dicom-seg, got it alone; arrays hold no patient field"
            )
        if self.invert and self.as_stored:
            raise BadInput(
                "--invert and --as-stored exclude each other; give one, or neither to let the picture decide"
            )
        if self.facing and not self.measure:
            raise BadInput("expected --facing together with --measure, got it alone; masks do not depend on it")


def predict(arguments: Annotated[PredictArguments, Flat]) -> int:
    """Segment films into arrays of rows x columns x 7."""
    from spineseg.io.discovery import no_film, search
    from spineseg.io.files import write_table
    from spineseg.io.isolation import start_ahead
    from spineseg.measure.measurements import csv_columns

    arguments.check()
    table = arguments.out / "measurements.csv"
    if arguments.measure and not is_result(table):
        raise BadInput(f"{printable(str(table))} would be replaced by a result; name another folder as --out")
    left_out: list[LeftOut] = []
    films = _reported(search(arguments.films, apart_from=arguments.out), left_out)
    if (first := next(films, None)) is None:
        one_folder = len(arguments.films) == 1 and arguments.films[0].is_dir()
        raise BadInput(no_film("This folder" if one_folder else "What was named", left_out))
    start_ahead()
    segmenter = arguments.model.load()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, tuple[str, ...]] = {}
    count = 0
    for count, found in enumerate(chain((first,), films), 1):  # noqa: B007
        try:
            rows[found.stem] = _predict_film(found, segmenter, arguments)
        except BadInput as error:
            print(printable(f"{found.name}: {error}"), file=sys.stderr)
    if arguments.measure:
        write_table(table, csv_columns(), rows.values())
    done = f"{len(rows)} of {count} films segmented into {printable(str(arguments.out))}"
    print(f"{done}, {len(left_out)} files left out")
    return 0 if len(rows) == count and not any(each.lost for each in left_out) else 1


def _reported(found: Iterable[Found], left_out: list[LeftOut]) -> Iterator[FoundFilm]:
    """The films; prints a line for what is none, which is added to `left_out`, and for a film under another name."""
    from spineseg.io.discovery import LeftOut

    for each in found:
        if isinstance(each, LeftOut):
            left_out.append(each)
            print(printable(str(each)), file=sys.stderr)
            continue
        if each.meets:
            said = f"{each.name}: its results are named {each.stem}, as {each.meets} has the same name without ending"
            print(printable(said), file=sys.stderr)
        yield each


def _predict_film(found: FoundFilm, segmenter: Segmenter, arguments: PredictArguments) -> tuple[str, ...]:
    """`_predict_file` of a film on the disk. Raises BadInput, also where its results cannot have their name."""
    _refuse_to_replace(found, arguments)
    try:
        (arguments.out / found.stem).parent.mkdir(parents=True, exist_ok=True)
        with found.on_disk() as path:
            return _predict_file(path, found, segmenter, arguments)
    except OSError as error:
        if error.errno not in (ENAMETOOLONG, ENOTDIR, EISDIR, EEXIST):
            raise
        raise BadInput("its results cannot be written under its name; rename it, or use another --out") from None


def _refuse_to_replace(found: FoundFilm, arguments: PredictArguments) -> None:
    """Raises BadInput if a file that is no result of such a run is where results go."""
    wanted = {".npy": True, ".png": arguments.overlay, ".json": arguments.measure, ".seg.dcm": arguments.dicom_seg}
    for ending in (ending for ending, is_wanted in wanted.items() if is_wanted):
        if not is_result(there := arguments.out / f"{found.stem}{ending}"):
            raise BadInput(f"{there.name} would be replaced by a result; name another folder as --out")


def _predict_file(path: Path, found: FoundFilm, segmenter: Segmenter, arguments: PredictArguments) -> tuple[str, ...]:
    """Write what was asked for and print a line; the film's row of measurements, if they were asked for."""
    from spineseg.inference.verdict import NOT_LUMBAR
    from spineseg.io.dicom_seg import write_segmentation
    from spineseg.io.isolation import read_film_isolated
    from spineseg.io.labels import write_array
    from spineseg.io.pictures import write_png
    from spineseg.render import overlay

    out, stem, row = arguments.out, found.stem, ()
    film = read_film_isolated(path, invert=arguments.invert)
    prediction = segmenter(film.as_told(invert=False) if arguments.as_stored else film)
    film = prediction.seen(film)
    write_array(out / f"{stem}.npy", prediction.masks)
    if arguments.overlay:
        write_png(out / f"{stem}.png", overlay(film, prediction.drawn))
    if arguments.measure:
        row = _write_measurements(stem, prediction, film, arguments)
    remarks = prediction.remarks
    if arguments.dicom_seg and prediction.levels.verdict == NOT_LUMBAR:
        remarks = (*remarks, "no DICOM segmentation was written")
    elif arguments.dicom_seg:
        seg, patient = out / f"{stem}.seg.dcm", arguments.copy_patient
        write_segmentation(seg, path, prediction.masks, model=segmenter.name, copy_patient=patient)
    levels, size = prediction.levels, " x ".join(map(str, film.shape))
    verdict = "; ".join((levels.verdict, *levels.reasons, *film.remarks, *remarks))
    print(f"{printable(found.name)}: {size}, {prediction.seconds:.1f} s, {verdict}")
    return row


def _write_measurements(stem: str, prediction: Prediction, film: Film, arguments: PredictArguments) -> tuple[str, ...]:
    """Write a film's measurements as JSON; its row of the table over films."""
    from spineseg.io.files import write_text
    from spineseg.measure.measurements import csv_row, measure_prediction

    levels, facing = prediction.levels, arguments.facing
    measurements = measure_prediction(prediction, film.spacing, row_to_column=film.row_to_column, facing=facing)
    remarks = (*film.remarks, *prediction.remarks)
    stated = {"film": stem, "verdict": levels.verdict, "reasons": levels.reasons, "remarks": remarks}
    content = {**stated, **measurements.as_dict()}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(arguments.out / f"{stem}.json", text + "\n")
    return csv_row(cell(stem), levels, measurements, remarks)


def evaluate(
    out: Path, data: Path | None = None, held_back: Path | None = None, model: Annotated[Model, Flat] = PUBLISHED
) -> int:
    """Score a checkpoint on labelled films: Dice per film and vertebra as CSV, a summary as JSON.

    Nothing is scored if the command check finds an error in the folder.

    Args:
        out: folder for dice.csv, films.csv and summary.json
        data: folder with films in img/ and labels in label/ (MATLAB, NumPy, PNG, TIFF, NIfTI or DICOM segmentations)
        held_back: a run's --out; only the films that it held back are scored, with its best checkpoint if none is named
        model: what segments them
    """
    from spineseg.data.check import check_before_use
    from spineseg.data.findings import grouped
    from spineseg.evaluation.evaluate import evaluate, summary_table
    from spineseg.io.folder import find_films
    from spineseg.training.full_size import films_to_score, trained_on_among

    if held_back is not None:
        data, model = of_run(held_back, data, model)
    if data is None:
        raise BadInput("There is nothing to score; name a folder as --data, or a run as --held-back")
    with listing_faults():
        warnings = check_before_use(data, threads=min(os.cpu_count() or 1, 8), progress=progress("checking"))
    for line in grouped(warning for warning in warnings if warning.kind != "no label"):  # the table has those
        print(line, file=sys.stderr)
    films = find_films(data) if held_back is None else films_to_score(held_back, find_films(data))
    if seen := trained_on_among(model.checkpoint, films):
        print(f"warning: {seen}", file=sys.stderr)
    summary = evaluate(model.load(), progress("evaluating")(films), out)
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
