"""The commands: `python -m spineseg simulate | check | train | predict ...`. Each parses, calls, prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from spineseg.allocator import keep_freed_memory
from spineseg.data.check import FolderReport, check_folder
from spineseg.data.convert import ConvertConfig, NotConverted, convert_folder
from spineseg.evaluation.evaluate import evaluate, summary_table
from spineseg.evaluation.submission import HandinReport, array_stem, check_handin, films_named
from spineseg.film import BACKGROUND, VERTEBRAE, BadInput, Film
from spineseg.inference.prediction import Prediction
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.views import ONE_VIEW, View
from spineseg.io.dicom import read_film
from spineseg.io.dicom_seg import require_highdicom, write_segmentation
from spineseg.io.files import naming, write_table, write_text
from spineseg.io.folder import find_films, write_case
from spineseg.io.isolation import read_film_isolated, start_ahead
from spineseg.io.labels import read_label, to_array, write_array
from spineseg.io.pictures import write_png
from spineseg.measure.measurements import csv_columns, csv_row, measure_prediction
from spineseg.measure.spine import Facing
from spineseg.model.hub import pack, push, resolve
from spineseg.render import figure_channels, overlay
from spineseg.simulate import SimulateConfig, build_atlas, save_atlas, write_folder
from spineseg.training.config import TrainConfig
from spineseg.training.cross_validation import cross_validate
from spineseg.training.loop import train
from spineseg.training.report import write_report

DEFAULT_CHECKPOINT = Path(__file__).resolve().parents[1] / "checkpoints" / "spineseg.safetensors"
JsonPath = Annotated[Path | None, tyro.conf.arg(name="json")]


def _simulate(
    out: Path,
    count: int = 100,
    seed: int = 0,
    rows: int = 1536,
    processes: int = os.cpu_count() or 1,
    meshes: Path | None = None,
) -> int:
    """Write simulated lateral lumbar films with their exact labels; the same seed gives the same bytes.

    Args:
        out: folder for img/*.dcm and label/*.mat
        count: how many films
        seed: which series
        rows: rows of each film; its columns vary
        processes: how many work at once; the films are the same
        meshes: folder of bone meshes (see spineseg.simulate.bones); bones are projected from them instead of painted
    """
    progress = partial(tqdm, desc="simulating", unit="film")
    config = SimulateConfig(rows=rows)
    with TemporaryDirectory() as scratch:
        atlas = None
        if meshes is not None:
            atlas = Path(scratch) / "atlas.npz"
            save_atlas(atlas, build_atlas(meshes))
        write_folder(out, count, seed, config, write=write_case, atlas=atlas, processes=processes, progress=progress)
    print(f"{count} films in {out}")
    return 0


@dataclass(frozen=True)
class PredictArguments:
    """Segment films: writes <stem>.npy, uint8, rows x columns x 7 (L1, L2, L3, L4, L5, S1, background)."""

    films: tyro.conf.Positional[tuple[Path, ...]]
    """DICOM files, or folders of them."""
    out: Path
    """Folder for the arrays."""
    checkpoint: Path = field(default=DEFAULT_CHECKPOINT)
    """*.safetensors with its card, or hf://owner/name@revision."""
    device: str = "auto"
    """auto, cpu or cuda."""
    one_view: bool = False
    """Look at each film once and not turned and mirrored as well: faster, its contours less steady."""
    invert: bool = False
    """The films are stored the wrong way round: bone dark."""
    overlay: bool = False
    """Also write <stem>.png, the film with its vertebrae in colour."""
    measure: bool = False
    """Also write <stem>.json with heights, discs, angles and slips, and one measurements.csv over all films."""
    facing: Facing | None = None
    """The side that the fronts of the bodies are on, for --measure; told by how each spine turns if not given."""
    dicom_seg: bool = False
    """Also write <stem>.seg.dcm, a DICOM segmentation object (needs highdicom)."""
    copy_patient: bool = False
    """Let that object repeat the patient's name, identity and dates from the film."""


def _predict(arguments: Annotated[PredictArguments, tyro.conf.arg(name="")]) -> int:
    """Segment films into arrays of rows x columns x 7."""
    if arguments.copy_patient and not arguments.dicom_seg:
        raise BadInput("expected --copy-patient together with --dicom-seg, got it alone; arrays hold no patient field")
    films = list(films_named(arguments.films))
    if not films:
        raise BadInput("expected DICOM files, found none in the folder; name a file or a folder that holds some")
    if arguments.dicom_seg:
        require_highdicom()
    start_ahead()
    segmenter = Segmenter.load(arguments.checkpoint, arguments.device, _views(arguments.one_view))
    arguments.out.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    measured: list[tuple[str, ...]] = []
    failed = 0
    for path in films:
        try:
            if array_stem(path) in written:
                raise BadInput("expected a name that no other film of this run has; rename it, or use another --out")
            prediction = segmenter(film := read_film_isolated(path, invert=arguments.invert))
            write_array(arguments.out / f"{array_stem(path)}.npy", prediction.masks)
            if arguments.overlay:
                write_png(arguments.out / f"{array_stem(path)}.png", overlay(film, prediction.masks))
            if arguments.measure:
                measured.append(_measured(arguments.out, array_stem(path), prediction, film, arguments.facing))
            if arguments.dicom_seg:
                place = arguments.out / f"{array_stem(path)}.seg.dcm"
                patient = arguments.copy_patient
                write_segmentation(place, path, prediction.masks, model=segmenter.name, copy_patient=patient)
        except BadInput as error:
            failed += 1
            print(f"{_shown(path.name)}: {error}", file=sys.stderr)
            continue
        written.add(array_stem(path))
        rows, columns = film.shape
        said = "; ".join((prediction.levels.verdict, *prediction.levels.reasons))
        print(f"{_shown(path.name)}: {rows} x {columns}, {prediction.seconds:.1f} s, {said}")
    if arguments.measure:
        write_table(arguments.out / "measurements.csv", csv_columns(), measured)
    print(f"{len(written)} of {len(films)} films segmented into {_shown(str(arguments.out))}")
    return 1 if failed else 0


def _views(one_view: bool) -> Sequence[View] | None:
    """What a segmenter is to be given for the flag."""
    return ONE_VIEW if one_view else None


def _shown(name: str) -> str:
    """A stranger's file name as one line that the terminal can write and that does nothing to it."""
    encoding = sys.stdout.encoding or "ascii"
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain.encode(encoding, "replace").decode(encoding)


def _measured(out: Path, stem: str, prediction: Prediction, film: Film, facing: Facing | None) -> tuple[str, ...]:
    """Write a film's measurements as JSON; its line for the table over films."""
    measurements, levels = measure_prediction(prediction, film.spacing, facing=facing), prediction.levels
    told = {"film": stem, "verdict": levels.verdict, "reasons": levels.reasons, **measurements.as_dict()}
    write_text(out / f"{stem}.json", json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return csv_row(stem, levels, measurements)


def _evaluate(
    data: Path, out: Path, checkpoint: Path = DEFAULT_CHECKPOINT, device: str = "auto", one_view: bool = False
) -> int:
    """Score a checkpoint on labelled films: Dice per film and vertebra as CSV, a summary as JSON.

    Args:
        data: folder with img/*.dcm and label/*.mat or *.npy
        out: folder for dice.csv, films.csv and summary.json
        checkpoint: *.safetensors with its card, or hf://owner/name@revision
        device: auto, cpu or cuda
        one_view: look at each film once and not turned and mirrored as well
    """
    films = find_films(data)
    segmenter = Segmenter.load(checkpoint, device, _views(one_view))
    summary = evaluate(segmenter, tqdm(films, desc="evaluating", unit="film"), out)
    print(summary_table(summary))
    return 1 if summary.failed else 0


def _show(
    film: tyro.conf.Positional[Path],
    out: Path,
    label: Path | None = None,
    checkpoint: Path = DEFAULT_CHECKPOINT,
    device: str = "auto",
) -> int:
    """Draw a film beside its label's channels, or beside a network's raw channels, as a PNG.

    Args:
        film: DICOM file
        out: the picture
        label: .mat or .npy; without it the checkpoint's channels are drawn, before any rule of anatomy
        checkpoint: *.safetensors with its card, or hf://owner/name@revision
        device: auto, cpu or cuda
    """
    with naming(film.name):
        shown = read_film(film)
    if label is not None:
        with naming(label.name):
            read = read_label(label, shown.shape)
        print("\n".join(f"{label.name}: {remark}" for remark in read.remarks) or f"{label.name}: nothing to remark on")
        channels = np.moveaxis(to_array(read.masks), -1, 0).astype(bool)
        picture = figure_channels(shown, channels, (*VERTEBRAE, BACKGROUND))
    else:
        probabilities = Segmenter.load(checkpoint, device)(shown).probabilities
        titles = [f"{name}: at most {p.max():.2f}" for name, p in zip(VERTEBRAE, probabilities, strict=True)]
        picture = figure_channels(shown, probabilities, titles)
    write_png(out, picture)
    print(f"wrote {out}")
    return 0


def _train(config: Annotated[TrainConfig, tyro.conf.arg(name="")], dry_run: bool = False) -> int:
    """Train a network on a folder of films and labels.

    Args:
        config: all other settings
        dry_run: only check the folder, as the command check does
    """
    if dry_run:
        return _check(config.data)
    if config.init is not None:
        config = replace(config, init=resolve(config.init))
    keep_freed_memory()
    if config.folds and not config.fold:
        cross_validate(config)
    else:
        train(config)
    return 0


def _report(run: tyro.conf.Positional[Path]) -> int:
    """Write report.html, one page on a training run, from what it has written so far.

    Args:
        run: the run's --out
    """
    print(f"wrote {write_report(run)}")
    return 0


def _check(
    folder: tyro.conf.Positional[Path], json_out: JsonPath = None, threads: int = min(os.cpu_count() or 1, 8)
) -> int:
    """Check a folder of films and labels before training: pairs, sizes, order, doubles. Exit status 1 for any error.

    Args:
        folder: folder with img/*.dcm and label/*.mat or *.npy
        json_out: also write the findings here, as JSON
        threads: how many films are read at once
    """
    report = check_folder(folder, threads=threads, progress=partial(tqdm, desc="checking", unit="film"))
    return _tell(report, json_out)


def _check_handin(
    arrays: tyro.conf.Positional[Path], films: tyro.conf.Positional[Path], json_out: JsonPath = None
) -> int:
    """Say whether a folder of arrays answers a folder of films in the challenge's form. Exit status 1 if it does not.

    Args:
        arrays: folder of <film>.npy, as predict writes it
        films: folder of the films
        json_out: also write the findings here, as JSON
    """
    return _tell(check_handin(arrays, films, progress=partial(tqdm, desc="checking", unit="film")), json_out)


def _tell(report: FolderReport | HandinReport, json_out: Path | None) -> int:
    """Print a line for each finding and a summary; 1 if some finding is an error."""
    for finding in report.findings:
        print(finding)
    print(report.summary)
    if json_out is not None:
        write_text(json_out, json.dumps(report.as_dict(), indent=2) + "\n")
    return 1 if report.errors else 0


def _convert(config: Annotated[ConvertConfig, tyro.conf.arg(name="")]) -> int:
    """Convert films and label maps (PNG, NIfTI, DICOM) to the folder that train reads, all of them or nothing."""
    try:
        done = convert_folder(config, progress=partial(tqdm, desc="converting", unit="film"))
    except NotConverted as error:
        for name, sentence in error.failed.items():
            print(f"{name}: {sentence}", file=sys.stderr)
        raise
    for name, sentence in done.left_out.items():
        print(f"{name}: left out: {sentence}", file=sys.stderr)
    print(f"{len(done.names)} films in {config.out}")
    return 1 if done.left_out else 0


def _push(
    checkpoint: tyro.conf.Positional[Path],
    repository: tyro.conf.Positional[str],
    dry_run: bool = False,
    licence: str = "",
    private: bool = False,
) -> int:
    """Put a checkpoint on the Hugging Face Hub: weights, JSON card and a model card with its scores, as one commit.

    Args:
        checkpoint: *.safetensors with its card
        repository: owner/name; made if it is not there
        dry_run: say what would be sent, without network or token
        licence: of the weights, for the model card, e.g. apache-2.0
        private: if the repository is made, nobody else sees it
    """
    parcel = pack(checkpoint, repository, licence=licence)
    for name, size in parcel.sizes().items():
        print(f"{size:>12,} bytes  {name}")
    if dry_run:
        print(f"{parcel.page}\nnothing was sent to {repository}: --dry-run")
    else:
        print(f"pushed: {push(parcel, private=private)}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all went well, 1 if some input could not be used."""
    commands: dict[str, Callable[..., Any]] = {
        "simulate": _simulate,
        "convert": _convert,
        "check": _check,
        "train": _train,
        "report": _report,
        "predict": _predict,
        "evaluate": _evaluate,
        "show": _show,
        "check-handin": _check_handin,
        "push": _push,
    }
    try:
        return tyro.extras.subcommand_cli_from_dict(commands, prog="python -m spineseg", args=arguments)
    except BadInput as error:
        print(f"spineseg: {error}", file=sys.stderr)
    except OSError as error:
        print(f"spineseg: {error.strerror or type(error).__name__}: {error.filename or ''}", file=sys.stderr)
    return 1
