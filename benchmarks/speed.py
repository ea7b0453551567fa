"""From film to array: time and memory of every stage.

Usage: python -m benchmarks.speed [--repeats 15] [--rows 3000] [--columns 2500] [--films 8] [--device auto]
       python -m benchmarks.speed --steady 1000

A film of 12 bits, uncompressed and as JPEG lossless, whose stages take turns. Memory is that of a fresh process on its
first film; `own` is what a stage adds to what was held before. A folder goes the way of `python -m spineseg predict`:
in this process, and as the command from start to end with one film and with all of them. On a CUDA device grid and
network are also timed with 1 and 16 films.

With --steady nothing but the memory of `predict` and its readers on a folder of so many films is looked at: eight films
of 512 rows, which the folder names again and again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.films import BITS, enlarged, write_jpeg
from benchmarks.load import megabytes, processes
from benchmarks.networks import Probabilities, finished
from benchmarks.timing import (
    CHECKPOINT,
    ROOT,
    memory_of,
    options,
    peak_mb,
    python,
    spread,
    surroundings,
    take_turns,
    tell,
)
from experiments.records import Row
from spineseg.film import Film
from spineseg.inference.grid import film_to_grid, normalise
from spineseg.inference.levels import decode_ordered, decode_raw
from spineseg.inference.masks import film_masks
from spineseg.inference.outlines import shaped
from spineseg.inference.sacrum import with_s1
from spineseg.inference.segmenter import Segmenter, pick_device
from spineseg.inference.views import bone_of
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.isolation import read_film_isolated, start_ahead
from spineseg.io.labels import write_array
from spineseg.model.checkpoint import load_checkpoint

KINDS = ("uncompressed", "JPEG lossless")
APART, HERE = "read, in a process of its own", "read, in this process"
GRID, NETWORK, DECODE, MASKS, WRITE = (
    "grid and normalise",
    "network",
    "decode",
    "masks at the film's size",
    "array written",
)
WHOLE = "film to array"
STAGES = (APART, HERE, GRID, NETWORK, DECODE, MASKS, WRITE)
"""In order; the first two are two ways to the same film."""
BATCHES = (1, 16)
"""Films at once on a CUDA device."""


class Walk:
    """A film on its way to an array, a stage at a time; each stage uses what those before it left here."""

    def __init__(self, path: Path, out: Path, device: str, checkpoint: Path = CHECKPOINT) -> None:
        self.segmenter = Segmenter.load(checkpoint, device)
        self.card = self.segmenter.card
        self.path, self.out, self.device = path, out, device

    @property
    def stages(self) -> dict[str, Callable[[], None]]:
        """Those of `STAGES`."""
        network = finished(self.through, self.device)
        steps = (self.read_isolated, self.read, self.grid, network, self.decode, self.mask, self.write)
        return dict(zip(STAGES, steps, strict=True))

    def read_isolated(self) -> None:
        """As the page and the commands do, with a reader started ahead."""
        self.film = read_film_isolated(self.path)

    def read(self) -> None:
        """As Python code does."""
        self.film = read_film(self.path)

    def grid(self) -> None:
        """The network's input channels."""
        image, self.fit = film_to_grid(self.film, self.card.grid)
        self.channels = normalise(image, self.fit.inside(), self.card.grid)

    def through(self) -> None:
        """All views of the film, there and back to where NumPy is."""
        self.probabilities = self.segmenter.probabilities(self.channels)

    def decode(self) -> None:
        """Six ordered channels, or the strongest where the card names no decoder."""
        rows = (self.fit.row_offset, self.fit.rows - self.fit.row_offset)
        ordered = self.card.decoder == "ordered"
        self.decoded = (
            decode_ordered(self.probabilities, visible_rows=rows) if ordered else decode_raw(self.probabilities)
        )

    def mask(self) -> None:
        """Six disjoint masks at the film's size."""
        channels, ordered = self.decoded.channels, self.card.decoder == "ordered"
        if ordered:
            bone = bone_of(self.probabilities)
            channels = shaped(with_s1(channels, bone, self.fit.inside()), bone)
        self.masks = film_masks(channels, self.fit, one_component=ordered)

    def write(self) -> None:
        """Rows x columns x 7."""
        write_array(self.out, self.masks)

    def whole(self) -> None:
        """What the commands do with a film, by what they call."""
        write_array(self.out, self.segmenter(read_film_isolated(self.path)).masks)

    def check(self) -> None:
        """Once through all stages: they must give what the package gives, or their times are another program's."""
        for stage in self.stages.values():
            stage()
        assert np.array_equal(self.masks, self.segmenter(self.film).masks), "the stages are not those of Segmenter"


