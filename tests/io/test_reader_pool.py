"""Reader processes: limits that end them, results that are checked, one file each, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import pytest
import reader_functions as functions
from dicom_files import is_anonymous_sentence

from spineseg.io import reader_pool
from spineseg.io.isolation import isolated
from spineseg.io.limits import DEFAULT_LIMITS, Limits
from spineseg.io.reader_pool import NoReader, Readers, ReadResult, Refused, Unsafe
from spineseg.io.reader_process import FOLDER_PREFIX

LINUX = sys.platform == "linux"
ON_LINUX = pytest.mark.skipif(not LINUX, reason="all limits hold on Linux only")
ROOT = Path(__file__).parents[2]
BUSY = Limits(wall_s=300.0, cpu_s=100)
"""For what must come back however busy the machine is."""


@pytest.mark.parametrize(
    ("function", "argument", "limits", "word"),
    [
        *((functions.crash, signal, BUSY, "stopped") for signal in ("SIGSEGV", "SIGFPE", "SIGABRT", "SIGKILL")),
        (functions.leave, 0, BUSY, "stopped"),
        (functions.fail, None, BUSY, "stopped"),
        (functions.many_objects, None, BUSY, "stopped"),
        (functions.not_json, None, BUSY, "stopped"),
        (functions.sleep, 600, replace(DEFAULT_LIMITS, wall_s=1.0), "within 1 seconds"),
        (functions.fill_memory, 2**20, replace(BUSY, result_bytes=2**20 - 1), "stopped"),
        pytest.param(functions.fill_disk, 2**20, replace(BUSY, written_bytes=2**16), "stopped", marks=ON_LINUX),
        pytest.param(functions.sleep_in_c, None, replace(BUSY, cpu_s=1), "takes longer", marks=ON_LINUX),
    ],
    ids=lambda value: getattr(value, "__name__", str(value) if isinstance(value, int | str) else ""),
)
def test_a_reader_that_breaks_off(function: Callable[..., Any], argument: Any, limits: Limits, word: str):
    with pytest.raises(Unsafe) as caught:
        isolated(function, *([] if argument is None else [argument]), limits=limits)
    assert word in str(caught.value) and is_anonymous_sentence(str(caught.value), "/")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@ON_LINUX
def test_memory_ends_in_the_limits_sentence():
    with pytest.raises(Refused, match="read in 1 GB") as caught:
        isolated(functions.fill_memory, 2 * 2**30, limits=replace(BUSY, memory_bytes=2**30))
    assert is_anonymous_sentence(str(caught.value), "/")


@ON_LINUX
def test_the_limits_are_in_force():
    assert isolated(functions.limits_in_force, limits=BUSY).facts == {
        "RLIMIT_AS": BUSY.memory_bytes,
        "RLIMIT_CPU": BUSY.cpu_s,
        "RLIMIT_FSIZE": BUSY.written_bytes,
        "RLIMIT_NOFILE": BUSY.open_files,
        "RLIMIT_CORE": 0,
    }


def test_a_refusal_is_the_readers_sentence():
    with pytest.raises(Refused, match=r"^expected a, got b; do c$"):
        isolated(functions.refuse, "expected a, got b; do c", limits=BUSY)


@pytest.mark.parametrize("start", ["raise SystemExit(1)", "import time; time.sleep(600)"])
def test_an_interpreter_that_does_not_start(monkeypatch: pytest.MonkeyPatch, start: str):
    monkeypatch.setattr(reader_pool, "_START", start)
    readers = Readers(1, ahead=0)
    with pytest.raises(NoReader) as caught:
        readers.run(functions.count_calls, limits=replace(BUSY, start_s=0.5))
    assert is_anonymous_sentence(str(caught.value), "/")


def test_it_knows_no_secret_and_no_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("SPINESEG_PASSWORD", "secret")
    facts = Readers(1, ahead=0).run(functions.surroundings, limits=BUSY).facts  # the shared ones were started before
    assert facts["torch"] is False and facts["folder"] == []
    assert "secret" not in facts["environment"].values()
    allowed = {*reader_pool._PASSED_ON, *reader_pool._ONE_THREAD, "TMPDIR", "TEMP", "TMP", "LC_CTYPE"}
    assert facts["environment"].keys() <= allowed


def test_nothing_that_it_prints_is_shown(capfd: pytest.CaptureFixture[str]):
    assert isolated(functions.print_much, limits=BUSY).facts == {"printed": True}
    assert capfd.readouterr() == ("", "")


def test_threads_get_their_own_results_from_readers_of_their_own():
    with ThreadPoolExecutor(6) as pool:
        counted = [pool.submit(isolated, functions.count_calls, limits=BUSY) for _ in range(2)]
        results = list(pool.map(lambda k: isolated(functions.double, k, limits=BUSY), range(6)))
    assert [result.array.tolist() for result in results] == [[2 * k] * 3 for k in range(6)]
    facts = [future.result().facts for future in counted]
    assert [each["calls"] for each in facts] == [1, 1]
    assert len({each["pid"] for each in [*facts, *(result.facts for result in results)]} | {os.getpid()}) == 9


def test_no_more_work_at_once_than_allowed():
    readers = Readers(2, ahead=0)
    with ThreadPoolExecutor(5) as pool:
        spans = list(pool.map(lambda _: readers.run(functions.sleep, 0.2, limits=BUSY).facts["span"], range(5)))
    assert max(sum(began <= start < ended for began, ended in spans) for start, _ in spans) <= 2


def head(**changes: Any) -> bytes:
    return json.dumps({"dtype": "<f4", "shape": [2, 3], "facts": {}} | changes).encode() + b"\n"


def received(content: bytes) -> ReadResult:
    return reader_pool._receive(BufferedReader(BytesIO(content)), DEFAULT_LIMITS)


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
        *(json.dumps({"refused": reason}).encode() + b"\n" for reason in ("two\nlines", "\x1b[2J", "x" * 401)),
        b"\x80\x04\x95\n",
        b"\xff\n",
    ],
)
def test_any_other_result_is_not_taken(content: bytes):
    with pytest.raises((Unsafe, EOFError)):
        received(content)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


def test_nothing_stays_of_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    readers = Readers(1, ahead=1)
    readers.run(functions.count_calls, limits=BUSY)
    with pytest.raises(Unsafe):
        readers.run(functions.leave, 1, limits=BUSY)
    assert len(list(tmp_path.iterdir())) == 1, "the one that waits"
    readers.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(NoReader):
        readers.run(functions.count_calls)


def test_one_that_ended_while_it_waited_is_passed_over():
    readers = Readers(1, ahead=1)
    readers.start_ahead(1)
    waiting = readers._waiting[0]._process
    waiting.kill()
    waiting.wait()
    assert readers.run(functions.count_calls, limits=BUSY).facts["calls"] == 1
    readers.close()


PARENT = """
import sys, threading, time
sys.path[:0] = {path}
import reader_functions
from spineseg.io.isolation import isolated, start_ahead
start_ahead(2)
threading.Thread(target=isolated, args=(reader_functions.sleep, 600, sys.argv[1]), daemon=True).start()
time.sleep(600)
"""


@ON_LINUX
def test_readers_end_with_a_parent_that_is_killed(tmp_path: Path):
    started, folders = tmp_path / "pid", lambda: list(tmp_path.glob(f"{FOLDER_PREFIX}*"))
    script = PARENT.format(path=[str(ROOT / "tests"), str(ROOT)])
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script, str(started)], env=environment)
    try:
        wait_until(lambda: started.exists() and bool(started.read_text()))
        assert alive(int(started.read_text())) and len(folders()) == 3, "one reads and two wait"
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not alive(int(started.read_text())) and not folders())


@pytest.mark.parametrize("name", ["scratch", f"{FOLDER_PREFIX}scratch"])
def test_a_reader_started_by_hand_removes_no_folder(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "work.txt").write_text("mine")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from spineseg.io import reader_process as r; r._serve('.')"
    for script in (code, code.replace("'.'", repr(str(tmp_path / name)))):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path / name, stdin=subprocess.DEVNULL, capture_output=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, b"ready\n", b"")
    assert (tmp_path / name / "work.txt").read_text() == "mine"
