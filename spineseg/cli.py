"""The commands: `spineseg app | predict | train | evaluate ...`. Each parses, calls, prints.

A command imports what it needs when it runs, so that `--help` waits for no torch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from spineseg.data.config import ConvertConfig
from spineseg.film import BACKGROUND, VERTEBRAE, BadInput
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.model.card import UNET
from spineseg.training.config import TrainConfig

if TYPE_CHECKING:
    from spineseg.data.check import FolderReport
    from spineseg.evaluation.submission import SubmissionReport
    from spineseg.film import Film
    from spineseg.inference.prediction import Prediction
    from spineseg.inference.segmenter import Segmenter

JsonPath = Annotated[Path | None, tyro.conf.arg(name="json")]


@dataclass(frozen=True)
class Model:
    """Which weights segment, and how they are run."""

    checkpoint: Path = DEFAULT_CHECKPOINT
    """*.safetensors with its card, or hf://owner/name@revision."""
    architecture: str = UNET
    """Network that the weights belong to: unet, or module:factory of your own (docs/how-to/add-a-network.md)."""
    device: str = "auto"
    """auto (cuda where there is one, else cpu), cpu, cuda or mps."""
    one_view: bool = False
    """Look at each film once and not turned and mirrored as well: faster, its contours less steady."""

    def load(self) -> Segmenter:
        """Raises BadInput if it cannot be used."""
        from spineseg.inference.segmenter import Segmenter
        from spineseg.inference.views import ONE_VIEW

        views = ONE_VIEW if self.one_view else None
        return Segmenter.load(self.checkpoint, self.device, views, architecture=self.architecture)


Flat = tyro.conf.arg(name="")  # flags without a prefix
Repeatable = tyro.conf.UseAppendAction[tuple[str, ...]]


def _app(
    checkpoint: Repeatable = (),
    architecture: Repeatable = (),
    host: str | None = None,
    port: int | None = None,
) -> int:
    """Serve the page.

    Args:
        checkpoint: *.safetensors, or hf://owner/name@revision; else SPINESEG_CHECKPOINT, several separated by commas;
            else those that are shipped
        architecture: module:factory of your own that a checkpoint may hold the weights of
        host: address to listen on; else GRADIO_SERVER_NAME, else 127.0.0.1
        port: else GRADIO_SERVER_PORT, else the first free one from 7860
    """
    from spineseg.ui.launch import main as serve

    # Its own options, which are named again above so that `--help` waits for no Gradio.
    given = {"checkpoint": checkpoint, "architecture": architecture, "host": [host], "port": [port]}
    serve([f"--{name}={value}" for name, values in given.items() for value in values if value is not None])
    return 0


def _progress(what: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """A bar that counts films."""
    from tqdm import tqdm

    return partial(tqdm, desc=what, unit="film")


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
    from tempfile import TemporaryDirectory

    from spineseg.io.folder import write_case
    from spineseg.simulate import SimulateConfig, build_atlas, save_atlas, write_folder

    config, progress = SimulateConfig(rows=rows), _progress("simulating")
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
    model: Annotated[Model, Flat] = Model()
    invert: bool = False
    """The films have inverted grayscale, bone dark."""
    overlay: bool = False
    """Also write <stem>.png, the film with its vertebrae in colour."""
    measure: bool = False
    """Also write <stem>.json with heights, discs, angles and slips, and one measurements.csv over all films."""
    facing: Literal["left", "right"] | None = None
    """The anterior side, for --measure; told by how each spine turns if not given."""
    dicom_seg: bool = False
    """Also write <stem>.seg.dcm, a DICOM segmentation object (needs highdicom)."""
    copy_patient: bool = False
    """Let that object repeat the patient's name, identity and dates from the film."""

    def check(self) -> None:
        """Raises BadInput for a flag that would do nothing, or an output that cannot be written."""
        if self.copy_patient and not self.dicom_seg:
            raise BadInput(
                "expected --copy-patient together with --dicom-seg, got it alone; arrays hold no patient field"
            )
        if self.facing and not self.measure:
            raise BadInput("expected --facing together with --measure, got it alone; masks do not depend on it")
        if self.dicom_seg:
            from spineseg.io.dicom_seg import require_highdicom

            require_highdicom()


def _predict(arguments: Annotated[PredictArguments, Flat]) -> int:
    """Segment films into arrays of rows x columns x 7."""
    from spineseg.evaluation.submission import array_stem, films_named
    from spineseg.io.files import write_table
    from spineseg.io.isolation import start_ahead
    from spineseg.measure.measurements import csv_columns

    arguments.check()
    films = list(films_named(arguments.films))
    if not films:
        raise BadInput("expected DICOM files, found none in the folder; name a file or a folder that holds some")
    start_ahead()
    segmenter = arguments.model.load()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, tuple[str, ...]] = {}
    for path in films:
        try:
            if (stem := array_stem(path)) in rows:
                raise BadInput("expected a name that no other film of this run has; rename it, or use another --out")
            rows[stem] = _predict_film(path, stem, segmenter, arguments)
        except BadInput as error:
            print(f"{_printable(path.name)}: {error}", file=sys.stderr)
    if arguments.measure:
        write_table(arguments.out / "measurements.csv", csv_columns(), rows.values())
    print(f"{len(rows)} of {len(films)} films segmented into {_printable(str(arguments.out))}")
    return 0 if len(rows) == len(films) else 1


