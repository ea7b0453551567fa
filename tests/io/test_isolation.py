"""A stranger's file is read elsewhere: the same films come back, and whatever it does there costs one sentence here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import strangers
from dicom_files import (
    BIRTH,
    EXPLICIT,
    JPEG_LOSSLESS,
    NAME,
    dataset,
    lossless_jpeg,
    of_every_syntax,
    save,
    wheel_file,
)
from pydicom.uid import UID

from spineseg.film import BadInput, Film
from spineseg.io import isolation as isolate
from spineseg.io.dicom import read_film
from spineseg.io.dicom_header import SYNTAXES
from spineseg.io.isolation import NoReader, Readers, Refused, Unsafe, isolated, read_film_isolated, read_label_isolated
from spineseg.io.labels import KEY, read_label
from spineseg.io.limits import DEFAULT_LIMITS, Limits

LINUX = sys.platform == "linux"
ROWS, COLUMNS = 66, 71
SHAPE = (40, 30)
BUSY = Limits(wall_s=300.0, cpu_s=100)
"""For what must come back however busy the machine is."""
ANY_SIZE = replace(BUSY, min_side=8)
HURRY = replace(DEFAULT_LIMITS, wall_s=2.0)
WORDS = np.arange(ROWS * COLUMNS, dtype=np.uint16).reshape(ROWS, COLUMNS) % 4096


def sound(sentence: str, *secrets: str) -> bool:
    """One sentence for a person, without anything of the file, its name or its place."""
    parts = sentence.startswith("expected ") and ", got " in sentence and "; " in sentence and sentence.isprintable()
    return parts and not any(secret in sentence for secret in (*secrets, "/", "Doe", "Jane", "Secret", BIRTH))


def masks_of(shape: tuple[int, int]) -> np.ndarray:
    """rows x columns x 7, as a file has it."""
    array = np.zeros((*shape, 7), np.uint8)
    for k in range(6):
        array[6 * k + 2 : 6 * k + 6, 10:20, k] = 1
    array[..., 6] = ~array[..., :6].any(-1)
    return array


# What can be read is read right


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return of_every_syntax(tmp_path_factory.mktemp("films"))


def test_one_film_of_every_syntax_comes_back_as_the_reader_saw_it(films: dict[str, Path]):
    assert films.keys() == set(SYNTAXES)
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda path: read_film_isolated(path, limits=ANY_SIZE), films.values())
        read = dict(zip(films, answers, strict=True))
    for syntax, path in films.items():
        direct = read_film(path, limits=ANY_SIZE)
        np.testing.assert_array_equal(read[syntax].image, direct.image)
        assert read[syntax].spacing == direct.spacing
        assert read[syntax].image.dtype == np.float32 and not read[syntax].image.flags.writeable


def test_spacing_and_the_wish_to_invert_go_there_and_back(tmp_path: Path):
    path = save(tmp_path / "a.dcm", dataset(WORDS, ImagerPixelSpacing=[0.143, 0.1]))
    film = read_film_isolated(path, invert=True, limits=BUSY)
    assert film.spacing == read_film(path).spacing and film.spacing is not None
    np.testing.assert_array_equal(film.image, 4095 - WORDS)


@pytest.mark.parametrize("kind", ["mat", "npy"])
def test_labels_come_back_as_the_reader_saw_them(tmp_path: Path, kind: str):
    array = masks_of(SHAPE)
    array[4, 12, 1] = array[5, 12, 1] = 1  # in L1 too
    array[0, 0, 6] = 0
    path = tmp_path / f"doe-jane.{kind}"
    scipy.io.savemat(path, {KEY: array}) if kind == "mat" else np.save(path, array)
    there, here = read_label_isolated(path, SHAPE, limits=BUSY), read_label(path, SHAPE)
    np.testing.assert_array_equal(there.masks, here.masks)
    assert (there.overlap_px, there.background_disagreement_px) == (2, 1)
    assert there.remarks == here.remarks


def test_a_relative_path_is_this_programs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "a.dcm", dataset(WORDS))
    monkeypatch.chdir(tmp_path)
    assert read_film_isolated("a.dcm", limits=BUSY).shape == (ROWS, COLUMNS)


# Every refusal says why, from there as from here


def changed(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def bare(path: Path, sop_class: str, **elements: Any) -> Path:
    """A DICOM object without an image."""
    made = dataset(WORDS, **elements)
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
        delattr(made, keyword)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    return save(path, made)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def cut(path: Path, made: Any, part: float) -> Path:
    content = save(path, made).read_bytes()
    return written(path, content[: int(len(content) * part)])


HEADERS: list[tuple[str, dict[str, Any], str]] = [
    ("65535 x 65535", {"Rows": 65535, "Columns": 65535}, "65535 x 65535"),
    ("no rows", {"Rows": 0}, "got 0 x"),
    ("one pixel", {"Rows": 1, "Columns": 1}, "1 x 1"),
    ("too many pixels", {"Rows": 9000, "Columns": 9000}, "40 million"),
    ("fewer pixels than stated", {"Rows": ROWS + 1}, "bytes"),
    ("many frames", {"NumberOfFrames": 65535}, "65535"),
    ("no frame", {"NumberOfFrames": 0}, "got 0"),
    ("colour", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
    ("palette", {"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
    ("32 bits", {"BitsAllocated": 32}, "of 32"),
    ("no slope", {"RescaleSlope": 0}, "rescale"),
    ("huge intercept", {"RescaleIntercept": 1e30}, "rescale"),
    ("empty pixels", {"PixelData": b""}, "got 0"),
]
FILMS: dict[str, tuple[Callable[[Path], Path], str]] = {
    **{
        name: (lambda path, elements=elements: save(path, dataset(WORDS, **elements)), word)
        for name, elements, word in HEADERS
    },
    **{
        f"cut at {part}": (lambda path, part=part: cut(path, dataset(WORDS), part), "expected")
        for part in (0.001, 0.012, 0.02, 0.04, 0.06, 0.3, 0.6, 0.9, 0.9999)
    },
    **{
        f"JPEG cut at {part}": (
            lambda path, part=part: cut(
                path, dataset(WORDS, stream=lossless_jpeg(WORDS.astype(int), 12), syntax=JPEG_LOSSLESS), part
            ),
            "expected",
        )
        for part in (0.05, 0.5, 0.99)
    },
    "constant": (lambda path: save(path, dataset(np.full((64, 64), 7, np.uint16))), "one single value"),
    "report": (lambda path: bare(path, "1.2.840.10008.5.1.4.1.1.88.11", Modality="SR"), "without one"),
    "presentation state": (lambda path: bare(path, "1.2.840.10008.5.1.4.1.1.11.1", Modality="PR"), "without one"),
    "document": (
        lambda path: bare(
            path, "1.2.840.10008.5.1.4.1.1.104.1", Modality="DOC", EncapsulatedDocument=b"%PDF-1.7 " + NAME.encode()
        ),
        "without one",
    ),
    "PNG": (lambda path: written(path, b"\x89PNG\r\n\x1a\n" + b"\0" * 400), "PNG"),
    "ZIP": (lambda path: written(path, b"PK\3\4" + b"\0" * 400), "ZIP"),
    "empty": (lambda path: written(path, b""), "empty"),
    "folder": (lambda path: path.mkdir() or path, "folder"),
    "missing": (lambda path: path, "missing"),
    "pipe": (pipe, "device"),
    "no name for a file": (lambda path: Path(f"{path}\0.dcm"), "opened"),
    "deflated": (lambda path: wheel_file("image_dfl.dcm"), "Deflated"),
    "RLE without segments": (
        lambda path: save(path, dataset(WORDS, stream=b"\0" * 64, syntax="1.2.840.10008.1.2.5")),
        "damaged",
    ),
    "slope of words": (
        lambda path: changed(save(path, dataset(WORDS, RescaleSlope="1.234567")), b"1.234567", b"Doe^Jane"),
        "expected",
    ),
}


def outcome(read: Callable[[], object]) -> object:
    try:
        return read()
    except BadInput as error:
        return error


@pytest.fixture(scope="module")
def refused_films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("Doe-Jane")
    paths = {name: make(folder / f"{k}.dcm") for k, (name, (make, _)) in enumerate(FILMS.items())}
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda path: outcome(lambda: read_film_isolated(path, limits=BUSY)), paths.values())
        return dict(zip(paths, results, strict=True))


@pytest.mark.parametrize("name", FILMS)
def test_films_are_refused_with_the_readers_own_sentence(refused_films: dict[str, object], name: str):
    refusal = refused_films[name]
    assert isinstance(refusal, Refused), refusal
    assert sound(str(refusal)) and FILMS[name][1] in str(refusal)
    assert (refusal.__cause__ is None and refusal.__suppress_context__) or refusal.__context__ is None


def mat(path: Path, **variables: Any) -> Path:
    scipy.io.savemat(path, variables)
    return path


def npy(path: Path, array: np.ndarray) -> Path:
    with open(path, "wb") as stream:
        np.save(stream, array, allow_pickle=True)
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


def damaged(array: np.ndarray, value: float) -> np.ndarray:
    array = array.astype(np.float64)
    array[3, 3, 2] = value
    return array


LABELS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing key": (lambda path: mat(path, label=masks_of(SHAPE)), KEY),
    "transposed": (lambda path: mat(path, **{KEY: masks_of(SHAPE).transpose(1, 0, 2)}), "transpose"),
    "wrong size": (lambda path: npy(path, masks_of((41, 30))), "41 x 30 x 7"),
    "six channels": (lambda path: npy(path, masks_of(SHAPE)[..., :6]), "40 x 30 x 6"),
    "not a number": (lambda path: npy(path, damaged(masks_of(SHAPE), np.nan)), "0 and 1"),
    "probability": (lambda path: mat(path, **{KEY: damaged(masks_of(SHAPE), 0.5)}), "0 and 1"),
    "objects": (lambda path: npy(path, masks_of(SHAPE).astype(object)), "numbers"),
    "cells": (lambda path: mat(path, **{KEY: masks_of((3, 3)).astype(object)}), "numbers"),
    "text": (lambda path: written(path, b"just text"), "another kind"),
    "empty": (lambda path: written(path, b""), "empty"),
    "folder": (lambda path: path.mkdir() or path, "none there"),
    "pipe": (pipe, "none there"),
    "inflating": (inflating_mat, "memory"),
    "head cut short": (lambda path: written(path, b"\x93NUMPY\1\0\x0a\0{'descr': ("), "damaged"),
    "claims": (
        lambda path: written(
            path, b"\x93NUMPY\1\0\x76\0" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (40, 30, 7)}".ljust(118)
        ),
        "damaged",
    ),
}


@pytest.fixture(scope="module")
def refused_labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("Doe-Jane")
    paths = {name: make(folder / f"{k}.mat") for k, (name, (make, _)) in enumerate(LABELS.items())}
    tight = replace(BUSY, label_memory_bytes=3 * 2**28)
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda path: outcome(lambda: read_label_isolated(path, SHAPE, limits=tight)), paths.values())
        return dict(zip(paths, results, strict=True))


@pytest.mark.skipif(not LINUX, reason="memory limits hold on Linux only")
@pytest.mark.parametrize("name", LABELS)
def test_labels_are_refused_with_the_readers_own_sentence(refused_labels: dict[str, object], name: str):
    refusal = refused_labels[name]
    assert isinstance(refusal, Refused), refusal
    assert sound(str(refusal)) and LABELS[name][1] in str(refusal)


def test_pickles_are_not_opened_there_either(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "opened"),))

    array = np.empty((*SHAPE, 7), dtype=object)
    array[...] = Bomb()
    assert sound(str(outcome(lambda: read_label_isolated(npy(tmp_path / "a.npy", array), SHAPE, limits=BUSY))))
    assert not (tmp_path / "opened").exists()


def test_a_label_over_the_limit(tmp_path: Path):
    path = npy(tmp_path / "a.npy", masks_of(SHAPE))
    limits = replace(BUSY, max_label_bytes=1000)
    assert "at most 0 MB" in str(outcome(lambda: read_label_isolated(path, SHAPE, limits=limits)))


# Whatever a reader does


def broken(function: Callable[..., Any], *arguments: Any, limits: Limits = BUSY) -> str:
    with pytest.raises(Unsafe) as caught:
        isolated(function, *arguments, limits=limits)
    assert sound(str(caught.value)) and caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize("signal", ["SIGSEGV", "SIGFPE", "SIGABRT", "SIGKILL", "SIGBUS"])
def test_a_crash_is_one_sentence(signal: str):
    assert "stopped its reader" in broken(strangers.crash, signal)


@pytest.mark.parametrize("code", [0, 3])
def test_an_end_without_an_answer_is_one_sentence(code: int):
    assert "stopped its reader" in broken(strangers.leave, code)


@pytest.mark.parametrize("function", [strangers.fail, strangers.many_objects, strangers.not_json])
def test_what_nobody_foresaw_is_one_sentence(function: Callable[..., Any]):
    broken(function)


def test_a_hang_ends_with_the_time():
    began = time.monotonic()
    assert "within 2 seconds" in broken(strangers.sleep, 600, limits=HURRY)
    assert time.monotonic() - began < 2 + HURRY.start_s


def test_one_that_does_not_get_ready_ends_with_its_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolate, "_START", "import time; time.sleep(600)")
    readers = Readers(1, ahead=0)
    with pytest.raises(NoReader):
        readers.run(strangers.count_calls, limits=replace(BUSY, start_s=0.5))
    readers.close()


@pytest.mark.skipif(not LINUX, reason="processor time is limited on Linux and macOS")
def test_code_that_never_comes_back_to_python_ends_with_its_processor_time():
    assert "takes longer" in broken(strangers.sleep_in_c, limits=replace(BUSY, cpu_s=2))


@pytest.mark.skipif(not LINUX, reason="memory limits hold on Linux only")
def test_memory_ends_in_the_limits_sentence():
    with pytest.raises(Refused) as caught:
        isolated(strangers.fill_memory, 2 * 2**30, limits=replace(BUSY, memory_bytes=2**30))
    assert "read in 1 GB" in str(caught.value) and sound(str(caught.value))


def test_more_than_an_answer_may_hold_is_not_taken():
    assert "stopped its reader" in broken(strangers.fill_memory, 2**20, limits=replace(BUSY, answer_bytes=2**20 - 1))


@pytest.mark.skipif(not LINUX, reason="the size of written files is limited on Linux and macOS")
def test_a_large_file_is_not_written(tmp_path: Path):
    limits = replace(BUSY, written_bytes=2**16)
    broken(strangers.fill_disk, 2**20, limits=limits)
    path = save(tmp_path / "a.dcm", dataset(np.arange(2**16, dtype=np.uint16).reshape(256, 256), bits=16))
    assert "room" in str(outcome(lambda: read_film_isolated(path, limits=limits)))


@pytest.mark.skipif(not LINUX, reason="all limits hold on Linux only")
def test_the_limits_are_in_force():
    facts = isolated(strangers.limits_in_force, limits=BUSY).facts
    assert facts == {
        "RLIMIT_AS": BUSY.memory_bytes,
        "RLIMIT_CPU": BUSY.cpu_s,
        "RLIMIT_FSIZE": BUSY.written_bytes,
        "RLIMIT_NOFILE": BUSY.open_files,
        "RLIMIT_CORE": 0,
    }


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [("expected a, got b; do c", True), ("two\nlines", False), ("\x1b[2J", False), ("x" * 401, False), ("", True)],
)
def test_only_one_plain_line_is_passed_on(sentence: str, kept: bool):
    error = outcome(lambda: isolated(strangers.refuse, sentence, limits=BUSY))
    assert (type(error), str(error) == sentence) == ((Refused, True) if kept else (Unsafe, False))


def test_nothing_it_says_is_heard(capfd: pytest.CaptureFixture[str]):
    assert isolated(strangers.chatter, limits=BUSY).facts == {"said": True}
    assert capfd.readouterr() == ("", "")


def test_it_knows_no_secret_and_no_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("SPINESEG_PASSWORD", "secret")
    readers = Readers(1, ahead=0)  # the shared ones were started before
    facts = readers.run(strangers.surroundings, limits=BUSY).facts
    readers.close()
    assert facts["torch"] is False and facts["folder"] == []
    assert "secret" not in facts["environment"].values()
    allowed = {*isolate._PASSED_ON, *isolate._ONE_THREAD, "TMPDIR", "TEMP", "TMP", "LC_CTYPE"}
    assert facts["environment"].keys() <= allowed


# Never used twice, and never mixed up


def test_each_file_gets_an_interpreter_of_its_own():
    seen = [isolated(strangers.count_calls, limits=BUSY).facts for _ in range(4)]
    assert [facts["calls"] for facts in seen] == [1, 1, 1, 1]
    assert len({facts["pid"] for facts in seen} | {os.getpid()}) == 5


def test_threads_get_their_own_answers():
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda k: isolated(strangers.double, k, limits=BUSY), range(8)))
    assert [answer.array.tolist() for answer in answers] == [[2 * k] * 3 for k in range(8)]
    assert len({answer.facts["pid"] for answer in answers}) == 8


def test_no_more_work_at_once_than_allowed():
    readers, began = Readers(2, ahead=0), threading.Semaphore(0)
    running, most = 0, 0
    lock = threading.Lock()
    take, end = readers._take, isolate._Reader.end

    def counted() -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        began.release()
        reader = take()

        def ended() -> None:
            nonlocal running
            with lock:
                running -= 1
            end(reader)

        reader.end = ended
        return reader

    readers._take = counted
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda k: readers.run(strangers.double, k, limits=BUSY), range(5)))
    readers.close()
    assert most == 2


def test_no_pixel_of_another_film_ever(tmp_path: Path):
    """The file that made a decoder in the server answer with the previous visitor's picture, after such a visitor."""
    secret = 54321
    words = np.full((512, 512), secret, np.uint16)
    words[0, 0] = 1
    other = save(tmp_path / "other.dcm", dataset(words, bits=16))
    short = cut(tmp_path / "short.dcm", dataset(words * 0 + 7, bits=16), 0.01)
    whole = save(tmp_path / "whole.dcm", dataset(np.arange(2**18, dtype=np.uint16).reshape(512, 512) % 999, bits=16))
    for _ in range(3):
        assert (read_film_isolated(other, limits=BUSY).image == secret).sum() == 2**18 - 1
        assert isinstance(outcome(lambda: read_film_isolated(short, limits=BUSY)), Refused)
        assert read_film_isolated(whole, limits=BUSY).image.max() == 998


