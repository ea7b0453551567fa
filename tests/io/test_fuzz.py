"""Damaged and forged files, read in processes of their own: each gives an array of its own or one sentence.

200 files here; `make fuzz` reads 2,000, and SPINESEG_FUZZ and SPINESEG_FUZZ_SEED choose how many and which. A file that
fails is made again by its number alone: `case(bases, seed, number)`. One reader reads ten files, and before them a film
full of one secret value, of which no pixel may be part of another result. Every tenth file, and each of ten whose
reader broke off, is read as the page reads it.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import reader_functions
import scipy.io
from dicom_files import NAME, dataset, is_anonymous_sentence, of_every_syntax, save, wheel_file
from label_files import every_label
from picture_files import by_pillow, png, tiff
from small import rectangles

from spineseg.film import BadInput
from spineseg.io.films import read_film
from spineseg.io.isolation import isolated, read_film_isolated, read_label_isolated
from spineseg.io.labels import KEY, read_label, to_array
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.reader_pool import Refused, Unsafe

CASES = int(os.environ.get("SPINESEG_FUZZ", "200"))
SEED = int(os.environ.get("SPINESEG_FUZZ_SEED", "0"))
BATCH = 10
SECRET = 54321
SHAPE = (40, 30)
LIMITS = replace(DEFAULT_LIMITS, min_side=8, wall_s=60.0)
FOR_BATCH = replace(LIMITS, memory_bytes=LIMITS.label_memory_bytes)
GROWTH_BYTES = 64 * 2**20
"""What this process may grow by while they are read."""

INTERESTING = (b"\0\0", b"\xff\xff", b"\1\0", b"\0\1", b"\xff\x7f", b"\0\x80", b"\x40\0", b"\x10\x27", b"\xfe\xff")
EDITED = (0x0028, 0x0002, 0x5200)
"""Groups of the image, of the file itself, and of the frames: where a header edit goes."""

Outcome = np.ndarray | BadInput


@dataclass(frozen=True)
class Base:
    """An undamaged file and what it holds."""

    name: str
    content: bytes
    pixels: np.ndarray
    is_label: bool

    def read(self, path: Path) -> np.ndarray:
        """As the page reads such a file."""
        if self.is_label:
            return read_label_isolated(path, SHAPE, limits=LIMITS).masks
        return read_film_isolated(path, limits=LIMITS).image


def label_files(folder: Path) -> list[Path]:
    array = to_array(rectangles(SHAPE, 2, 6, 4, 10, 10))
    paths = [folder / name for name in ("plain.mat", "packed.mat", "masks.npy", "hdf5.mat")]
    scipy.io.savemat(paths[0], {KEY: array})
    scipy.io.savemat(paths[1], {"other": np.arange(9), KEY: array.astype(float)}, do_compression=True)
    np.save(paths[2], array)
    with h5py.File(paths[3], "w") as file:
        file.create_dataset(KEY, data=array.T, compression="gzip")
    return [*paths, *every_label(folder, rectangles(SHAPE, 2, 6, 4, 10, 10)).values()]


def picture_files(folder: Path) -> list[Path]:
    """A picture of every format, of the depths and numbers of channels that take ways of their own."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    grey = (rows * 4 + columns * 3 + rows * columns % 7).astype(np.uint8)
    deep, colour = grey.astype(np.uint16) * 200, np.dstack([grey, grey // 2, 255 - grey])
    contents = {
        "grey.png": png(grey, 8),
        "deep.png": png(deep, 16),
        "shallow.png": png(grey >> 4, 4),
        "deep-colour.png": png(np.dstack([deep, deep[::-1], deep]), 16),
        "palette.png": by_pillow(grey, "PNG", mode="P", transparency=3),
        "grey.jpg": by_pillow(grey, "JPEG", orientation=6),
        "cmyk.jpg": by_pillow(colour, "JPEG", mode="CMYK"),
        "grey.tif": by_pillow(grey, "TIFF", compression="tiff_lzw", orientation=3),
        "deep.tif": tiff(deep, white=True),
        "colour.tif": tiff(np.dstack([deep, deep[::-1], deep]), order=">"),
        "colour.bmp": by_pillow(colour, "BMP"),
        "palette.bmp": by_pillow(colour, "BMP", mode="P"),
        "colour.webp": by_pillow(np.dstack([colour, grey]), "WEBP", lossless=True, orientation=2),
        "grey.webp": by_pillow(grey, "WEBP"),
    }
    return [save(folder / name, content) for name, content in contents.items()]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Base]:
    folder = tmp_path_factory.mktemp("bases")
    paths = list(of_every_syntax(folder).values())
    paths += [wheel_file(name) for name in ("CT_small.dcm", "MR_small_RLE.dcm", "examples_overlay.dcm", "693_J2KI.dcm")]
    if shared := os.environ.get("SPINESEG_SHARED"):
        paths += [path for path in sorted(Path(shared, "dicom").glob("*.dcm")) if path.stat().st_size < 50_000]
    pictures = picture_files(folder)
    films = []
    for path in [*paths, *pictures]:
        with suppress(BadInput):
            films.append(Base(path.name, path.read_bytes(), read_film(path, limits=LIMITS).image, False))
    assert len(films) >= 16 + len(pictures)
    assert {path.name for path in pictures} <= {base.name for base in films}
    labels = [Base(p.name, p.read_bytes(), read_label(p, SHAPE).masks, True) for p in label_files(folder)]
    return films + labels


def flip(rng: np.random.Generator, content: bytearray) -> None:
    """A few bytes anywhere, most of them early, where the headers are."""
    for _ in range(rng.integers(1, 9)):
        reach = len(content) if rng.random() < 0.4 else min(len(content), 1500)
        content[int(rng.integers(reach))] ^= int(rng.integers(1, 256))


def cut(rng: np.random.Generator, content: bytearray) -> None:
    """Everything after some byte is gone."""
    del content[int(rng.integers(len(content))) :]


def excise(rng: np.random.Generator, content: bytearray) -> None:
    """A piece out of the middle is gone, or there twice."""
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 200))
    piece = content[start : start + length]
    content[start : start + length] = b"" if rng.random() < 0.5 else piece * 2


