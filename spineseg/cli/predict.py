"""The command predict: films to arrays, read and written while the network works on others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from errno import EEXIST, EISDIR, ENAMETOOLONG, ENOTDIR
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from spineseg.cli.options import PUBLISHED, Flat, Model, cell, is_result, printable, readers
from spineseg.film import VERTEBRAE, BadInput

if TYPE_CHECKING:
    from spineseg.film import Film
    from spineseg.inference.prediction import Prediction
    from spineseg.inference.segmenter import Segmenter
    from spineseg.io.answers import Answers
    from spineseg.io.discovery import Found, FoundFilm, LeftOut
    from spineseg.io.processes import Processes

    _Segmented = tuple[FoundFilm, str, "tuple[_Opened, Prediction] | BadInput"]
    """A film with its key, and what was made of it or why nothing was."""

FILMS_TABLE, MEASUREMENTS_TABLE = "films.csv", "measurements.csv"
_SHIFT = ("shift", "shift_likelihood")
_COLUMNS = ("film", "rows", "columns", "verdict", "reasons", *_SHIFT, "remarks", *VERTEBRAE, "seconds", "error")


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
    workers: int | None = None
    """Films that are read at the same time, six at most; as many as there are cores if not given."""

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files that each film gets."""
        wanted = {".npy": True, ".png": self.overlay, ".json": self.measure, ".seg.dcm": self.dicom_seg}
        return tuple(ending for ending, is_wanted in wanted.items() if is_wanted)

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
    from spineseg.io.answers import only_run
    from spineseg.io.discovery import no_film, search
    from spineseg.io.processes import connected

    arguments.check()
    for table in (arguments.out / name for name in _tables(arguments)):
        if not is_result(table):
            raise BadInput(f"{printable(str(table))} would be replaced by a result; name another folder as --out")
    processes = connected()
    left_out: list[LeftOut] = []
    films = _reported(search(arguments.films, apart_from=arguments.out), left_out, quiet=processes.index > 0)
    if (first := next(films, None)) is None:
        one_folder = len(arguments.films) == 1 and arguments.films[0].is_dir()
        raise BadInput(no_film("This folder" if one_folder else "What was named", left_out))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with only_run(arguments.out, processes):
        run = _Run.prepare(arguments, processes)
        run.work(processes.share(run.listed(chain((first,), films))))
        done, before = run.conclude()
    if processes.index == 0:
        earlier = f", {before} of them earlier" if before else ""
        where = printable(str(arguments.out))
        print(f"{done} of {len(run.films)} films segmented into {where}{earlier}, {len(left_out)} files left out")
    return 0 if done == len(run.films) and not any(each.lost for each in left_out) else 1


def _tables(arguments: PredictArguments) -> tuple[str, ...]:
    return (FILMS_TABLE, MEASUREMENTS_TABLE) if arguments.measure else (FILMS_TABLE,)


def _reported(found: Iterable[Found], left_out: list[LeftOut], *, quiet: bool) -> Iterator[FoundFilm]:
    """The films; prints a line for what is none, which is added to `left_out`, and for a film under another name."""
    from spineseg.io.discovery import LeftOut

    for each in found:
        if isinstance(each, LeftOut):
            left_out.append(each)
            _warn(str(each), quiet=quiet)
            continue
        if each.meets:
            said = f"{each.name}: its results are named {each.stem}, as {each.meets} has the same name without ending"
            _warn(said, quiet=quiet)
        yield each