# What comes up is checked


def head(**changes: Any) -> bytes:
    return json.dumps({"dtype": "<f4", "shape": [2, 3], "facts": {}} | changes).encode() + b"\n"


def received(content: bytes) -> isolate.Answer:
    return isolate._received(BufferedReader(BytesIO(content)), DEFAULT_LIMITS)


def test_an_answer_is_the_bytes_that_it_claims():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    answer = received(head(facts={"a": [1, "b"]}) + values.tobytes())
    np.testing.assert_array_equal(answer.array, values)
    assert answer.facts == {"a": [1, "b"]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        head()[:-1],
        head() + bytes(23),
        head() + bytes(25),
        head(shape=[2, -3]) + bytes(24),
        head(shape=[2, 0]),
        head(shape=[2, 3.0]) + bytes(24),
        head(shape=[True, 3]) + bytes(12),
        head(shape=[2**40, 2**40]),
        head(shape=[2**28 + 1], dtype="|u1"),
        head(shape="23") + bytes(24),
        head(dtype="O") + bytes(48),
        head(dtype="<f4,<f4") + bytes(48),
        head(dtype="no such") + bytes(24),
        head(dtype="M8[s]") + bytes(48),
        head(facts=None) + bytes(24),
        b"[" * 4000 + b"\n",
        b"{" * 5000,
        b'{"refused": 7}\n',
        b"\x80\x04\x95\n",
        b"\xff\n",
    ],
)
def test_any_other_answer_is_not_taken(content: bytes):
    with pytest.raises((Unsafe, EOFError)):
        received(content)


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
def test_an_image_that_is_no_film_is_not_taken(image: np.ndarray):
    with pytest.raises(Unsafe):
        isolate._checked_image(image, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    "stated",
    [[0.1, 0.1], [0.1, -0.1, "detector"], [0.1, "x", "patient"], [1.0, 1.0, "Doe"], [1e300, 0.1, "patient"], {}],
)
def test_a_spacing_that_is_none_is_not_taken(stated: Any):
    with pytest.raises(Unsafe):
        isolate._spacing(stated)