def write_films(folder: Path, rows: int, columns: int, count: int) -> dict[str, list[Path]]:
    """`count` films of each kind: one film, moved a little further each time."""
    film, written = enlarged(rows, columns), {kind: [] for kind in KINDS}
    for number in range(count):
        for kind in KINDS:
            (folder / kind).mkdir(parents=True, exist_ok=True)
            written[kind].append(folder / kind / f"{number}.dcm")
        raw, packed = (written[kind][-1] for kind in KINDS)
        moved = np.ascontiguousarray(np.roll(film.image, 7 * number, axis=1))
        write_film(raw, Film(moved), bits_stored=BITS)
        write_jpeg(packed, raw)
    return written


def stage_rows(films: dict[str, list[Path]], out: Path, device: str, repeats: int) -> list[Row]:
    """Time and memory of each stage and of the whole, for each kind."""
    walks = {kind: Walk(paths[0], out, device) for kind, paths in films.items()}
    ways = {}
    for kind, walk in walks.items():
        walk.check()
        ways |= {(kind, name): work for name, work in {**walk.stages, WHOLE: walk.whole}.items()}
    names = {f"{kind}|{name}": work for (kind, name), work in ways.items()}
    took = take_turns(names, repeats)
    held = {kind: memory(paths[0], out, device) for kind, paths in films.items()}
    return [
        {"film": kind, "stage": name, **spread(took[f"{kind}|{name}"]), **held[kind].get(name, {})}
        for kind, name in ways
    ]


_HERE = "import sys, json; from pathlib import Path; "
_READER = _HERE + (
    "from spineseg.io.films import read_film; from benchmarks.timing import memory_of;"
    "print(json.dumps(memory_of(lambda: read_film(sys.argv[1]))))"
)
_STAGES = _HERE + (
    "from benchmarks.speed import memory_here;"
    "print(json.dumps(memory_here(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))"
)
_COMMAND = """
import json, runpy, sys
from benchmarks.timing import peak_mb
sys.argv[0] = "spineseg"
try:
    runpy.run_module("spineseg", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    print(json.dumps({"peak MB": round(peak_mb()), "exit": ended.code or 0}))
"""


def memory(path: Path, out: Path, device: str) -> dict[str, Row]:
    """Megabytes of each stage, in fresh processes: one for the reader, one for all else."""
    return {APART: python(_READER, path), **python(_STAGES, path, out, device)}


def memory_here(path: Path, out: Path, device: str) -> dict[str, Row]:
    """Megabytes of each stage but the reader's own, in this process, which should be a fresh one."""
    walk = Walk(path, out, device)
    start = peak_mb()
    held = {name: memory_of(work) for name, work in walk.stages.items() if name != APART}
    whole = Walk(path, out, device)
    del walk
    return {**held, WHOLE: memory_of(whole.whole) | {"start MB": round(start)}}


def folder_rows(films: dict[str, list[Path]], out: Path, device: str, repeats: int) -> list[Row]:
    """Films a second over a folder, in this process, and what the command takes from its start to its end."""
    segmenter = Segmenter.load(CHECKPOINT, device)

    def predicted(paths: Sequence[Path]) -> None:
        for path in paths:
            write_array(out / f"{path.stem}.npy", segmenter(read_film_isolated(path)).masks)

    def command(paths: Sequence[Path]) -> None:
        said = python(_COMMAND, "predict", *paths, "--out", tempfile.mkdtemp(dir=out), "--device", device)
        assert said["exit"] == 0
        peaks[len(paths)] = said["peak MB"]

    peaks: dict[int, int] = {}
    rows = []
    for kind, paths in films.items():
        ways = {f"{kind}, in this process": (len(paths), partial(predicted, paths))}
        for some in (paths[:1], paths) if len(paths) > 1 else (paths,):
            ways[f"{kind}, the command, {len(some)}"] = (len(some), partial(command, some))
        took = take_turns({name: work for name, (_, work) in ways.items()}, repeats, warm=0)
        for name, (films_in, _) in ways.items():
            times = spread(took[name])
            row = {"folder": name, "films": films_in, **times, "ms per film": round(times["median ms"] / films_in, 1)}
            rows.append(row | ({"peak MB": peaks[films_in]} if "command" in name else {}))
    return rows