def _warn(line: str, *, quiet: bool = False) -> None:
    if not quiet:
        print(printable(line), file=sys.stderr)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A film that was read. path: its file, there until `keeps` is closed."""

    film: Film
    path: Path
    keeps: ExitStack


@dataclass(frozen=True, eq=False)
class _Run:
    """One run of the command. films: all of them by key, those of other processes too. readers: at a time."""

    arguments: PredictArguments
    segmenter: Segmenter
    answers: Answers
    films: dict[str, FoundFilm]
    readers: int

    @classmethod
    def prepare(cls, arguments: PredictArguments, processes: Processes) -> _Run:
        """With the network loaded and the folder of results there."""
        from spineseg.io.answers import Answers
        from spineseg.io.isolation import start_ahead
        from spineseg.io.limits import DEFAULT_LIMITS

        count = min(readers(arguments.workers, processes.count), DEFAULT_LIMITS.at_once)
        start_ahead(count)
        segmenter = arguments.model.load()
        options = {**asdict(arguments), "films": None, "out": None, "workers": None}
        settings = [options, arguments.model.identity()]
        return cls(arguments, segmenter, Answers(arguments.out, settings, processes), {}, count)

    def listed(self, films: Iterable[FoundFilm]) -> Iterator[tuple[FoundFilm, str]]:
        """Each with its key, under which it is kept."""
        for film in films:
            key = self.answers.key(film.stem, [film.path], film.member)
            self.films[key] = film
            yield film, key

    def work(self, films: Iterable[tuple[FoundFilm, str]]) -> None:
        """Read, segment and write those that no earlier run did, and print a line for each in their order."""
        from spineseg.io.ahead import ahead

        wanted = (each for each in films if not self._answered(*each))
        opened = ahead(lambda each: self._open(each[0]), wanted, self.readers)
        for (found, key, _), written in ahead(self._write, self._segmented(opened), 1):
            try:
                line, answer = written.result()
                print(line)
            except BadInput as error:
                answer = self._refused(found, error)
            self.answers.add(key, answer, found.stem)

    def _answered(self, found: FoundFilm, key: str) -> bool:
        """By an earlier run, whose results are still there; of others nothing is there from now on."""
        there = (self.arguments.out / f"{found.stem}{ending}" for ending in self.arguments.endings)
        if self.answers.before(key) and all(path.exists() and is_result(path) for path in there):
            return True
        self.answers.begin(key, found.stem)
        return False

    def _open(self, found: FoundFilm) -> _Opened:
        """The film, its file kept where it is. Raises BadInput."""
        from spineseg.io.isolation import read_film_isolated

        self._refuse_to_replace(found)
        with ExitStack() as keeps:
            path = keeps.enter_context(found.on_disk())
            film = read_film_isolated(path, invert=self.arguments.invert)
            return _Opened(film, path, keeps.pop_all())

    def _refuse_to_replace(self, found: FoundFilm) -> None:
        """Raises BadInput if a file that is no result of such a run is where results go."""
        for ending in self.arguments.endings:
            if not is_result(there := self.arguments.out / f"{found.stem}{ending}"):
                raise BadInput(f"{there.name} would be replaced by a result; name another folder as --out")

    def _segmented(self, opened: Iterable[tuple[tuple[FoundFilm, str], Future[_Opened]]]) -> Iterator[_Segmented]:
        """In this thread, which alone asks the network; an error is handed on in place of what was made."""
        for (found, key), reading in opened:
            try:
                yield found, key, self._predicted(reading.result())
            except BadInput as error:
                yield found, key, error

    def _predicted(self, read: _Opened) -> tuple[_Opened, Prediction]:
        with ExitStack() as keeps:
            keeps.push(read.keeps)
            film = read.film.as_told(invert=False) if self.arguments.as_stored else read.film
            prediction = self.segmenter(film)
            keeps.pop_all()
        return read, prediction

    def _write(self, segmented: _Segmented) -> tuple[str, dict[str, Any]]:
        """The film's line, and what the tables say of it. Raises BadInput, also if results cannot have their name."""
        found, _, made = segmented
        if isinstance(made, BadInput):
            raise made
        read, prediction = made
        with read.keeps:
            try:
                (self.arguments.out / found.stem).parent.mkdir(parents=True, exist_ok=True)
                return _written(found, read, prediction, self)
            except OSError as error:
                if error.errno not in (ENAMETOOLONG, ENOTDIR, EISDIR, EEXIST):
                    raise
                raise BadInput(
                    "its results cannot be written under its name; rename it, or use another --out"
                ) from None

    def _refused(self, found: FoundFilm, error: BadInput) -> dict[str, Any]:
        """The answer for a film that gets no results; prints why."""
        from spineseg.io.answers import ERROR

        _warn(f"{found.name}: {error}")
        empty = [""] * (len(_COLUMNS) - 2)
        return {ERROR: str(error), FILMS_TABLE: [cell(found.stem), *empty, str(error)]}

    def conclude(self) -> tuple[int, int]:
        """Write the tables over all films; how many have results, and how many had them before."""
        from spineseg.io.answers import ERROR, UNANSWERED
        from spineseg.io.files import write_table
        from spineseg.measure.measurements import csv_columns

        answers = self.answers.all()
        of_films = [answers.get(key) or self._refused(film, BadInput(UNANSWERED)) for key, film in self.films.items()]
        if self.answers.processes.index == 0:
            heads = {FILMS_TABLE: _COLUMNS, MEASUREMENTS_TABLE: csv_columns()}
            for table in _tables(self.arguments):
                rows = (answer[table] for answer in of_films if table in answer)
                write_table(self.arguments.out / table, heads[table], rows)
        done = [key for key, answer in zip(self.films, of_films, strict=True) if ERROR not in answer]
        return len(done), sum(map(self.answers.before, done))


