"""app.py as a program: which models it offers, how it ends, and what it says where it cannot begin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from spineseg.film import BadInput
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.model.architectures import build_network
from spineseg.model.card import BadCheckpoint, Card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.ui import launch as app

ROOT = Path(__file__).parents[1]
STOPPED_BY = (signal.SIGTERM, signal.SIGINT)


def start(port: int, folder: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    return subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """A temporary folder for each of three programs, which start at the same time."""
    folders = [tmp_path / name for name in ("stopped", "interrupted", "refused")]
    for folder in folders:
        folder.mkdir()
    return folders


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Two free ports and one that is taken."""
    with ExitStack() as stack, socket.socket() as taken:
        free = [stack.enter_context(socket.socket()) for _ in STOPPED_BY]
        for one in (*free, taken):
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (*free, taken)]
        stack.close()
        yield ports


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("stopped_by", STOPPED_BY)
def test_a_server_that_is_still_importing_ends_at_once(tmp_path: Path, stopped_by: signal.Signals) -> None:
    with start(0, tmp_path) as program:
        while not list(tmp_path.iterdir()):
            assert program.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)
        for _ in range(2):  # as `timeout` does
            program.send_signal(stopped_by)
        said = program.communicate(timeout=60)
    assert said == ("", "")
    assert program.returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_stopped_server_leaves_nothing_of_a_film_and_a_taken_port_is_said(
    folders: list[Path], ports: list[int]
) -> None:
    with ExitStack() as stack:
        programs = [stack.enter_context(start(port, folder)) for port, folder in zip(ports, folders, strict=True)]
        for program in programs:
            stack.callback(program.kill)
        *served, refused = programs
        for program, port, folder, stopped_by in zip(served, ports, folders, STOPPED_BY, strict=False):
            assert program.stdout
            assert f":{port}" in program.stdout.readline()
            (uploads,) = (path for path in folder.glob("spineseg-*") if not path.name.startswith("spineseg-reader"))
            (uploads / "film").write_bytes(b"somebody's")
            for _ in range(20):
                program.send_signal(stopped_by)
                time.sleep(0.001)
        _, errors = refused.communicate(timeout=60)
        for program in served:
            program.communicate(timeout=60)
    assert refused.returncode == 2
    assert f"expected a free port, got {ports[-1]}" in errors
    assert "Traceback" not in errors
    assert [path for folder in folders for path in folder.iterdir()] == []


def test_checkpoints_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("wide/best.safetensors", "deep/best.safetensors", "a.safetensors")]
    assert list(app.named(paths)) == ["wide/best", "deep/best", "a"]
    hub = ["hf://ann/spine@v1", "hf://bob/spine@0123456789abcdef"]
    assert list(app.named(hub)) == ["v1/spine", "0123456789ab/spine"]
    assert list(app.named(hub[:1])) == ["spine"]


def test_every_checkpoint_with_a_card_is_offered_the_published_one_first(tmp_path: Path) -> None:
    for name in (
        "report-6.safetensors",
        "report-6.json",
        "spineseg.safetensors",
        "spineseg.json",
        "cardless.safetensors",
    ):
        (tmp_path / name).touch()
    assert [Path(path).stem for path in app.shipped_checkpoints(tmp_path)] == ["spineseg", "report-6"]


def test_environment_names_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPINESEG_CHECKPOINT", " a.safetensors, hf://ann/spine@v1 ,")
    assert app.from_environment() == ["a.safetensors", "hf://ann/spine@v1"]
    monkeypatch.delenv("SPINESEG_CHECKPOINT")
    assert app.from_environment() == []


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("garbage.invalid", "", "expected an address of this machine, got garbage.invalid"),
        ("192.0.2.1", "", "expected an address of this machine, got 192.0.2.1"),
        ("127.0.0.1", "abc", "expected a number in GRADIO_SERVER_PORT, got abc"),
        ("127.0.0.1", "7860", ""),
        (None, "", ""),
        ("[::]", "", ""),
    ],
)
def test_where_nobody_can_listen(host: str | None, port: str, words: str) -> None:
    said = app.address_problem(host, port)
    assert said.startswith(words) and bool(said) == bool(words)


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_missing_checkpoint_ends_the_program_with_a_line(
    by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = str(tmp_path / "gone.safetensors")
    monkeypatch.setenv("SPINESEG_CHECKPOINT", gone if by == "environment" else "")
    with pytest.raises(SystemExit) as ended:
        app.main(["--checkpoint", gone] if by == "argument" else [])
    assert ended.value.code == 2
    assert "expected a checkpoint, found none at" in capsys.readouterr().err


def test_networks_of_one_s_own_are_served_where_they_are_named(tmp_path: Path) -> None:
    """Beside U-Nets, which need no name."""
    own, path = "my_networks:quarter", str(tmp_path / "a.safetensors")
    network, grid = UNetConfig(features=(4, 6), patch=4), GridConfig(rows=64, columns=48)
    for architecture in ("unet", own):
        card = Card("a", grid, network, architecture=architecture)
        save_checkpoint(Path(path), build_network(architecture, network), card)
        assert app.load(path, ["my_networks:whole", own]).card.architecture == architecture
    with pytest.raises(BadCheckpoint, match=f"network is {own}, not unet; give --architecture {own}"):
        app.load(path, ["my_networks:whole"])


@pytest.mark.parametrize(("name", "value"), [("SPACE_ID", "ann/spine"), ("GRADIO_SERVER_NAME", "0.0.0.0")])
def test_films_of_others_are_collected_only_where_that_is_switched_on(
    name: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(app, "own_upload_folder", lambda: None)
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    given = ["--collect", str(tmp_path / "films")]
    with pytest.raises(SystemExit) as ended:
        app.main(given)
    assert ended.value.code == 2 and not (tmp_path / "films").exists()
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert line.endswith("and others can; leave it out, or add --collect-from-others")

    served = started(monkeypatch, [*given, "--collect-from-others"])
    assert served["collect_in"] == tmp_path / "films" and served["collect_from_others"]


def started(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> dict[str, Any]:
    """What the page would be started with."""
    served: dict[str, Any] = {}

    def start(loaders: object, checkpoints: object, *_: object, **options: object) -> None:
        served.update(options, checkpoints=checkpoints)
        raise BadInput("enough")

    monkeypatch.setattr(app, "start", start)
    monkeypatch.setattr(app, "own_upload_folder", lambda: None)
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        app.main(arguments)
    return served


def test_a_new_model_is_offered_beside_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = tmp_path / "RUN" / "best.safetensors"
    new.parent.mkdir()
    new.touch()
    served = started(monkeypatch, ["--checkpoint", str(new), "--checkpoint", "spineseg"])
    assert served["checkpoints"] == {"best": str(new), "spineseg": str(DEFAULT_CHECKPOINT)}