def batch_rows(path: Path, device: str, repeats: int) -> list[Row]:
    """Grid and network on the device, from films in memory to probabilities in memory."""
    film = read_film(path)
    network, card = load_checkpoint(CHECKPOINT)
    network, grid = Probabilities(network).to(device), card.grid

    @torch.inference_mode()
    def run(films: int) -> None:
        channels = []
        for _ in range(films):
            image, fit = film_to_grid(film, grid)
            channels.append(normalise(image, fit.inside(), grid))
        network(torch.from_numpy(np.stack(channels)).to(device)).cpu()

    took = take_turns({str(films): lambda films=films: run(films) for films in BATCHES}, repeats)
    return [
        {
            "films at once": films,
            **(times := spread(took[str(films)])),
            "films a second": 1000 * films / times["median ms"],
        }
        for films in BATCHES
    ]


STEADY_ROWS, STEADY_COLUMNS, DIFFERENT = 512, 384, 8
LOOKS_A_SECOND = 5


def steady_rows(scratch: Path, films: int, marks: int, device: str) -> list[Row]:
    """Memory of the command `predict`, without what it shares, after each of so many equal parts of the folder.

    `most` is the highest of the looks since the last mark; arrays are removed as they are counted.
    """
    folder, out, done = scratch / "folder", scratch / "out", 0
    folder.mkdir()
    written = write_films(scratch / "films", STEADY_ROWS, STEADY_COLUMNS, DIFFERENT)[KINDS[0]]
    for number in range(films):
        (folder / f"{number:05}.dcm").hardlink_to(written[number % DIFFERENT])
    command = [sys.executable, "-m", "spineseg", "predict", folder, "--out", out, "--device", device]
    process, rows, looks = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL), [], []
    while process.poll() is None:
        time.sleep(1 / LOOKS_A_SECOND)
        looks.append((megabytes(process.pid), sum(map(megabytes, processes(process.pid)))))
        for array in sorted(out.glob("*.npy")):
            array.unlink()
            done += 1
        if done >= (len(rows) + 1) * films / marks and done < films:
            rows.append(memory_at(done, looks))
            looks = []
    assert process.returncode == 0, "predict failed"
    return [*rows, memory_at(films, looks)]


def memory_at(done: int, looks: Sequence[tuple[float, float]]) -> Row:
    """looks: megabytes of the command itself and of its readers."""
    own, readers = (sorted(each) for each in zip(*looks, strict=True))
    middle = len(looks) // 2
    return {"films": done, "own MB": round(own[middle]), "most": round(own[-1]), "readers MB": round(readers[middle])}


def tell_steady(films: int, marks: int, device: str, to: Path | None) -> int:
    """Measure and tell what --steady asks for."""
    settings = {"films": films, "rows": STEADY_ROWS, "columns": STEADY_COLUMNS, "different": DIFFERENT}
    with tempfile.TemporaryDirectory() as scratch:
        memory = steady_rows(Path(scratch), films, marks, device)
    tell("speed", settings, surroundings(device), {"Memory over a folder": memory}, to)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, tell."""
    parser = options("speed", __doc__, 15)
    parser.add_argument("--steady", type=int, default=0, metavar="FILMS", help="only the memory over so many films")
    parser.add_argument("--marks", type=int, default=6, help="of --steady, at which memory is told")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2500)
    parser.add_argument("--films", type=int, default=8, help="in the folder")
    parser.add_argument("--folder-repeats", type=int, default=3, help="of the folder and of the command")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args(arguments)
    device = pick_device(chosen.device)
    if chosen.steady:
        return tell_steady(chosen.steady, chosen.marks, device, chosen.json)
    start_ahead()
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch), Path(scratch, "out")
        out.mkdir()
        films = write_films(folder, chosen.rows, chosen.columns, chosen.films)
        first = films[KINDS[0]][0]
        place = surroundings(device)
        tables = {
            "Stages": stage_rows(films, out / "array.npy", device, chosen.repeats),
            "Folder": folder_rows(films, out, device, chosen.folder_repeats) if chosen.folder_repeats else [],
            "Grid and network at once": batch_rows(first, device, chosen.repeats) if device != "cpu" else [],
        }
    settings = {"rows": chosen.rows, "columns": chosen.columns, "bits": BITS, "repeats": chosen.repeats}
    tell("speed", settings | {"device": device, "threads": torch.get_num_threads()}, place, tables, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