@pytest.mark.parametrize(
    ("masks", "facts"),
    [
        (np.zeros((6, *SHAPE), bool), {"overlap_px": -1, "background_disagreement_px": 0}),
        (np.zeros((6, *SHAPE), bool), {"overlap_px": 0}),
        (np.zeros((6, *SHAPE), bool), {"overlap_px": 0, "background_disagreement_px": "Doe"}),
        (np.zeros((7, *SHAPE), bool), {"overlap_px": 0, "background_disagreement_px": 0}),
        (np.zeros((6, *SHAPE), np.uint8), {"overlap_px": 0, "background_disagreement_px": 0}),
        (np.full((6, *SHAPE), 7, np.uint8).view(bool), {"overlap_px": 0, "background_disagreement_px": 0}),
    ],
)
def test_masks_that_are_none_are_not_taken(masks: np.ndarray, facts: dict, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolate, "isolated", lambda *_, **__: isolate.Answer(masks, facts))
    with pytest.raises(Unsafe):
        read_label_isolated("a.npy", SHAPE)


# Its beginning and its end


def children(parent: int) -> set[int]:
    """Processes started by `parent` that are alive."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, its_parent = entry.read_text().rpartition(")")[2].split()[:2]
            if int(its_parent) == parent and state != "Z":
                found.add(int(entry.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


def test_nothing_stays_of_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    readers = Readers(1, ahead=1)
    for function in (strangers.count_calls, strangers.leave):
        outcome(lambda function=function: readers.run(function, *([1] if function is strangers.leave else [])))
    assert len(list(tmp_path.iterdir())) == 1, "the one that waits"
    readers.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(NoReader):
        readers.run(strangers.count_calls)


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_one_that_died_while_it_waited_is_passed_over():
    before = children(os.getpid())
    readers = Readers(1, ahead=1)
    readers.start_ahead(1)
    (waiting,) = children(os.getpid()) - before
    os.kill(waiting, 9)
    wait_until(lambda: not alive(waiting))
    assert readers.run(strangers.count_calls, limits=BUSY).facts["calls"] == 1
    readers.close()
    assert children(os.getpid()) <= before


def test_an_interpreter_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolate, "_START", "raise SystemExit(1)")
    readers = Readers(1, ahead=0)
    with pytest.raises(NoReader) as caught:
        readers.run(strangers.count_calls)
    assert sound(str(caught.value))
    readers.close()


PARENT = """
import sys, threading, time
sys.path[:0] = {path}
import strangers
from spineseg.io.isolation import isolated, start_ahead
start_ahead(2)
threading.Thread(target=isolated, args=(strangers.sleep, 600, sys.argv[1]), daemon=True).start()
time.sleep(600)
"""


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_readers_end_with_a_parent_that_is_killed(tmp_path: Path):
    mark, here = tmp_path / "pid", Path(__file__).parents[1]
    script = PARENT.format(path=[str(here), str(here.parent)])
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script, str(mark)], env=environment)
    try:
        wait_until(lambda: mark.exists() and bool(mark.read_text()))
        readers = children(parent.pid)
        assert int(mark.read_text()) in readers and len(readers) >= 3, "one reads and two wait"
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(map(alive, readers)))
    assert [path.name for path in tmp_path.iterdir()] == ["pid"], "their temporary folders have gone with them"


def test_this_process_loads_no_decoder(tmp_path: Path):
    path = save(tmp_path / "a.dcm", dataset(WORDS, syntax=EXPLICIT))
    code = (
        "import sys; from spineseg.io.isolation import read_film_isolated; film = read_film_isolated(sys.argv[1]); "
        "print(film.shape, [name for name in ('SimpleITK', 'pydicom', 'torch', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == f"({ROWS}, {COLUMNS}) []" and done.stderr == ""


def test_films_only_look_alike_by_value(films: dict[str, Path]):
    first, second = (read_film_isolated(films[EXPLICIT], limits=BUSY) for _ in range(2))
    assert isinstance(first, Film) and not np.shares_memory(first.image, second.image)