def _predict_film(path: Path, stem: str, segmenter: Segmenter, arguments: PredictArguments) -> tuple[str, ...]:
    """Write what was asked for and print a line; the film's row of measurements, if they were asked for."""
    from spineseg.io.dicom_seg import write_segmentation
    from spineseg.io.isolation import read_film_isolated
    from spineseg.io.labels import write_array
    from spineseg.io.pictures import write_png
    from spineseg.render import overlay

    out, row = arguments.out, ()
    prediction = segmenter(film := read_film_isolated(path, invert=arguments.invert))
    write_array(out / f"{stem}.npy", prediction.masks)
    if arguments.overlay:
        write_png(out / f"{stem}.png", overlay(film, prediction.masks))
    if arguments.measure:
        row = _write_measurements(stem, prediction, film, arguments)
    if arguments.dicom_seg:
        seg, patient = out / f"{stem}.seg.dcm", arguments.copy_patient
        write_segmentation(seg, path, prediction.masks, model=segmenter.name, copy_patient=patient)
    size, verdict = " x ".join(map(str, film.shape)), "; ".join((prediction.levels.verdict, *prediction.levels.reasons))
    print(f"{_printable(path.name)}: {size}, {prediction.seconds:.1f} s, {verdict}")
    return row


def _printable(name: str) -> str:
    """A stranger's file name as one line that the terminal can write and that does nothing to it."""
    encoding = sys.stdout.encoding or "ascii"
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain.encode(encoding, "replace").decode(encoding)


def _write_measurements(stem: str, prediction: Prediction, film: Film, arguments: PredictArguments) -> tuple[str, ...]:
    """Write a film's measurements as JSON; its row of the table over films."""
    from spineseg.io.files import write_text
    from spineseg.measure.measurements import csv_row, measure_prediction

    levels, facing = prediction.levels, arguments.facing
    measurements = measure_prediction(prediction, film.spacing, row_to_column=film.row_to_column, facing=facing)
    content = {"film": stem, "verdict": levels.verdict, "reasons": levels.reasons, **measurements.as_dict()}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(arguments.out / f"{stem}.json", text + "\n")
    return csv_row(stem, levels, measurements)


def _evaluate(data: Path, out: Path, model: Annotated[Model, Flat] = Model()) -> int:
    """Score a checkpoint on labelled films: Dice per film and vertebra as CSV, a summary as JSON.

    Args:
        data: folder with img/*.dcm and label/*.mat or *.npy
        out: folder for dice.csv, films.csv and summary.json
        model: what segments them
    """
    from spineseg.evaluation.evaluate import evaluate, summary_table
    from spineseg.io.folder import find_films

    films = find_films(data)
    summary = evaluate(model.load(), _progress("evaluating")(films), out)
    print(summary_table(summary))
    return 1 if summary.failed else 0


def _show(
    film: tyro.conf.Positional[Path],
    out: Path,
    label: Path | None = None,
    model: Annotated[Model, Flat] = Model(),
) -> int:
    """Draw a film beside its label's channels, or beside a network's probability maps, as a PNG.

    Args:
        film: DICOM file
        out: the picture
        label: .mat or .npy; without it the checkpoint's probability maps are drawn, before any post-processing
        model: whose probability maps
    """
    import numpy as np

    from spineseg.io.dicom import read_film
    from spineseg.io.files import naming
    from spineseg.io.labels import read_label, to_array
    from spineseg.io.pictures import write_png
    from spineseg.render import figure_channels

    with naming(film.name):
        shown = read_film(film)
    if label is not None:
        with naming(label.name):
            read = read_label(label, shown.shape)
        print("\n".join(f"{label.name}: {remark}" for remark in read.remarks) or f"{label.name}: nothing to remark on")
        channels = np.moveaxis(to_array(read.masks), -1, 0).astype(bool)
        picture = figure_channels(shown, channels, (*VERTEBRAE, BACKGROUND))
    else:
        probabilities = model.load()(shown).probabilities
        titles = [f"{name}: at most {p.max():.2f}" for name, p in zip(VERTEBRAE, probabilities, strict=True)]
        picture = figure_channels(shown, probabilities, titles)
    write_png(out, picture)
    print(f"wrote {out}")
    return 0


