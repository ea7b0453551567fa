"""The commands: `python -m spineseg simulate | train | predict | evaluate | show`. Each parses, calls, prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import tyro
from tqdm import tqdm

from spineseg.dataset import find_films, naming, write_case
from spineseg.dicom import read_film
from spineseg.evaluate import evaluate, summary_table
from spineseg.film import BACKGROUND, VERTEBRAE, BadInput
from spineseg.labels import read_label, to_array, write_array
from spineseg.predict import Segmenter
from spineseg.render import figure_channels, overlay, write_png
from spineseg.simulate import SimulateConfig, write_folder
from spineseg.train import PresetName, TrainConfig, train
from spineseg.train import preset as preset_config

DEFAULT_CHECKPOINT = Path(__file__).resolve().parents[1] / "checkpoints" / "spineseg.safetensors"
FILM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Endings that a film's array is named without."""


def _simulate(
    out: Path,
    count: int = 100,
    seed: int = 0,
    rows: int = 1536,
    processes: int = os.cpu_count() or 1,
) -> int:
    """Write simulated lateral lumbar films with their exact labels; the same seed gives the same bytes.

    Args:
        out: folder for img/*.dcm and label/*.mat
        count: how many films
        seed: which series
        rows: rows of each film; its columns vary
        processes: how many work at once; the films are the same
    """
    progress = partial(tqdm, desc="simulating", unit="film")
    config = SimulateConfig(rows=rows)
    write_folder(out, count, seed, config, write=write_case, processes=processes, progress=progress)
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
    device: str = "auto"
    """auto, cpu or cuda."""
    invert: bool = False
    """The films are stored the wrong way round: bone dark."""
    overlay: bool = False
    """Also write <stem>.png, the film with its vertebrae in colour."""


def films_named(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and those of each folder that may be films, by name."""
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            yield from (p for p in inside if p.suffix.lower() in FILM_SUFFIXES or not _has_ending(p))
        else:
            yield path


def _has_ending(path: Path) -> bool:
    """Whether the name has an ending that is no number; a film may be named by its unique identifier, 1.2.840.10008."""
    return bool(path.suffix) and not path.suffix[1:].isdigit()


def _stem(path: Path) -> str:
    """The name that a film's array goes by."""
    return path.stem if _has_ending(path) else path.name


def _predict(arguments: Annotated[PredictArguments, tyro.conf.arg(name="")]) -> int:
    """Segment films into arrays of rows x columns x 7."""
    films = list(films_named(arguments.films))
    if not films:
        raise BadInput("expected DICOM files, found none in the folder; name a file or a folder that holds some")
    segmenter = Segmenter.load(arguments.checkpoint, arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    failed = 0
    for path in films:
        try:
            if _stem(path) in written:
                raise BadInput("expected a name that no other film of this run has; rename it, or use another --out")
            prediction = segmenter(film := read_film(path, invert=arguments.invert))
            write_array(arguments.out / f"{_stem(path)}.npy", prediction.masks)
            if arguments.overlay:
                write_png(arguments.out / f"{_stem(path)}.png", overlay(film, prediction.masks))
        except BadInput as error:
            failed += 1
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        written.add(_stem(path))
        rows, columns = film.shape
        said = "; ".join((prediction.levels.verdict, *prediction.levels.reasons))
        print(f"{path.name}: {rows} x {columns}, {prediction.seconds:.1f} s, {said}")
    print(f"{len(written)} of {len(films)} films segmented into {arguments.out}")
    return 1 if failed else 0


def _evaluate(data: Path, out: Path, checkpoint: Path = DEFAULT_CHECKPOINT, device: str = "auto") -> int:
    """Score a checkpoint on labelled films: Dice per film and vertebra as CSV, a summary as JSON.

    Args:
        data: folder with img/*.dcm and label/*.mat or *.npy
        out: folder for dice.csv, films.csv and summary.json
        checkpoint: *.safetensors with its card
        device: auto, cpu or cuda
    """
    films = find_films(data)
    summary = evaluate(Segmenter.load(checkpoint, device), tqdm(films, desc="evaluating", unit="film"), out)
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
        checkpoint: *.safetensors with its card
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
        picture = figure_channels(shown, Segmenter.load(checkpoint, device)(shown).probabilities, VERTEBRAE)
    write_png(out, picture)
    print(f"wrote {out}")
    return 0


def _training(name: str) -> Callable[..., int]:
    """The command that trains, with the settings of a preset as its defaults."""
    known: PresetName = next((p for p in get_args(PresetName) if p == name), "default")  # tyro refuses other names
    base = preset_config(known, Path(), Path())
    for required in ("data", "out"):  # these two have no default, which tyro marks by a value that is no Path
        object.__setattr__(base, required, tyro.MISSING)

    def command(preset: PresetName = "default", config: Annotated[TrainConfig, tyro.conf.arg(name="")] = base) -> int:
        """Train a network on a folder of films and labels.

        Args:
            preset: network and grid to start from, which --network.* and --grid.* change: the report's or the default
            config: all other settings
        """
        train(config)
        return 0

    return command


def _preset_named(arguments: Sequence[str] | None) -> str:
    """The preset's name, which is needed to say what the other settings' defaults are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", nargs="?", default="default")
    return str(parser.parse_known_args(arguments)[0].preset)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all went well, 1 if some input could not be used."""
    training = _training(_preset_named(arguments))
    commands: dict[str, Callable[..., Any]] = {
        "simulate": _simulate,
        "train": training,
        "predict": _predict,
        "evaluate": _evaluate,
        "show": _show,
    }
    try:
        return tyro.extras.subcommand_cli_from_dict(commands, prog="python -m spineseg", args=arguments)
    except BadInput as error:
        print(f"spineseg: {error}", file=sys.stderr)
    except OSError as error:
        print(f"spineseg: {error.strerror or type(error).__name__}: {error.filename or ''}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
