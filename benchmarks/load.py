"""Many visitors at once: `python -m benchmarks.load --visitors 20 --films 10`.

Starts the page as a program of its own, with the checkpoint that is shipped. Every visitor has a film of 15 MB like
nobody else's, uploads it as often as asked, all at the same time, waits in line, and compares the array that comes back
with the one that the same checkpoint gave here, without a page. Memory is that of the page's process and its readers.
Prints a table, then one line of JSON; the exit status is 1 if any answer failed or was not its own.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from gradio_client import Client, handle_file

from benchmarks.timing import CHECKPOINT, ROOT, options, surroundings, tell
from experiments.records import Row
from spineseg.film import Film
from spineseg.inference.segmenter import Segmenter
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.labels import to_array


@dataclass(frozen=True)
class Visitor:
    """One who comes with a film, and the digest of what must be answered."""

    film: Path
    expected: str


@dataclass
class Watch:
    """What the page's processes and its folder hold, looked at twice a second."""

    page: int
    uploads: Path
    resident: list[float] = field(default_factory=list)
    readers: int = 0
    files: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until told to stop."""
        while not self.stop.wait(0.5):
            children = processes(self.page)
            self.resident.append(sum(map(megabytes, [self.page, *children])))
            self.readers = max(self.readers, len(children))
            self.files = max(self.files, len(held(self.uploads)))


def processes(parent: int) -> list[int]:
    """The processes that one has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
    return found


def megabytes(process: int) -> float:
    """Memory of its own that a process holds; 0 where it has gone."""
    with suppress(OSError, IndexError):
        resident, shared = map(int, Path(f"/proc/{process}/statm").read_text().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def held(folder: Path) -> list[Path]:
    """The files in a folder and below it; folders may go while it is looked."""
    return [Path(where, name) for where, _, names in os.walk(folder) for name in names]


def digest(array: bytes) -> str:
    """Of a .npy file's bytes."""
    return hashlib.sha256(array).hexdigest()


def make_visitors(count: int, rows: int, columns: int, folder: Path) -> list[Visitor]:
    """Films of one size, each an example that is moved and brightened in its own way, and what is seen in it."""
    examples = [read_film(path).image for path in sorted((ROOT / "examples").glob("*.dcm"))]
    segmenter, visitors = Segmenter.load(CHECKPOINT, "cpu"), []
    for number in range(count):
        image = cv2.resize(examples[number % len(examples)], (columns, rows), interpolation=cv2.INTER_LINEAR)
        image = np.roll(image, 7 * number, axis=1) * (1 - 0.01 * number)
        write_film(path := folder / f"{number}.dcm", Film(np.ascontiguousarray(image, np.float32)))
        array = io.BytesIO()
        np.save(array, to_array(segmenter(read_film(path)).masks))
        visitors.append(Visitor(path, digest(array.getvalue())))
    assert len({visitor.expected for visitor in visitors}) == count, "no two visitors expect the same"
    return visitors


@contextmanager
def page(uploads: Path, log: Path) -> Iterator[tuple[str, int]]:
    """A page in a process of its own: its address and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(uploads), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "app.py", "--port", str(port), "--checkpoint", str(CHECKPOINT)]
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 300
            while "spineseg is at" not in log.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"expected a page, got:\n{log.read_text()}")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(30)


def visit(address: str, visitor: Visitor, films: int, at_once: threading.Barrier, folder: Path) -> list[Row]:
    """What one visitor met with each upload: seconds, the place in line, and whether the answer was right."""
    client = Client(address, verbose=False, download_files=str(folder))
    met = []
    for _ in range(films):
        at_once.wait(600)
        began, place = time.perf_counter(), 0
        job = client.submit(handle_file(str(visitor.film)), api_name="/segment")
        while not job.done():
            place = max(place, job.status().rank or 0)
            time.sleep(0.1)
        error = job.exception()
        answer = None if error else Path(job.result())
        right = answer is not None and digest(answer.read_bytes()) == visitor.expected
        if answer is not None:
            answer.unlink()
        met.append(
            {
                "seconds": time.perf_counter() - began,
                "place": place,
                "right": right,
                "error": type(error).__name__ if error else None,
            }
        )
    client.close()
    return met


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load, tell; 1 if any answer failed or was not its own."""
    parser = options("load", __doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--films", type=int, default=10, help="uploads of each visitor, one after the other")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2500)
    parser.add_argument("--settle", type=float, default=780, help="seconds that the page may take to forget everything")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        films, uploads, answers = (Path(scratch, name) for name in ("films", "uploads", "answers"))
        for folder in (films, uploads, answers):
            folder.mkdir()
        visitors = make_visitors(chosen.visitors, chosen.rows, chosen.columns, films)
        log = Path(scratch, "log")
        with page(uploads, log) as (address, process):
            Client(address, verbose=False, download_files=str(answers)).predict(
                handle_file(str(visitors[0].film)), api_name="/segment"
            )  # the model is loaded before the clock starts
            watch = Watch(process, uploads)
            thread = threading.Thread(target=watch.run)
            thread.start()
            began = time.perf_counter()
            barrier = threading.Barrier(chosen.visitors)
            with ThreadPoolExecutor(chosen.visitors) as pool:
                jobs = [pool.submit(visit, address, each, chosen.films, barrier, answers) for each in visitors]
                met = [each for job in jobs for each in job.result()]
            took, busy = time.perf_counter() - began, len(watch.resident)
            deadline = time.monotonic() + chosen.settle
            while held(uploads) and time.monotonic() < deadline:
                time.sleep(1)
            watch.stop.set()
            thread.join()
            left = len(held(uploads))
        said = [line for line in log.read_text().splitlines() if not re.match(r"spineseg is at|\s*$", line)]
    seconds, memory = [each["seconds"] for each in met], watch.resident[: max(1, busy)]
    fifth = max(1, len(memory) // 5)
    result = {
        "visitors": chosen.visitors,
        "films": len(met),
        "right": sum(each["right"] for each in met),
        "errors": sorted(each["error"] for each in met if each["error"]),
        "films_a_minute": 60 * len(met) / took,
        "seconds_median": statistics.median(seconds),
        "seconds_longest": max(seconds),
        "last_place_in_line": max(each["place"] for each in met),
        "megabytes_early": statistics.median(memory[:fifth]),
        "megabytes_late": statistics.median(memory[-fifth:]),
        "megabytes_most": max(memory),
        "megabytes_after": watch.resident[-1],
        "readers_most": watch.readers,
        "files_most": watch.files,
        "files_left": left,
        "lines_logged": len(said),
    }
    rows = [{"figure": name.replace("_", " "), "value": value} for name, value in result.items()]
    tell("load", vars(chosen) | {"json": None}, surroundings("cpu", ["gradio"]), {"load": rows}, chosen.json)
    return 0 if result["right"] == len(met) and not result["errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