def _train(config: Annotated[TrainConfig, Flat], dry_run: bool = False) -> int:
    """Train a network on a folder of films and labels.

    Args:
        config: all other settings
        dry_run: only check the folder, as the command check does
    """
    if dry_run:
        return _check(config.data)
    from spineseg.allocator import disable_mmap_and_trim
    from spineseg.model.hub import resolve
    from spineseg.training.cross_validation import cross_validate
    from spineseg.training.loop import train

    config = replace(config, init=config.init and resolve(config.init))
    disable_mmap_and_trim()
    run = cross_validate if config.folds and not config.fold else train
    run(config)
    return 0


def _report(run: tyro.conf.Positional[Path], architecture: str = UNET) -> int:
    """Write report.html, one page on a training run, from what it has written so far.

    Args:
        run: the run's --out
        architecture: as the run was trained with
    """
    from spineseg.training.report import write_report

    print(f"wrote {write_report(run, architecture)}")
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
    from spineseg.data.check import check_folder

    return _print_report(check_folder(folder, threads=threads, progress=_progress("checking")), json_out)


def _check_submission(
    arrays: tyro.conf.Positional[Path], films: tyro.conf.Positional[Path], json_out: JsonPath = None
) -> int:
    """Say whether a folder of arrays answers a folder of films in the challenge's form. Exit status 1 if it does not.

    Args:
        arrays: folder of <film>.npy, as predict writes it
        films: folder of the films
        json_out: also write the findings here, as JSON
    """
    from spineseg.evaluation.submission import check_submission

    return _print_report(check_submission(arrays, films, progress=_progress("checking")), json_out)


def _print_report(report: FolderReport | SubmissionReport, json_out: Path | None) -> int:
    """Print a line for each finding and a summary; 1 if some finding is an error."""
    from spineseg.io.files import write_text

    for finding in report.findings:
        print(finding)
    print(report.summary)
    if json_out is not None:
        write_text(json_out, json.dumps(report.as_dict(), indent=2) + "\n")
    return 1 if report.errors else 0


def _convert(config: Annotated[ConvertConfig, Flat]) -> int:
    """Convert films and label maps (PNG, NIfTI, DICOM) to the folder that train reads, all of them or nothing."""
    from spineseg.data.convert import NotConverted, convert_folder

    try:
        done = convert_folder(config, progress=_progress("converting"))
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
    architecture: str = UNET,
) -> int:
    """Put a checkpoint on the Hugging Face Hub: weights, JSON card and a model card with its scores, as one commit.

    Args:
        checkpoint: *.safetensors with its card
        repository: owner/name; made if it is not there
        dry_run: say what would be sent, without network or token
        licence: of the weights, for the model card, e.g. apache-2.0
        private: if the repository is made, nobody else sees it
        architecture: as the checkpoint was trained with
    """
    from spineseg.model.hub import prepare_upload, push

    upload = prepare_upload(checkpoint, repository, licence=licence, architecture=architecture)
    for name, size in upload.sizes().items():
        print(f"{size:>12,} bytes  {name}")
    if dry_run:
        print(f"{upload.page}\nnothing was sent to {repository}: --dry-run")
    else:
        print(f"pushed: {push(upload, private=private)}")
    return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    function.__name__[1:].replace("_", "-"): function
    for function in (
        *(_app, _predict, _show, _simulate, _convert, _check, _train, _report, _evaluate, _check_submission, _push),
    )
}


def main(arguments: Sequence[str] | None = None, prog: str = "spineseg") -> int:
    """Run one command; 0 if all went well, 1 if some input could not be used."""
    try:
        return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog=prog, args=arguments)
    except BadInput as error:
        print(f"spineseg: {error}", file=sys.stderr)
    except OSError as error:
        print(f"spineseg: {error.strerror or type(error).__name__}: {error.filename or ''}", file=sys.stderr)
    return 1
