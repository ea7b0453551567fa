"""Commands that make films and networks: simulate, convert, check, train, report, check-submission, push."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from spineseg.cli.options import Flat, JsonPath, listing_faults, progress
from spineseg.data.config import ConvertConfig
from spineseg.film import BadInput
from spineseg.model.card import UNET
from spineseg.training.config import SCRATCH, TrainConfig

if TYPE_CHECKING:
    from spineseg.data.check import FolderReport
    from spineseg.evaluation.submission import SubmissionReport

SettingsPath = Annotated[Path | None, tyro.conf.arg(name="config")]


def simulate(
    out: Path,
    count: int = 100,
    seed: int = 0,
    rows: int = 1536,
    processes: int = os.cpu_count() or 1,
    meshes: Path | None = None,
    sick: float = 0.4,
) -> int:
    """Write simulated lateral lumbar films with their exact labels; the same seed gives the same bytes.

    Args:
        out: folder for img/*.dcm and label/*.mat, and findings/*.json of sick spines
        count: how many films
        seed: which series
        rows: rows of each film; its columns vary
        processes: how many work at once; the films are the same
        meshes: folder of bone meshes (see spineseg.simulate.bones); bones are projected from them instead of painted
        sick: share of films with fractures, implants, deformities, odd presentation or other findings, 0 to 1; the
            others do not depend on it
    """
    from tempfile import TemporaryDirectory

    from spineseg.io.folder import write_case
    from spineseg.simulate import SickConfig, SimulateConfig, build_atlas, save_atlas, write_folder

    if not 0 <= sick <= 1:
        raise BadInput(f"expected a share from 0 to 1 for --sick, got {sick:g}")
    config, shown = SimulateConfig(rows=rows, sick=SickConfig(share=sick)), progress("simulating")
    with TemporaryDirectory() as scratch:
        atlas = None
        if meshes is not None:
            atlas = Path(scratch) / "atlas.npz"
            save_atlas(atlas, build_atlas(meshes))
        write_folder(out, count, seed, config, write=write_case, atlas=atlas, processes=processes, progress=shown)
    print(f"{count} films in {out}")
    return 0


def convert(config: Annotated[ConvertConfig, Flat]) -> int:
    """Convert films and label maps (PNG, NIfTI, DICOM) to the folder that train reads, all of them or nothing."""
    from spineseg.data.convert import NotConverted, convert_folder

    try:
        done = convert_folder(config, progress=progress("converting"))
    except NotConverted as error:
        for name, sentence in error.failed.items():
            print(f"{name}: {sentence}", file=sys.stderr)
        raise
    for name, sentence in done.left_out.items():
        print(f"{name}: left out: {sentence}", file=sys.stderr)
    print(f"{len(done.names)} of {done.films} films in {config.out}")
    return 1 if done.left_out else 0


def train(config: Annotated[TrainConfig, Flat], settings: SettingsPath = None, dry_run: bool = False) -> int:
    """Fine-tune the published weights on a folder of films and labels, or another checkpoint, or train from scratch.

    Nothing is trained if the command check finds an error in the folder.

    Args:
        config: all other settings
        settings: config.json of a run, whose settings are taken where no other is given
        dry_run: check the folder and say what would be done, how long it takes and with how much memory
    """
    from spineseg.allocator import disable_mmap_and_trim
    from spineseg.model.hub import resolve
    from spineseg.training.cross_validation import cross_validate
    from spineseg.training.loop import train

    if config.start != SCRATCH:
        config = replace(config, start=resolve(config.start))
    if dry_run:
        return _check_and_plan(config)
    disable_mmap_and_trim()
    run = cross_validate if config.folds and not config.fold else train
    with listing_faults():
        run(config)
    return 0


def _check_and_plan(config: TrainConfig) -> int:
    """Settings and names first, before any film is read; their faults in the folder are among those of `check`."""
    from spineseg.data.findings import FaultyFolder
    from spineseg.training.fit import fit_to_folder
    from spineseg.training.plan import make_plan

    config = replace(config, fold=1) if config.folds and not config.fold else config
    with suppress(FaultyFolder):
        fit_to_folder(config)
    if check(config.data):
        return 1
    print(make_plan(config))
    return 0


def train_with(arguments: Sequence[str]) -> Callable[..., int]:
    """The command `train`, with the settings of the --config that these arguments name as its defaults.

    Raises BadInput if that is no run's.
    """
    from spineseg.training.config import read_config

    named = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    named.add_argument("--config", type=Path)
    path = named.parse_known_args(arguments[1:])[0].config if arguments[:1] == ["train"] else None
    if path is None:
        return train
    return partial(train, config=replace(read_config(path), resume=False, stop_after=None))


def report(run: tyro.conf.Positional[Path], architecture: str = UNET) -> int:
    """Write report.html, one page on a training run, from what it has written so far.

    Args:
        run: the run's --out
        architecture: as the run was trained with
    """
    from spineseg.training.report import write_report

    print(f"wrote {write_report(run, architecture)}")
    return 0


def check(
    folder: tyro.conf.Positional[Path], json_out: JsonPath = None, threads: int = min(os.cpu_count() or 1, 8)
) -> int:
    """Check a folder of films and labels before training: pairs, sizes, order, doubles. Exit status 1 for any error.

    Args:
        folder: folder with films in img/ and labels in label/ (MATLAB, NumPy, PNG, TIFF, NIfTI or DICOM segmentations)
        json_out: also write the findings here, as JSON
        threads: how many films are read at once
    """
    from spineseg.data.check import check_folder

    return _print_report(check_folder(folder, threads=threads, progress=progress("checking")), json_out)


def check_submission(
    arrays: tyro.conf.Positional[Path], films: tyro.conf.Positional[Path], json_out: JsonPath = None
) -> int:
    """Check that a folder holds one valid array for each film of a folder. Exit status 1 if it does not.

    Args:
        arrays: folder of <film>.npy, as predict writes it
        films: folder of the films
        json_out: also write the findings here, as JSON
    """
    from spineseg.evaluation.submission import check_submission

    return _print_report(check_submission(arrays, films, progress=progress("checking")), json_out)


def _print_report(report: FolderReport | SubmissionReport, json_out: Path | None) -> int:
    """Print a line for each sentence, with the films that it is about, and a summary; 1 if there is an error."""
    from spineseg.data.findings import listed
    from spineseg.io.files import write_text

    for line in listed(report.findings):
        print(line)
    print(report.summary)
    if json_out is not None:
        write_text(json_out, json.dumps(report.as_dict(), indent=2) + "\n")
    return 1 if report.errors else 0


def push(
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
