"""What it costs to read a film in an interpreter of its own: `python -m benchmarks.isolation`.

Films of 3000 x 2500, uncompressed and as JPEG lossless, each read in this process, in a reader started ahead, and in
one that has to start first; medians. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import dcmread
from pydicom.uid import JPEGLosslessSV1

from spineseg.film import Film
from spineseg.io.dicom import read_film
from spineseg.io.dicom_write import write_film
from spineseg.io.isolation import checked_image
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.reader_pool import Readers
from spineseg.io.reader_process import serialised_film

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "1-pelvis-in-view.dcm"
BITS = 12


def enlarged(rows: int, columns: int, noise: float = 8.0) -> Film:
    """The first example at another size, with a detector's noise, which enlarging it would smooth away."""
    image = cv2.resize(read_film(EXAMPLE).image, (columns, rows), interpolation=cv2.INTER_CUBIC)
    image = image + np.random.default_rng(0).normal(0, noise, image.shape)
    return Film(np.clip(np.rint(image), 0, 2**BITS - 1).astype(np.float32))


def write_jpeg(path: Path, raw: Path) -> None:
    """The same film as JPEG lossless (ITU T.81 annex H, predictor 1, one flat table of 17 categories of 5 bits)."""
    made: Dataset = dcmread(raw)
    made.PixelData = encapsulate([lossless_jpeg(made.pixel_array)])
    made["PixelData"].is_undefined_length = True
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    made.save_as(path, enforce_file_format=True)


def lossless_jpeg(image: np.ndarray) -> bytes:
    """One component of `BITS` bits."""
    values = image.astype(np.int32)
    left = np.roll(values, 1, axis=1)
    left[1:, 0], left[0, 0] = values[:-1, 0], 1 << (BITS - 1)
    step = (values - left).ravel()
    size = np.zeros(len(step), np.int64)
    size[step != 0] = np.floor(np.log2(np.abs(step[step != 0]))).astype(np.int64) + 1
    rest = np.where(step >= 0, step, step + (1 << size) - 1)
    bits = np.zeros(int((size + 5).sum()), np.uint8)
    start = np.concatenate([[0], np.cumsum(size + 5)[:-1]])
    for k in range(5):
        bits[start + k] = size >> (4 - k) & 1
    for k in range(int(size.max())):
        has = size > k
        bits[start[has] + 5 + k] = rest[has] >> (size[has] - 1 - k) & 1
    packed = (
        np.packbits(np.concatenate([bits, np.ones(-len(bits) % 8, np.uint8)])).tobytes().replace(b"\xff", b"\xff\0")
    )
    frame = bytes([BITS]) + len(image).to_bytes(2, "big") + image.shape[1].to_bytes(2, "big") + b"\1\1\x11\0"
    segments = ((0xC3, frame), (0xC4, bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])), (0xDA, b"\1\1\0\1\0\0"))
    head = b"".join(bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body for marker, body in segments)
    content = b"\xff\xd8" + head + packed + b"\xff\xd9"
    return content + b"\0" * (len(content) % 2)


def processor_s() -> float:
    """Processor time of this process and of the readers that have ended; it does not depend on what else runs."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def timed(read: Callable[[Path], object], path: Path, times: int, rest_s: float) -> dict[str, float]:
    """Median seconds on the clock and of processors; a rest before each reading lets the next reader get ready."""
    took, spent = [], []
    for _ in range(times):
        time.sleep(rest_s)
        busy, began = processor_s(), time.perf_counter()
        read(path)
        took.append(time.perf_counter() - began)
        spent.append(processor_s() - busy)
    return {"clock_s": statistics.median(took), "processor_s": statistics.median(spent)}


def measure(path: Path, times: int, rest_s: float) -> dict[str, dict[str, float]]:
    """A film read here, in a reader that waits, and in one that starts."""
    seconds = {"in this process": timed(read_film, path, times, 0.0)}
    for name, ahead in (("reader started ahead", 1), ("reader started for it", 0)):
        readers = Readers(1, ahead)
        readers.start_ahead(ahead)

        def apart(film: Path, readers: Readers = readers) -> object:
            return checked_image(readers.run(serialised_film, str(film), False, DEFAULT_LIMITS).array, DEFAULT_LIMITS)

        seconds[name] = timed(apart, path, times, rest_s if ahead else 0.0)
        readers.close()
    return seconds


def main() -> None:
    """Measures, prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2500)
    parser.add_argument("--times", type=int, default=9, help="readings of each kind; the median counts")
    parser.add_argument("--rest", type=float, default=1.5, help="seconds before each reading")
    chosen = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        raw, packed = Path(folder, "raw.dcm"), Path(folder, "jpeg.dcm")
        write_film(raw, enlarged(chosen.rows, chosen.columns), bits_stored=BITS)
        write_jpeg(packed, raw)
        assert np.array_equal(read_film(raw).image, read_film(packed).image), "both hold the same film"
        for name, path in (("uncompressed", raw), ("JPEG lossless", packed)):
            results[name] = measure(path, chosen.times, chosen.rest)
    print("| film | read | seconds | more than in this process | processor seconds | more |")
    print("|---|---|---|---|---|---|")
    for film, ways in results.items():
        for way, took in ways.items():
            clock, busy = (took[kind] - ways["in this process"][kind] for kind in ("clock_s", "processor_s"))
            print(f"| {film} | {way} | {took['clock_s']:.2f} | {clock:.2f} | {took['processor_s']:.2f} | {busy:.2f} |")
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    print(json.dumps({"size": [chosen.rows, chosen.columns], "times": chosen.times, **machine, "seconds": results}))


if __name__ == "__main__":
    main()
