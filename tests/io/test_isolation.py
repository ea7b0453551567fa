"""A stranger's file read in a process of its own: the same result as here, or one sentence; the result is checked."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from dicom_files import NAME, RLE, content_of, dataset, of_every_syntax, save

from spineseg.film import VERTEBRAE, BadInput
from spineseg.io import isolation
from spineseg.io.dicom_header import SYNTAXES
from spineseg.io.films import read_film
from spineseg.io.isolation import checked_image, read_film_isolated, read_label_isolated
from spineseg.io.labels import KEY, read_label, to_array
from spineseg.io.limits import DEFAULT_LIMITS, Limits
from spineseg.io.reader_pool import ReadResult, Refused, Unsafe

LINUX = sys.platform == "linux"
ROWS, COLUMNS = 66, 71
SHAPE = (40, 30)
BUSY = Limits(min_side=8, wall_s=300.0, cpu_s=100)
"""For what must come back however busy the machine is."""
WORDS = np.arange(ROWS * COLUMNS, dtype=np.uint16).reshape(ROWS, COLUMNS) % 4096
ARRAY = to_array(np.array([np.eye(*SHAPE, k=-k) for k in range(len(VERTEBRAE))]) > 0)


def outcome(read: Callable[..., object], *arguments: Any, **options: Any) -> object:
    try:
        return read(*arguments, **options)
    except BadInput as error:
        return error


def read_all(read: Callable[[Path], object], paths: dict[str, Path]) -> dict[str, Any]:
    """What becomes of each, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(paths, pool.map(lambda path: outcome(read, path), paths.values()), strict=True))


def test_one_film_of_every_syntax(tmp_path: Path):
    films = of_every_syntax(tmp_path)
    assert films.keys() == set(SYNTAXES)
    for syntax, film in read_all(lambda path: read_film_isolated(path, limits=BUSY), films).items():
        direct = read_film(films[syntax], limits=BUSY)
        np.testing.assert_array_equal(film.image, direct.image)
        assert film.spacing == direct.spacing
        assert film.image.dtype == np.float32 and not film.image.flags.writeable


def test_spacing_inversion_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "a.dcm", dataset(WORDS, ImagerPixelSpacing=[0.143, 0.1]))
    monkeypatch.chdir(tmp_path)
    film = read_film_isolated("a.dcm", invert=True, limits=BUSY)
    assert film.spacing is not None and film.spacing == read_film("a.dcm").spacing
    np.testing.assert_array_equal(film.image, 4095 - WORDS)


@pytest.mark.parametrize("suffix", ["mat", "npy"])
def test_a_label(tmp_path: Path, suffix: str):
    array = ARRAY.copy()
    array[4, 4, 1] = 1  # in L1 too
    array[0, 29, -1] = 0
    path = tmp_path / f"doe-jane.{suffix}"
    scipy.io.savemat(path, {KEY: array}) if suffix == "mat" else np.save(path, array)
    there, here = read_label_isolated(path, SHAPE, limits=BUSY), read_label(path, SHAPE)
    np.testing.assert_array_equal(there.masks, here.masks)
    assert there.overlap_px == here.overlap_px > 0
    assert there.background_disagreement_px == here.background_disagreement_px == 1


