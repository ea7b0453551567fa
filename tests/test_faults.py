"""Disks that fill up and processes that are killed: nothing half-written ever stands under a final name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import write_checkpoint

from spineseg import cli as commands
from spineseg.film import CHANNELS, VERTEBRAE, Film
from spineseg.io.dicom_write import write_film
from spineseg.io.labels import write_array, write_mat
from spineseg.io.pictures import write_png

LINUX = sys.platform == "linux"
ROOT = Path(__file__).parents[1]
FILM = Film(np.arange(128 * 96, dtype=np.float32).reshape(128, 96) % 4096)
MASKS = np.zeros((len(VERTEBRAE), 256, 256), bool)
MASKS[:, 5:9] = True
NOISE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
WRITERS: dict[str, Callable[[Path], object]] = {
    "film.dcm": lambda path: write_film(path, FILM),
    "masks.npy": lambda path: write_array(path, MASKS),
    "masks.mat": lambda path: write_mat(path, MASKS),
    "picture.png": lambda path: write_png(path, NOISE),
    "weights.safetensors": write_checkpoint,
}


class Full:
    """A file on a disk with room for so many bytes more."""

    def __init__(self, stream: object, room: int) -> None:
        self._stream, self._room = stream, room

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()  # type: ignore[attr-defined]

    def write(self, content: bytes) -> int:
        if (size := memoryview(content).nbytes) > self._room:
            self._stream.write(bytes(content)[: self._room])  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= size
        return self._stream.write(content)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    real = open
    WRITERS[name](tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for room in (0, 1000, len(before[tmp_path / name]) - 1):
        full = lambda file, mode, room=room: Full(real(file, mode), room)  # noqa: E731
        monkeypatch.setattr("spineseg.io.files.open", full, raising=False)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            WRITERS[name](tmp_path / name)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_costs_the_command_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_film(tmp_path / "a.dcm", FILM)
    checkpoint = tmp_path / "tiny.safetensors"
    write_checkpoint(checkpoint)
    real = open
    monkeypatch.setattr("spineseg.io.files.open", lambda file, mode: Full(real(file, mode), 1000), raising=False)
    given = ["predict", str(tmp_path / "a.dcm"), "--out", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    assert commands.main([*given, "--device", "cpu"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out") == []


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from spineseg.film import VERTEBRAE
from spineseg.io.labels import write_array
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_array(Path(sys.argv[1]), np.ones((len(VERTEBRAE), 256, 256), bool))
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not LINUX, reason="the size of written files is limited on Linux and macOS")
def test_a_write_that_the_system_cuts_short(tmp_path: Path):
    (tmp_path / "a.npy").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "a.npy")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert os.strerror(errno.EFBIG) in done.stdout
    assert (tmp_path / "a.npy").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.npy"]


KILLED = """
import sys
from pathlib import Path
import numpy as np
from spineseg.film import VERTEBRAE
from spineseg.io.labels import write_array
for number in range(10**6):
    masks = np.zeros((len(VERTEBRAE), 512, 512), bool)
    masks[number % len(VERTEBRAE)] = True
    write_array(Path(sys.argv[1]), masks)
    print(number, flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.002, 0.007])
def test_killed_at_any_moment_the_array_is_whole(tmp_path: Path, wait: float):
    path = tmp_path / "masks.npy"
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert writer.stdout is not None and writer.stdout.readline() == b"0\n"
    time.sleep(wait)
    writer.kill()
    writer.communicate()
    array = np.load(path, allow_pickle=False)
    assert array.shape == (512, 512, len(CHANNELS)) and (array == array[0, 0]).all() and array[0, 0].sum() == 1
    assert {each.name for each in tmp_path.iterdir() if not each.name.endswith(".part")} == {"masks.npy"}
