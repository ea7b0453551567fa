"""app.py as a program: how it ends, and what it says where it cannot begin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spineseg.model.architectures import build_network
from spineseg.model.card import BadCheckpoint, Card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


@contextmanager
def started(port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    with subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_leaves_nothing_of_a_film(stopped_by: int, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = free.getsockname()[1]
    with started(chosen, folder) as process:
        assert process.stdout
        assert f":{chosen}" in process.stdout.readline()
        (uploads,) = (path for path in folder.glob("spineseg-*") if not path.name.startswith("spineseg-reader"))
        (uploads / "film").write_bytes(b"somebody's")
        process.send_signal(stopped_by)
        process.communicate(timeout=60)
    assert list(folder.iterdir()) == []


def test_a_port_that_is_taken_is_said_in_a_sentence(port: int, folder: Path) -> None:
    with started(port, folder) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"expected a free port, got {port}" in said
    assert "Traceback" not in said


def test_networks_of_one_s_own_are_served_where_they_are_named(tmp_path: Path) -> None:
    """Beside U-Nets, which need no name."""
    import app

    own, path = "my_networks:quarter", str(tmp_path / "a.safetensors")
    network, grid = UNetConfig(features=(4, 6), patch=4), GridConfig(rows=64, columns=48)
    for architecture in ("unet", own):
        card = Card("a", grid, network, architecture=architecture)
        save_checkpoint(Path(path), build_network(architecture, network), card)
        assert app.load(path, ["my_networks:whole", own]).card.architecture == architecture
    with pytest.raises(BadCheckpoint, match=f"network is {own}, not unet; give --architecture {own}"):
        app.load(path, ["my_networks:whole"])