def test_this_process_loads_no_decoder(tmp_path: Path):
    path = save(tmp_path / "a.dcm", dataset(WORDS))
    code = (
        "import sys; from spineseg.io.isolation import read_film_isolated; film = read_film_isolated(sys.argv[1]); "
        "print(film.shape, [name for name in ('SimpleITK', 'pydicom', 'torch', 'h5py') if name in sys.modules])"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == f"({ROWS}, {COLUMNS}) []" and done.stderr == ""


def test_no_pixel_of_another_film(tmp_path: Path):
    """A file cut short that once made a decoder return the picture before it, read after such a picture."""
    secret = 54321
    words = np.full((512, 512), secret, np.uint16)
    words[0, 0] = 1
    other = save(tmp_path / "other.dcm", dataset(words, bits=16))
    whole = save(tmp_path / "whole.dcm", dataset(np.arange(2**18, dtype=np.uint16).reshape(512, 512) % 999, bits=16))
    short = written(tmp_path / "short.dcm", whole.read_bytes()[:5000])
    for _ in range(2):
        assert (read_film_isolated(other, limits=BUSY).image == secret).sum() == 2**18 - 1
        assert isinstance(outcome(read_film_isolated, short, limits=BUSY), Refused)
        assert read_film_isolated(whole, limits=BUSY).image.max() == 998


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def npy(path: Path, array: np.ndarray) -> Path:
    with open(path, "wb") as stream:
        np.save(stream, array, allow_pickle=True)
    return path


def mat(path: Path, **variables: Any) -> Path:
    scipy.io.savemat(path, variables)
    return path


def inflating_mat(path: Path) -> Path:
    """A variable whose name is 0.5 GB of zeros, compressed to 2 MB: whoever lists the variables unpacks it."""
    packer = zlib.compressobj(1)
    flags = b"\6\0\0\0\x08\0\0\0\x06\0\0\0\0\0\0\0" + b"\5\0\0\0\x08\0\0\0\1\0\0\0\1\0\0\0"
    length = 2**29
    start = b"\x0e\0\0\0" + (length + 64).to_bytes(4, "little") + flags + b"\1\0\0\0" + length.to_bytes(4, "little")
    packed = packer.compress(start)
    for _ in range(length // 2**24):
        packed += packer.compress(bytes(2**24))
    packed += packer.flush()
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    return written(path, head + b"\x0f\0\0\0" + len(packed).to_bytes(4, "little") + packed)


FILMS: list[tuple[Callable[[Path], Path], str]] = [
    (lambda path: save(path, dataset(WORDS, Rows=65535, Columns=65535)), "65535 x 65535"),
    (lambda path: written(path, content_of(dataset(WORDS))[:-9]), "bytes"),
    (lambda path: written(path, b"\x89PNG\r\n\x1a\n" + NAME.encode()), "PNG"),
    (lambda path: path, "missing"),
    (pipe, "device"),
    (lambda path: Path(f"{path}\0.dcm"), "opened"),
    (lambda path: save(path, dataset(WORDS, stream=b"\0" * 64, syntax=RLE)), "damaged"),
]
LABELS: list[tuple[Callable[[Path], Path], str]] = [
    (lambda path: mat(path, label=ARRAY), KEY),
    (lambda path: npy(path, ARRAY[1:]), "39 x 30"),
    (lambda path: mat(path, **{KEY: ARRAY[:3, :3].astype(object)}), "other values than numbers"),
    (lambda path: written(path, b"just text"), "another kind of file"),
    (pipe, "there is no label file"),
]
if LINUX:
    LABELS.append((inflating_mat, "memory"))


def test_refused_with_the_readers_own_sentence(tmp_path: Path):
    small = replace(BUSY, label_memory_bytes=3 * 2**28)
    for made, read in (
        (FILMS, lambda path: read_film_isolated(path, limits=BUSY)),
        (LABELS, lambda path: read_label_isolated(path, SHAPE, limits=small)),
    ):
        paths = {word: make(tmp_path / f"Doe-Jane-{word}") for make, word in made}
        for word, refusal in read_all(read, paths).items():
            assert isinstance(refusal, Refused), refusal
            assert "; " in str(refusal) and word in str(refusal)
            assert not any(secret in str(refusal) for secret in ("/", "Doe", "Jane"))
            assert (refusal.__cause__ is None and refusal.__suppress_context__) or refusal.__context__ is None


def test_a_label_over_the_limit(tmp_path: Path):
    limits = replace(BUSY, max_bytes=1000)
    assert "the label is larger than 0 MB; save it as .npz" in str(
        outcome(read_label_isolated, npy(tmp_path / "a.npy", ARRAY), SHAPE, limits=limits)
    )


@pytest.mark.skipif(not LINUX, reason="the size of written files is limited on Linux and macOS")
def test_no_room_for_the_copy(tmp_path: Path):
    path = save(tmp_path / "a.dcm", dataset(np.arange(2**16, dtype=np.uint16).reshape(256, 256), bits=16))
    assert "room" in str(outcome(read_film_isolated, path, limits=replace(BUSY, written_bytes=2**16)))


@pytest.mark.skipif(not LINUX, reason="memory limits hold on Linux only")
def test_the_largest_film_needs_no_more_memory_than_it_may(tmp_path: Path):
    """16 bits, signed, inverted and rescaled: the most that reading ever does to a pixel."""
    side = 5790
    words = np.arange(side * side, dtype=np.uint32).astype(np.uint16).reshape(side, side)
    made = dataset(
        words, bits=16, signed=True, PhotometricInterpretation="MONOCHROME1", RescaleSlope=0.5, RescaleIntercept=3
    )
    path = save(tmp_path / "large.dcm", made)
    assert 0 <= DEFAULT_LIMITS.max_bytes - path.stat().st_size < 2**17
    film = read_film_isolated(path, limits=replace(DEFAULT_LIMITS, wall_s=300.0))
    expected = (-1 - words[::997, ::991].astype(np.int16).astype(np.int32)) * 0.5 + 3
    np.testing.assert_array_equal(film.image[::997, ::991], expected.astype(np.float32))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.float32),
        np.full((64, 64), np.nan, np.float32),
        np.where(np.eye(64) > 0, np.inf, 0).astype(np.float32),
        np.eye(64),
        np.eye(63, 64, dtype=np.float32),
        np.eye(64, dtype=np.float32)[None],
        np.ones((10_001, 64), np.float32),
    ],
)
def test_an_image_that_is_no_film(image: np.ndarray):
    with pytest.raises(Unsafe):
        checked_image(image, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    "stated",
    [[0.1, 0.1], [0.1, -0.1, "detector"], [0.1, "x", "patient"], [1.0, 1.0, "Doe"], [1e300, 0.1, "patient"], {}],
)
def test_a_spacing_that_is_none(stated: Any):
    with pytest.raises(Unsafe):
        isolation._spacing(stated)


NO_MASKS = np.zeros((len(VERTEBRAE), *SHAPE), bool)
COUNTS = {"overlap_px": 0, "background_disagreement_px": 0}


@pytest.mark.parametrize(
    ("masks", "facts"),
    [
        (NO_MASKS, COUNTS | {"overlap_px": -1}),
        (NO_MASKS, {"overlap_px": 0}),
        (NO_MASKS, COUNTS | {"background_disagreement_px": "Doe"}),
        (np.concatenate([NO_MASKS, NO_MASKS[:1]]), COUNTS),
        (NO_MASKS.astype(np.uint8), COUNTS),
        (np.full(NO_MASKS.shape, 7, np.uint8).view(bool), COUNTS),
    ],
)
def test_masks_that_are_none(masks: np.ndarray, facts: dict, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolation, "isolated", lambda *_, **__: ReadResult(masks, facts))
    with pytest.raises(Unsafe):
        read_label_isolated("a.npy", SHAPE)