def edit(rng: np.random.Generator, content: bytearray) -> None:
    """Another value in one element of an explicit little endian header; where there is none, in any word."""
    group = struct.pack("<H", int(rng.choice(EDITED)))
    found = [each.start() for each in re.finditer(re.escape(group) + rb"..[A-Z]{2}", bytes(content[:4000]), re.DOTALL)]
    start = int(rng.choice(found)) + int(rng.choice([4, 6, 8, 8, 8, 10])) if found else int(rng.integers(len(content)))
    content[start : start + 2] = INTERESTING[int(rng.integers(len(INTERESTING)))]


def lengthen(rng: np.random.Generator, content: bytearray) -> None:
    """A length, of four bytes, that lies."""
    start = int(rng.integers(min(len(content), 2500)))
    content[start : start + 4] = struct.pack(
        "<L", int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]))
    )


CHANGES = (flip, flip, cut, edit, edit, edit, excise, lengthen)


def case(bases: list[Base], seed: int, number: int) -> tuple[Base, str, bytes]:
    """File `number` of a series: the undamaged one that it was made from, how, and its content."""
    rng = np.random.default_rng([seed, number])
    base, content = bases[int(rng.integers(len(bases)))], bytearray()
    content += base.content
    changes = [CHANGES[int(rng.integers(len(CHANGES)))] for _ in range(1 + (rng.random() < 0.2))]
    for change in changes:
        if content:
            change(rng, content)
    return base, " ".join(change.__name__ for change in changes), bytes(content)


def resident_bytes() -> int:
    linux = sys.platform == "linux"
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if linux else 0


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    words = np.full((700, 700), SECRET, np.uint16)
    words[0, 0] = 1
    return save(tmp_path_factory.mktemp("secret") / "secret.dcm", dataset(words, bits=16)).read_bytes()