def _written(found: FoundFilm, read: _Opened, prediction: Prediction, run: _Run) -> tuple[str, dict[str, Any]]:
    """Write what was asked for; the film's line, and what the tables say of it."""
    from spineseg.inference.verdict import NOT_LUMBAR
    from spineseg.io.dicom_seg import write_segmentation
    from spineseg.io.labels import write_array
    from spineseg.io.pictures import write_png
    from spineseg.render import overlay

    arguments, stem = run.arguments, found.stem
    out, film, levels = arguments.out, prediction.seen(read.film), prediction.levels
    write_array(out / f"{stem}.npy", prediction.masks)
    if arguments.overlay:
        write_png(out / f"{stem}.png", overlay(film, prediction.drawn))
    remarks = (*film.remarks, *prediction.remarks)
    if arguments.dicom_seg and levels.verdict == NOT_LUMBAR:
        remarks = (*remarks, "no DICOM segmentation was written")
    elif arguments.dicom_seg:
        patient, name = arguments.copy_patient, run.segmenter.name
        write_segmentation(out / f"{stem}.seg.dcm", read.path, prediction.masks, model=name, copy_patient=patient)
    present = [int(mask.any()) for mask in prediction.drawn]
    said = [levels.verdict, "; ".join(levels.reasons), *levels.shift_cells, "; ".join(remarks)]
    answer = {FILMS_TABLE: [cell(stem), *film.shape, *said, *present, round(prediction.seconds, 2), ""]}
    if arguments.measure:
        answer[MEASUREMENTS_TABLE] = list(_write_measurements(stem, prediction, film, arguments))
    size, verdict = " x ".join(map(str, film.shape)), "; ".join((levels.verdict, *levels.reasons, *remarks))
    return f"{printable(found.name)}: {size}, {prediction.seconds:.1f} s, {verdict}", answer


def _write_measurements(stem: str, prediction: Prediction, film: Film, arguments: PredictArguments) -> tuple[str, ...]:
    """Write a film's measurements as JSON; its row of the table over films."""
    from spineseg.io.files import write_text
    from spineseg.measure.measurements import csv_row, measure_prediction

    levels, facing = prediction.levels, arguments.facing
    measurements = measure_prediction(prediction, film.spacing, row_to_column=film.row_to_column, facing=facing)
    remarks = (*film.remarks, *prediction.remarks)
    content = {"film": stem, **levels.stated, "remarks": remarks, **measurements.as_dict()}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(arguments.out / f"{stem}.json", text + "\n")
    return csv_row(cell(stem), levels, measurements, remarks)
