"""Damaged and forged files, each read in an interpreter of its own: an answer or one sentence, whatever it holds.

200 files here; `make fuzz` reads 2,000, and SPINESEG_FUZZ and SPINESEG_FUZZ_SEED choose how many and which. A file that
fails is made again by its number alone: `case(bases, seed, number)`. Between them films full of one secret value are
read: not a pixel of those may ever be part of another answer.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from dicom_files import NAME, dataset, of_every_syntax, save, wheel_file

from spineseg.film import BadInput, Film
from spineseg.io.isolation import Refused, read_film_isolated, read_label_isolated
from spineseg.io.labels import KEY, Label, read_label
from spineseg.io.limits import DEFAULT_LIMITS

CASES = int(os.environ.get("SPINESEG_FUZZ", "200"))
SEED = int(os.environ.get("SPINESEG_FUZZ_SEED", "0"))
SECRET = 54321
SHAPE = (40, 30)
LIMITS = replace(DEFAULT_LIMITS, min_side=8, wall_s=60.0)
GROWTH_BYTES = 64 * 2**20
"""What this process may grow by while it reads them all."""

INTERESTING = (b"\0\0", b"\xff\xff", b"\1\0", b"\0\1", b"\xff\x7f", b"\0\x80", b"\x40\0", b"\x10\x27", b"\xfe\xff")
EDITED = (0x0028, 0x0002, 0x5200)
"""Groups of the image, of the file itself, and of the frames: where a header edit goes."""


@dataclass(frozen=True)
class Base:
    """A sound file, what it holds, and how it is read."""

    name: str
    content: bytes
    read: Callable[[Path], Film | Label]
    pixels: np.ndarray

    def of(self, answer: Film | Label) -> np.ndarray:
        return answer.image if isinstance(answer, Film) else answer.masks


def read_film(path: Path) -> Film:
    return read_film_isolated(path, limits=LIMITS)


def read_masks(path: Path) -> Label:
    return read_label_isolated(path, SHAPE, limits=LIMITS)


def label_files(folder: Path) -> list[Path]:
    array = np.zeros((*SHAPE, 7), np.uint8)
    for k in range(6):
        array[6 * k + 2 : 6 * k + 6, 10:20, k] = 1
    array[..., 6] = ~array[..., :6].any(-1)
    paths = [folder / name for name in ("plain.mat", "packed.mat", "masks.npy", "hdf5.mat")]
    scipy.io.savemat(paths[0], {KEY: array})
    scipy.io.savemat(paths[1], {"other": np.arange(9), KEY: array.astype(float)}, do_compression=True)
    np.save(paths[2], array)
    with h5py.File(paths[3], "w") as file:
        file.create_dataset(KEY, data=array.T, compression="gzip")
    return paths


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Base]:
    folder = tmp_path_factory.mktemp("bases")
    paths = list(of_every_syntax(folder).values())
    paths += [wheel_file(name) for name in ("CT_small.dcm", "MR_small_RLE.dcm", "examples_overlay.dcm", "693_J2KI.dcm")]
    if shared := os.environ.get("SPINESEG_SHARED"):
        paths += [path for path in sorted(Path(shared, "dicom").glob("*.dcm")) if path.stat().st_size < 50_000]
    with ThreadPoolExecutor(2) as pool:
        read = list(pool.map(attempt(read_film), paths))
    films = [
        Base(path.name, path.read_bytes(), read_film, film.image)
        for path, (film, _) in zip(paths, read, strict=True)
        if isinstance(film, Film)
    ]
    labels = [Base(p.name, p.read_bytes(), read_masks, read_label(p, SHAPE).masks) for p in label_files(folder)]
    assert len(films) >= 16
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
    """File `number` of a series: the sound one that it was made from, how, and its content."""
    rng = np.random.default_rng([seed, number])
    base, content = bases[int(rng.integers(len(bases)))], bytearray()
    content += base.content
    changes = [CHANGES[int(rng.integers(len(CHANGES)))] for _ in range(1 + (rng.random() < 0.2))]
    for change in changes:
        if content:
            change(rng, content)
    return base, " ".join(change.__name__ for change in changes), bytes(content)


def attempt(read: Callable[[Path], Film | Label]) -> Callable[[Path], tuple[Film | Label | BadInput, float]]:
    def attempted(path: Path) -> tuple[Film | Label | BadInput, float]:
        began = time.monotonic()
        try:
            return read(path), time.monotonic() - began
        except BadInput as error:
            return error, time.monotonic() - began

    return attempted


LINUX = sys.platform == "linux"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if LINUX else 0


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = np.full((700, 700), SECRET, np.uint16)
    words[0, 0] = 1
    return save(tmp_path_factory.mktemp("secret") / "secret.dcm", dataset(words, bits=16))


def judge(base: Base, how: str, answer: Film | Label | BadInput) -> str:
    """What became of one file, in a word. Fails where it is anything but an answer of its own or a sentence."""
    if isinstance(answer, BadInput):
        sentence = str(answer)
        assert sentence.startswith("expected ") and "; " in sentence and sentence.isprintable(), sentence
        assert not any(word in sentence for word in (NAME, "Traceback", "/")), sentence
        return "refused" if isinstance(answer, Refused) else "stopped"
    pixels = base.of(answer)
    assert np.count_nonzero(pixels == SECRET) <= pixels.size // 100, "pixels of another film"
    if how == "cut":  # what was left was all that is needed, or it would be refused
        np.testing.assert_array_equal(pixels, base.pixels)
    return "the same" if np.array_equal(pixels, base.pixels) else "another picture"


def test_whatever_comes_is_answered(
    bases: list[Base], secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def run(number: int) -> tuple[str, float]:
        if number % 20 == 0:
            assert (read_film(secret).image == SECRET).any()
        base, how, content = case(bases, SEED, number)
        path = tmp_path / f"{NAME}-{number}"
        path.write_bytes(content)
        answer, seconds = attempt(base.read)(path)
        path.unlink()
        try:
            return judge(base, how, answer), seconds
        except AssertionError as error:
            raise AssertionError(f"case(bases, {SEED}, {number}), {how} of {base.name}: {error}") from None

    with ThreadPoolExecutor(2) as pool:
        warm = list(pool.map(run, range(min(20, CASES))))
        before, began = resident_bytes(), time.monotonic()
        results = warm + list(pool.map(run, range(len(warm), CASES)))
        took = time.monotonic() - began
    outcomes, slowest = Counter(word for word, _ in results), max(seconds for _, seconds in results)
    grown = resident_bytes() - before
    with capsys.disabled():
        print(
            f"\nfuzz: {CASES} files, {dict(outcomes)}; slowest {slowest:.1f} s, "
            f"{took / max(1, CASES - len(warm)):.2f} s each, grown by {grown / 2**20:.1f} MB"
        )
    assert len(results) == CASES and slowest < LIMITS.wall_s + 30
    assert grown < GROWTH_BYTES
    assert outcomes["refused"] >= CASES // 4 and outcomes["the same"], "the changes must both hurt and not hurt"


def test_a_case_is_made_again_by_its_number(bases: list[Base]):
    assert [case(bases, 1, k)[1:] for k in range(50)] == [case(bases, 1, k)[1:] for k in range(50)]
    assert len({case(bases, 1, k)[2] for k in range(200)}) > 190