def one_by_one(cases: list[tuple[Base, str, bytes]], folder: Path) -> list[Outcome]:
    """Each in a reader of its own."""

    def outcome(base: Base, path: Path) -> Outcome:
        try:
            return base.read(path)
        except BadInput as error:
            return error

    for k, (_, _, content) in enumerate(cases):
        (folder / f"single-{k}").write_bytes(content)
    return [outcome(base, folder / f"single-{k}") for k, (base, _, _) in enumerate(cases)]


def in_one_reader(cases: list[tuple[Base, str, bytes]], secret: bytes, folder: Path) -> list[Outcome]:
    """All in one reader, after the secret film. Raises Unsafe if it breaks off."""
    (folder / "0").write_bytes(secret)
    for k, (base, _, content) in enumerate(cases, 1):
        (folder / (f"{k}.label" if base.is_label else f"{k}")).write_bytes(content)
    result = isolated(reader_functions.read_many, str(folder), len(cases) + 1, SHAPE, LIMITS, limits=FOR_BATCH)
    assert (np.load(folder / "0.npy") == SECRET).any()
    return [
        np.load(folder / f"{k}.npy") if sentence is None else Refused(sentence)
        for k, sentence in enumerate(result.facts["sentences"][1:], 1)
    ]


def judge(base: Base, how: str, outcome: Outcome) -> str:
    """What became of one file, in a word. Fails for anything but an array of its own or a sentence."""
    if isinstance(outcome, BadInput):
        if base.is_label:
            assert "; " in str(outcome) and str(outcome).isprintable(), str(outcome)
            assert not any(secret in str(outcome) for secret in (NAME, "Traceback", "/")), str(outcome)
        else:
            assert is_anonymous_sentence(str(outcome), NAME, "Traceback", "/"), str(outcome)
        return "refused" if isinstance(outcome, Refused) else "stopped"
    assert np.count_nonzero(outcome == SECRET) <= outcome.size // 100, "pixels of another film"
    if how == "cut":  # what was left was all that is needed, or it would be refused
        np.testing.assert_array_equal(outcome, base.pixels)
    return "the same" if np.array_equal(outcome, base.pixels) else "another picture"


def test_every_damaged_file_has_an_outcome_of_its_own(
    bases: list[Base], secret: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def run(first: int) -> tuple[list[str], float]:
        cases = [case(bases, SEED, number) for number in range(first, min(first + BATCH, CASES))]
        (folder := tmp_path / f"{NAME}-{first}").mkdir()
        began = time.monotonic()
        outcomes = one_by_one(cases[:1], folder)
        try:
            outcomes += in_one_reader(cases[1:], secret, folder)
        except Unsafe:
            outcomes += one_by_one(cases[1:], folder)
        seconds, words = time.monotonic() - began, []
        for number, ((base, how, _), outcome) in enumerate(zip(cases, outcomes, strict=True), first):
            try:
                words.append(judge(base, how, outcome))
            except AssertionError as error:
                raise AssertionError(f"case(bases, {SEED}, {number}), {how} of {base.name}: {error}") from None
        return words, seconds

    with ThreadPoolExecutor(LIMITS.at_once) as pool:
        warm = list(pool.map(run, range(0, min(2 * BATCH, CASES), BATCH)))
        before = resident_bytes()
        results = warm + list(pool.map(run, range(2 * BATCH, CASES, BATCH)))
    outcomes = Counter(word for words, _ in results for word in words)
    slowest, grown = max(seconds for _, seconds in results), resident_bytes() - before
    with capsys.disabled():
        print(f"\nfuzz: {dict(outcomes)}; slowest ten {slowest:.1f} s, grown by {grown / 2**20:.1f} MB")
    assert outcomes.total() == CASES and slowest < 3 * LIMITS.wall_s
    assert grown < GROWTH_BYTES
    assert outcomes["refused"] >= CASES // 4 and outcomes["the same"], "the changes must both hurt and not hurt"
